"""How a task's whole texts are read: keys of a task file beside lm-eval's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalrun.core.errors import TaskError

KEYS = frozenset({"window", "stride", "surprisal"})
CORRECTED = "corrected"
ROLLING = "loglikelihood_rolling"


@dataclass(frozen=True)
class TextRule:
    """Which windows a text is cut into, and what is kept of its tokens."""

    window: int | None = None  # tokens that the model sees at once; None: as many as it can
    stride: int | None = None  # tokens that each window after the first adds; None: a whole window, as lm-eval has it
    surprisal: bool = False  # keep the log-probability of each token
    corrected: bool = False  # and the mass of where words begin and end

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TextRule:
        """The rule of a task's config."""
        said = config.get("surprisal")
        return cls(config.get("window"), config.get("stride"), bool(said), said == CORRECTED)

    @property
    def windows_alone(self) -> TextRule:
        """The windows, whatever is kept of the tokens."""
        return TextRule(self.window, self.stride)

    @classmethod
    def together(cls, rules: Iterable[TextRule]) -> TextRule:
        """One rule for several with the same windows: what any of them keeps is kept."""
        every = list(rules)
        kept = any(rule.surprisal for rule in every), any(rule.corrected for rule in every)
        return cls(every[0].window, every[0].stride, *kept)

    def sizes(self, longest: int) -> tuple[int, int]:
        """Window and stride in tokens.

        Args:
            longest: What the model reads at once.

        Raises:
            TaskError: the model's window is smaller, or the stride is larger than the window.
        """
        window = self.window or longest
        if window > longest:
            raise TaskError(f"window is {window} tokens; the model reads {longest} at once: give at most {longest}.")
        stride = self.stride or window
        if stride > window:
            raise TaskError(
                f"stride is {stride} tokens in windows of {window}, so that tokens would be passed over: give at most "
                f"{window}."
            )
        return window, stride


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A task's config; of whole texts with what need not be said: no prompt, and the column `text`."""
    usual = {"doc_to_text": "", "doc_to_target": "{{text}}"} if config.get("output_type") == ROLLING else {}
    return {**usual, **config}


def faults(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the keys of a task, as the tails of sentences."""
    rolling = config.get("output_type") == ROLLING
    for key in sorted(KEYS & set(config)):
        if not rolling and config[key] is not None:
            yield f"has {key}: {config[key]!r}, which is of tasks that score whole texts (output_type: {ROLLING})."
