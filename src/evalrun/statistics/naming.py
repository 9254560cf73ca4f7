"""How notes name a checkpoint, and how many of one kind they list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

CHECKPOINT = ["suite", "model", "seed", "step"]  # the columns that tell checkpoints apart
MOST_NOTES = 12  # of one kind before "and ... more"


def checkpoint_name(row: Mapping[Any, Any]) -> str:
    """`pythia-70m step 2000`, with the seed where there is one."""
    step = f" step {row['step']:.0f}" if not pd.isna(row["step"]) else ""
    seed = f" seed {row['seed']:.0f}" if not pd.isna(row["seed"]) else ""
    return f"{row['model']}{step}{seed}"


def run_name(row: Any, model: str = "model", seed: str = "seed") -> str:
    """`pythia-70m seed 2`: a training run, by its model, with its seed where it has one.

    Args:
        row: Of a table, or the like.
        model: The name of the column that has the model.
        seed: The same of the seed.
    """
    return str(row[model]) + ("" if pd.isna(row[seed]) else f" seed {row[seed]:.0f}")


def capped(notes: list[str]) -> list[str]:
    """The first notes of one kind, and how many more there are."""
    more = len(notes) - MOST_NOTES
    return notes if more <= 0 else [*notes[:MOST_NOTES], f"... and {more} more of this kind."]
