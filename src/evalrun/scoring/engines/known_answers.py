"""What engines answered to what every checkpoint is asked: kept, so that one which answers for another is known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.checkpoints.conversion_check import TEXT
from evalrun.journal import result_files

PROMPT_TOKENS, WRITTEN_TOKENS = 64, 16
TEXTS = tuple(TEXT.replace("\n", " ").split(". ")[:4])  # of which a server that gives no number goes on with
PROMPT, WRITTEN, GREEDY = "prompt", "written", "greedy"  # what can be compared, the best first
_of_process: dict[str, list[KnownAnswers]] = {}


@dataclass(frozen=True)
class FixedAnswers:
    """What an engine answers to what every checkpoint is asked.

    Attributes:
        kind: `prompt` log-probabilities of a given text's tokens; `written` those of what it writes after it; `greedy`
            what it writes alone.
        prompt: The tokens that were asked.
        written: Those that were written, where it tells their numbers.
        values: Log-probabilities in nats: [prompt - 1] or [written].
        texts: What was written.
    """

    kind: str
    prompt: tuple[int, ...]
    written: tuple[int, ...] | None = None
    values: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownAnswers:
    """What an engine answered for a checkpoint, and what transformers computes of it where that was done."""

    label: str  # the checkpoint in words
    weights: str  # digest of its files
    values: tuple[float, ...]
    texts: tuple[str, ...]
    reference: tuple[float, ...] | None


class AnswerBook:
    """What was answered for the checkpoints of one model; the last word on each counts."""

    def __init__(self, cache: str | None, model: Sequence[object], answers: FixedAnswers) -> None:
        """Open it.

        Args:
            cache: scorer.cache; None: kept as long as this process.
            model: What tells one model from others.
            answers: Of the same kind, to the same tokens.
        """
        self._name = result_files.digest([*model, answers.kind, list(answers.prompt)])
        self._file = None if cache is None else Path(cache) / "served" / f"{self._name[:16]}.jsonl"

    def read(self) -> list[KnownAnswers]:
        """What is known, one of each checkpoint."""
        found = {one.weights: one for one in _of_process.get(self._name, [])}
        if self._file is not None:
            with contextlib.suppress(OSError):
                for line in self._file.read_text(errors="replace").splitlines():
                    with contextlib.suppress(ValueError, TypeError):  # a line that was cut short
                        label, weights, values, texts, reference = json.loads(line)
                        counted = None if reference is None else tuple(reference)
                        found[weights] = KnownAnswers(label, weights, tuple(values), tuple(texts), counted)
        return list(found.values())

    def add(self, known: KnownAnswers) -> None:
        """Keep what was answered for a checkpoint; where it cannot be kept, it is known in this process."""
        if self._file is None:
            _of_process.setdefault(self._name, []).append(known)
            return
        line = json.dumps([known.label, known.weights, known.values, known.texts, known.reference])
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                file.write(f"{line}\n".encode())
