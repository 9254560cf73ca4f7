"""What a model wrote for one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Generated:
    """One text, and how it came to its end.

    Attributes:
        text: What the task sees: cut at the first stop string, without a thinking part.
        whole: Everything that was written, before any cut; special tokens are left out.
        tokens: Of what was written, the end-of-text token included; None where a server does not tell.
        finish: `stop` a stop string, `eos` the end of the text, `length` the limit of the request, `window` the model
            reads no more.
    """

    text: str
    whole: str
    tokens: tuple[int, ...] | None
    finish: str


Done = Callable[[int, Generated], None]  # told of each text as it ends: the place of its request, and what it is
