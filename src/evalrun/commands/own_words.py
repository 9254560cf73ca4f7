"""Words of a command line that a command reads itself, beside those that it hands on to the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evalrun.core.errors import ConfigError


def take_own_words(words: Iterable[str], known: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Take a command's own words out of others.

    Args:
        words: As typed: `key=value`, and any others.
        known: The keys that are its own, and of each what is to stand in it.

    Returns:
        Key -> value of those that are given, and all other words in their order.

    Raises:
        ConfigError: one of them is given twice, or without a value.
    """
    own: dict[str, str] = {}
    rest = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            rest.append(word)
        elif key in own:
            raise ConfigError(f"{key}= is given twice, '{own[key]}' and '{value}': give it once.")
        elif not value.strip():
            raise ConfigError(f"{key}= has no value: {known[key]}.")
        else:
            own[key] = value.strip()
    return own, rest
