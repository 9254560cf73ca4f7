"""A made study that has what makes fits differ: missing cells, seeds, tasks scored on other rows, unequal items."""

from __future__ import annotations

import numpy as np
import pandas as pd

from conftest import make_table
from evalrun.reporting.sentences import findings
from evalrun.statistics.findings import Findings

SIZES = {"m-70m": 7.0e7, "m-160m": 1.6e8, "m-410m": 4.1e8, "m-1b": 1.0e9}
STEPS = [1, 4, 16, 64, 143]


def made_study() -> pd.DataFrame:
    """Four models, one of them with three seeds, at five steps; five tasks, in two of which cells are missing."""
    generator = np.random.default_rng(20)
    rows = []
    for number, (task, cause) in enumerate(zip("abcde", ("prior", "prior", "decoy", "decoy", ""), strict=True)):
        slopes = generator.normal(0, 0.05, 3)
        for model, size in SIZES.items():
            level = generator.normal(0, 0.03)
            for seed in (1, 2, 3) if model == "m-160m" else (np.nan,):
                for step in STEPS:
                    x, y = np.log10(size) - 8.4, np.log10(step) - 1.0
                    expected = 0.5 + slopes @ [x, y, x * y] + level + generator.normal(0, 0.01)
                    n = 400 + 100 * number
                    value = generator.binomial(n, np.clip(expected, 0.02, 0.98)) / n
                    if task in "bd" and generator.random() < 0.2:
                        continue
                    rows.append(
                        {
                            "model": model,
                            "seed": seed,
                            "step": step,
                            "task": task,
                            "title": f"Task {task}",
                            "cause": cause,
                            "value": value,
                            "n": n if task != "e" else np.nan,
                            "n_params_nominal": size,
                            "n_params": size * (1.2 if model != "m-1b" else 1.05),
                            "n_params_nonembedding": size * (0.8 if model != "m-70m" else 0.5),
                        }
                    )
    return make_table(rows)


def summary(study: Findings) -> list[str]:
    """The sentences of a report's findings, whatever stands above them."""
    return [sentence for _, sentences in findings(study) for sentence in sentences]
