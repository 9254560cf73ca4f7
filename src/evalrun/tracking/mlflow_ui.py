"""MLflow's own web page on the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from evalrun.core.errors import TrackingError
from evalrun.core.free_port import free_port
from evalrun.core.secrets import command_line
from evalrun.tracking.connection import MlflowConnection


def command(link: MlflowConnection, port: int) -> list[str]:
    """The command that opens MLflow's UI on this store, on this machine only; run it with `environment()`.

    Raises:
        TrackingError: the store is a server.
    """
    if link.remote:
        raise TrackingError(f"{link.shown} is a server already; open it in a browser.")
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", link.uri),
        *("--default-artifact-root", (link.root / "artifacts").as_uri()),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def environment() -> dict[str, str]:
    """The environment for `command`."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**os.environ, **quiet}


def serve(link: MlflowConnection, port: int, views: Mapping[str, str | None], words: Sequence[str]) -> None:
    """Become MLflow's UI on this store (this process is replaced), or say where the server is (`Store.serve`).

    Args:
        link: The store.
        port: To be taken if it is free.
        views: Suite -> the page of its curves (None where there is none yet), what was computed last first.
        words: That name the store to a command.

    Raises:
        TrackingError: there are no results yet.
    """
    if link.remote:
        print(*_lines(link.shown.rstrip("/"), views, words), sep="\n")
        return
    if not views:
        raise TrackingError(
            f"there are no results at {link.shown} yet; run `python -m evalrun` first, or set tracking.root."
        )
    port = free_port(port)
    print(*_lines(f"http://127.0.0.1:{port}", views, words), "Stop it with Ctrl-C.", sep="\n")
    argv = command(link, port)
    sys.stdout.flush()
    os.execve(argv[0], argv, environment())


def _lines(address: str, views: Mapping[str, str | None], words: Sequence[str]) -> Iterator[str]:
    """Where to look: the suites that have a page first."""
    yield from (f"{suite}: {address}/{view}" for suite, view in views.items() if view is not None)
    for suite, view in views.items():
        if view is None:
            yield f"{suite}: no curves yet; `{command_line(['analyze', *words])}` draws them"
    yield f"all of MLflow: {address}/"
