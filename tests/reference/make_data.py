"""Write data.csv: a seeded simulation, one curved task and one binomial, with missing cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SIZES = (10e6, 30e6, 100e6, 200e6, 700e6, 2e9)
STEPS = (1, 2, 4, 8, 16, 40, 100)


def simulate() -> pd.DataFrame:
    generator = np.random.default_rng(20240611)
    rows = []
    for task in ("curved", "binomial"):
        for model, size in enumerate(SIZES):
            level, slope = generator.normal(0, [0.04, 0.02])
            for step in STEPS:
                large, late = np.log10(size) - 8, np.log10(step) - 1
                n = int(generator.integers(200, 900))
                mean = 0.5 + 0.06 * large - 0.08 * late**2 - 0.03 * large * late + level + slope * late
                value = mean + generator.normal(0, 0.03)
                if task == "binomial":
                    logit = 0.3 - 0.5 * large - 0.4 * late - 0.3 * large * late + 5 * (level + slope * late)
                    value = generator.binomial(n, 1 / (1 + np.exp(-logit))) / n
                if generator.random() > 0.12:
                    rows.append((task, f"m{model}", size, step, step * 4096, n, round(value, 6)))
    return pd.DataFrame(rows, columns=["task", "model", "parameters", "step", "tokens", "n", "value"])


if __name__ == "__main__":
    simulate().to_csv(Path(__file__).with_name("data.csv"), index=False, lineterminator="\n")
