"""Where a stage of training begins on the way from the first step of pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageBegin:
    """Where a stage begins on the way from the first step of pretraining."""

    step: int = 0  # counted from there
    tokens: int = 0  # seen by then
    continues: bool = False  # the stage's steps are counted from there, too
    branch: str | None = None  # stage that left the way: it begins before the last step, or another one goes on there

    @property
    def adds_steps(self) -> int:
        """What is added to a step of the stage, for its place along all of training."""
        return 0 if self.continues else self.step

    @property
    def adds_tokens(self) -> int:
        """What is added to the tokens of the stage's steps."""
        return 0 if self.continues else self.tokens

    def named(self, model: str) -> str:
        """What its checkpoints are called: on a side branch they are no points of the model's own curve."""
        return model if self.branch is None else f"{model}+{self.branch}"

    def of_cell(self, model: str, stage: str, step: int) -> dict[str, Any]:
        """What a checkpoint's cell says of its stage.

        Args:
            model: Its model's name.
            stage: The stage's.
            step: As the stage counts it.
        """
        begins = {"stage_from": self.step, "stage_tokens": self.tokens, "trunk": self.branch and model}
        return {"stage": stage, "stage_step": step, **begins}
