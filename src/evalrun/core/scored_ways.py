"""`scored=WORDS`: which results count where some were scored in several ways."""

from __future__ import annotations

from collections.abc import Iterable

from evalrun.core.asked_words import without_asked
from evalrun.core.errors import ConfigError, suggest

HOW_SCORED = "write how the results were scored, as a message says it, such as scored='shared_prefix float32'"


def ways_meant(ways: Iterable[str], wanted: str) -> list[str]:
    """The ways that `scored=` means: that very one, else those that differ from it in how they were asked alone."""
    known = sorted(set(ways))
    if wanted in known:
        return [wanted]
    return [way for way in known if without_asked(way) == without_asked(wanted)]


def to_choose(ways: Iterable[str]) -> str:
    """What is typed for each of several ways: `choose one, scored='a' or scored='b'`."""
    return "choose one, " + " or ".join(f"scored='{way}'" for way in sorted(set(ways)))


def chosen_way(ways: Iterable[str], wanted: str | None, what: str) -> str:
    """The one way that counts.

    Args:
        ways: Those that there are, one at least.
        wanted: `scored=`; None where nothing was said.
        what: What was scored, with its verb, for messages: `the runs were`.

    Raises:
        ConfigError: there are several and none is wanted, or not the wanted one; with what can be typed.
    """
    known = sorted(set(ways))
    found = known if wanted is None else ways_meant(known, wanted)
    if not found:
        raise ConfigError(f"scored='{wanted}' is no way in which {what} scored: {suggest(str(wanted), known)}")
    if len(found) > 1:
        raise ConfigError(f"{what} scored in {len(found)} ways: {to_choose(found)}.")
    return found[0]
