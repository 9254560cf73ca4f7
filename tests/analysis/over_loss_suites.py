"""Made suites whose values are a function of the loss, and others in which size matters at the same loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from conftest import make_table

MIDDLE, SLOPE, FLOOR, CEILING = 2.9, 2.5, 0.25, 0.85


def law(size: Any, tokens: Any) -> Any:
    return 0.9 * (size / 1e9) ** -0.3 + 0.8 * (tokens / 1e10) ** -0.25 + 1.6


def curve(loss: Any) -> Any:
    return FLOOR + (CEILING - FLOOR) / (1 + np.exp(SLOPE * (loss - MIDDLE)))


def made_suite(
    generator: np.random.Generator,
    sizes: Any = 6,
    steps: int = 10,
    gap: float = 0.0,
    spread: float = 0.005,
    noise: float = 0.005,
    of_loss: float = 0.003,
) -> pd.DataFrame:
    """A table with the task `text` (metric loss) and the task `fact`, which gains `gap` per tenfold at the same loss.

    Args:
        generator: Of all chance.
        sizes: How many, or which.
        steps: Checkpoints of each.
        gap: What a tenfold of parameters adds.
        spread: SD by which whole sizes lie off the curve.
        noise: SD of each checkpoint.
        of_loss: SD of ln loss, of each checkpoint and of each size.
    """
    sizes = np.logspace(7.85, 9.6, sizes) if isinstance(sizes, int) else np.asarray(sizes)
    rows = []
    for size in sizes:
        off, high = generator.normal(0, spread), generator.normal(0, of_loss)
        for step, tokens in enumerate(np.logspace(9, 11.5, steps), start=1):
            loss = law(size, tokens) * np.exp(high + generator.normal(0, of_loss))
            value = curve(loss) + off + generator.normal(0, noise) + gap * (np.log10(size) - 9)
            where: dict[str, Any] = {
                "suite": "made", "model": f"m-{size / 1e6:.0f}m", "step": step, "tokens": tokens,
                "n_params": size, "n_params_nominal": size, "n_params_nonembedding": size, "flops": 6 * size * tokens,
            }  # fmt: skip
            fact = {"task": "fact", "title": "Fact", "value": value, "stderr": np.nan, "chance": FLOOR}
            text = {"task": "text", "title": "Text", "metric": "loss", "value": loss, "stderr": 0.002}
            rows += [where | fact, where | text | {"chance": np.nan, "higher_is_better": False}]
    return make_table(rows)
