"""`analysis.x`: where the loss is found that accuracy is looked at over."""

from __future__ import annotations

from dataclasses import dataclass

HOW = "write loss:TASK or loss:TASK:METRIC, or log:FILE or log:FILE:COLUMN of a training log, such as loss:wikitext"
LOSS_COLUMN = "loss"  # of a training log, where none is named


@dataclass(frozen=True)
class LossSource:
    """A task whose metric is a loss, or a column of training logs."""

    kind: str  # loss: a task of the table; log: files
    name: str  # the task; or the file, with {model} and {seed} where each run has its own
    of: str | None  # the task's metric, None for its primary one; or the log's column, None for `LOSS_COLUMN`

    def __str__(self) -> str:
        return ":".join((self.kind, self.name, *([self.of] if self.of else [])))


def loss_source(text: str) -> LossSource | None:
    """What `analysis.x` says; None where it cannot be read."""
    kind, _, rest = text.partition(":")
    if kind not in ("loss", "log") or not rest:
        return None
    name, _, of = rest.partition(":") if kind == "loss" else _file_and_column(rest)
    return LossSource(kind, name, of or None) if name else None


def _file_and_column(rest: str) -> tuple[str, str, str]:
    """A path and a column; a colon before a slash is part of the path."""
    name, colon, column = rest.rpartition(":")
    return (name, colon, column) if colon and "/" not in column else (rest, "", "")
