"""Designs without a table: models x steps, errors of a stated kind."""

from __future__ import annotations

import numpy as np

from evalrun.statistics.regression.model_frame import EFFECTS, Design

SIZES = np.log10([70e6, 160e6, 410e6, 1e9, 1.4e9, 2.8e9, 6.9e9, 12e9])
STEPS = np.log10([2, 4, 8, 16, 32, 64, 128, 143])


def z(values):
    return (values - values.mean()) / values.std(ddof=1)


def predictors(models: int = 8, steps: int = 8):
    """Columns: intercept, parameters, tokens, interaction; and the model of each row."""
    size = SIZES if models == 8 else np.linspace(7.8, 10.1, models)
    step = STEPS if steps == 8 else np.linspace(0, 2, steps)
    p, t = z(np.repeat(size, steps)), z(np.tile(step, models))
    return np.column_stack([np.ones(len(p)), p, t, p * t]), np.repeat(np.arange(models), steps)


def errors(kind: str, x, groups, generator):
    """independent; uneven: larger late in training; shared: an intercept and a slope for each model besides."""
    own, models = generator.normal(0, 1, len(groups)), groups.max() + 1
    if kind == "uneven":
        return own * np.exp(0.8 * x[:, 2])
    if kind == "shared":
        return own + generator.normal(0, 1, models)[groups] + generator.normal(0, 0.7, models)[groups] * x[:, 2]
    return own


def design(y, x, groups, **given) -> Design:
    plain = {
        "y": y, "x": x, "effects": EFFECTS, "slope": 2, "groups": groups, "values": y, "items": np.full(len(y), np.nan),
        "per_ten": np.ones(3), "spread": 1.0,
    }  # fmt: skip
    return Design(**{**plain, **given})


def example(kind: str = "shared", models: int = 8, steps: int = 8, seed: int = 0, lost: int = 0) -> Design:
    """One draw with effects, some rows lost."""
    generator = np.random.default_rng(seed)
    x, groups = predictors(models, steps)
    y = x @ [0, 0.4, -0.5, -0.2] + errors(kind, x, groups, generator)
    keep = np.sort(generator.permutation(len(y))[lost:])
    return design(y[keep], x[keep], groups[keep])
