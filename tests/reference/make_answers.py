"""Write answers.csv: seeded single answers, items of several templates, with levels and slopes by model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SIZES = (10e6, 30e6, 100e6, 300e6, 1e9, 3e9)
STEPS = (1, 4, 16, 64, 256)
ITEMS, TEMPLATES = 60, 9


def simulate() -> pd.DataFrame:
    generator = np.random.default_rng(20241128)
    template = np.sort(generator.integers(0, TEMPLATES, ITEMS))
    easy = generator.normal(0, 0.8, ITEMS) + generator.normal(0, 0.7, TEMPLATES)[template]
    rows = []
    for model, size in enumerate(SIZES):
        level, slope = generator.normal(0, [0.5, 0.3])
        for step in STEPS:
            large, late = np.log10(size) - 8.2, np.log10(step) - 1.2
            logit = 0.4 + 0.5 * large + (0.3 + slope) * late - 0.3 * large * late + level + generator.normal(0, 0.25)
            right = generator.random(ITEMS) < 1 / (1 + np.exp(-(logit + easy)))
            rows += [(f"m{model}", int(size), step, step * 4096, i, template[i], int(right[i])) for i in range(ITEMS)]
    return pd.DataFrame(rows, columns=["model", "parameters", "step", "tokens", "item", "template", "right"])


if __name__ == "__main__":
    simulate().to_csv(Path(__file__).with_name("answers.csv"), index=False, lineterminator="\n")
