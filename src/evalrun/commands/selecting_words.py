"""Words that say how results are computed, to a command that computes none: they would select nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from evalrun.config.compose import compose
from evalrun.core.errors import ConfigError
from evalrun.core.text import listed
from evalrun.grid import overrides as ov

_OF_SCORING = ("limit", "num_fewshot", "profile", "scorer", "generation", "chat")  # keys and groups; what labels tell
_SELECTING = "model=, step=, suite=, task=, experiment= and scored='shared_prefix float32', how they were scored"


def refuse_unselecting(command: str, words: Sequence[str], heeded: Collection[str] = ()) -> None:
    """Refuse words of scoring (inside a `compose.hydra_session`).

    Args:
        command: That they were given to.
        words: As typed.
        heeded: Keys of them that the command has a use for.

    Raises:
        ConfigError: with those words, and with what selects.
    """
    if said := selects_nothing(words, heeded):
        raise ConfigError(f"{command} computes nothing, and {said}: results are selected by {_SELECTING}.")


def selects_nothing(words: Sequence[str], heeded: Collection[str] = ()) -> str:
    """`limit=100 selects nothing`, of words that say how to score; empty without any (inside a session as above).

    Args:
        words: As typed.
        heeded: As above.
    """
    keys = [override.key_or_group.partition(".")[0] for override in ov.parse(words)]
    found = [word for word, key in zip(words, keys, strict=True) if key in _OF_SCORING and key not in heeded]
    return f"{listed(found)} {'selects' if len(found) == 1 else 'select'} nothing" if found else ""


def unselecting_note(words: Sequence[str], ways: Iterable[str]) -> list[str]:
    """A sentence for each named experiment that says how to score, which selects nothing (inside a session as above).

    Args:
        words: As typed.
        ways: In which the selected results were scored.
    """
    named = [name for one in ov.parse(words) if one.key_or_group == "experiment" for name in ov.choices(one)]
    there = listed(f"'{way}'" for way in sorted(set(ways)))
    return [
        f"experiment={name} selects by its models, steps and tasks, not by {listed(set_there, 4)}: here are results "
        f"scored by {there}; scored= chooses one."
        for name in named
        if (set_there := _of_experiment(name))
    ]


def _of_experiment(name: str) -> list[str]:
    """What an experiment says of scoring: `limit=100`."""
    usual, own = (_leaves(compose(words, partial=True)) for words in ([], [f"experiment={name}"]))
    return [f"{key}={value}" for key, value in own.items() if key not in usual or usual[key] != value]


def _leaves(composed: Any) -> dict[str, Any]:
    """Keys of scoring with their values, those of groups in full: `scorer.dtype`."""
    whole = OmegaConf.to_container(OmegaConf.masked_copy(composed, list(_OF_SCORING)), resolve=False)
    return dict(_flat("", whole))


def _flat(above: str, node: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        yield above, node
        return
    for key, value in node.items():
        yield from _flat(f"{above}.{key}".lstrip("."), value)
