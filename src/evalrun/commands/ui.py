"""`ui`: the MLflow UI on the configured store."""

from __future__ import annotations

from collections.abc import Sequence

from evalrun.config.compose import hydra_session
from evalrun.core.errors import ConfigError
from evalrun.grid import planning
from evalrun.tracking import Store
from evalrun.tracking.connection import PORT


def command(words: Sequence[str]) -> int:
    """`ui`: the MLflow UI on the configured store."""
    rest = list(words)
    port = PORT
    if "--port" in rest:
        at = rest.index("--port")
        value = rest[at + 1] if at + 1 < len(rest) else ""
        if not value.isdecimal() or int(value) > 65535:
            raise ConfigError(f"--port needs a number up to 65535, not '{value}'.")
        port = int(value)
        del rest[at : at + 2]
    if wrong := next((word for word in rest if word.startswith("port=")), None):
        raise ConfigError(f"'{wrong}' is no key: write --port {wrong.removeprefix('port=')}.")
    with hydra_session():
        store = Store(planning.tracking_of(rest))
    store.check()
    store.serve(port)
    return 0
