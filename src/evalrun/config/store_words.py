"""The words that name a store to a command that is to be pasted."""

from __future__ import annotations

from evalrun.config.own_yaml import conf_dir, read
from evalrun.config.schema import TrackingConf


def store_words(tracking: TrackingConf) -> list[str]:
    """What a command must be told to look into this store: nothing where it is the one that all take by themselves.

    Args:
        tracking: Which store.
    """
    if tracking.uri is not None:
        return [f"tracking.uri={tracking.uri}"]
    _, usual = read(conf_dir() / "tracking" / "local.yaml")
    return [] if tracking.root == usual["root"] else [f"tracking.root={tracking.root}"]
