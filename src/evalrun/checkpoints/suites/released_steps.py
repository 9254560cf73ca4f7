"""What a model released: its steps, where each is, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evalrun.checkpoints.suites.sizes import Parameters
from evalrun.config.step_numbers import STEPS


@dataclass(frozen=True)
class ReleasedStep:
    """One checkpoint that can be scored, or is there and must not be."""

    step: int
    place: str  # hub: its revision; local: its folder, inside the model's
    tokens: int | None = None  # seen by then, where its name or its training says so
    tokenizer: str | None = None  # folder of its tokenizer, where that is elsewhere
    unit: str = STEPS  # what its step counts: one of step_words.UNITS
    identity: str | None = None  # of one that is gone and has results: what these are of
    fault: str | None = None  # a sentence: why it is refused while the others run


@dataclass(frozen=True)
class ReleasedSteps:
    """All checkpoints of one model (and seed)."""

    by_step: Mapping[int, ReleasedStep]  # ascending
    unfinished: Mapping[int, str] = field(default_factory=dict)  # step -> a sentence: passed over, unless it is named
    notes: tuple[str, ...] = ()  # sentences for the user
    parameters: Parameters | None = None  # counted from a checkpoint's files
    origin: str = ""  # where the list is from: pinned, folder, hub, cached 3 hours ago

    @property
    def steps(self) -> list[int]:
        """Steps, ascending."""
        return list(self.by_step)
