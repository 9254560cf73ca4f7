"""What a launcher's settings share: numbers with a least value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from evalrun.core.errors import ConfigError


def check_minimum(least: float, *, auto: bool = False, fractions: bool = False, **values: object) -> Iterator[str]:
    """A sentence for each setting that is no number of at least so much.

    Args:
        least: The smallest value that can be right.
        auto: Whether `auto` can be right too.
        fractions: Whether 0.5 can be.
        values: Settings of hydra.launcher by name.
    """
    kinds = (int, float) if fractions else (int,)
    for name, value in values.items():
        number = isinstance(value, kinds) and not isinstance(value, bool) and value >= least
        if not number and not (auto and value == "auto"):
            other = ", or auto" if auto else ""
            yield f"hydra.launcher.{name} is '{value}': it must be {least:g} or more{other}."


def refuse(*problems: Iterable[str]) -> None:
    """Raise ConfigError with all of the sentences, if there is any."""
    if found := list(chain(*problems)):
        raise ConfigError(found)
