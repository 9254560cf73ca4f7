"""Which step a name means, of a revision or a folder."""

from __future__ import annotations

from evalrun.checkpoints.suites import local
from evalrun.config import step_names
from evalrun.config.schema import CheckpointConf, ModelConf
from evalrun.config.steps import released_steps


def step_called(model: ModelConf, checkpoint: CheckpointConf, place: str) -> int | None:
    """The step whose revision or folder has this name; None where it is none's. Asks nobody."""
    pattern = checkpoint.revision or checkpoint.folder or ""
    if isinstance(checkpoint.steps, dict):
        return next((int(step) for step, name in checkpoint.steps.items() if name == place), None)
    if checkpoint.folder == local.AUTO:
        found = step_names.parse_numbered_names([place])
    else:
        found = step_names.matching([place], pattern, checkpoint.seed)
    if not found or (checkpoint.steps is not None and found[0].step not in released_steps(checkpoint.steps)):
        return None
    return found[0].step
