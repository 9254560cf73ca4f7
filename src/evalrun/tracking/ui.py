"""MLflow's own web page on the store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from evalrun.errors import TrackingError
from evalrun.tracking.link import Link

if TYPE_CHECKING:
    from evalrun.tracking.store import Store


def command(link: Link, port: int) -> list[str]:
    """See Store.ui_command."""
    if link.remote:
        raise TrackingError(f"{link.shown} is a server already; open it in a browser.")
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", link.uri),
        *("--default-artifact-root", (link.root / "artifacts").as_uri()),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def environment() -> dict[str, str]:
    """See Store.ui_environment."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**os.environ, **quiet}


def serve(store: Store, link: Link, port: int) -> None:
    """See Store.serve."""
    if link.remote:
        print(*_lines(store, link.shown.rstrip("/")), sep="\n")
        return
    if not store.suites():
        raise TrackingError(
            f"there are no results at {link.shown} yet; run `python -m evalrun` first, or set tracking.root."
        )
    port = _free_port(port)
    print(*_lines(store, f"http://127.0.0.1:{port}"), "Stop it with Ctrl-C.", sep="\n")
    argv = command(link, port)
    sys.stdout.flush()
    os.execve(argv[0], argv, environment())


def _lines(store: Store, address: str) -> Iterator[str]:
    """Where to look, what was computed last first."""
    later = []
    for suite in store.recent_suites():
        try:
            yield f"{suite}: {address}/{store.view_path(suite)}"
        except TrackingError:
            later.append(f"{suite}: no curves yet; `python -m evalrun analyze` draws them")
    yield from later
    yield f"all of MLflow: {address}/"


def _free_port(port: int) -> int:
    """The port asked for, or any free one when something listens there."""
    for candidate in (port, 0):
        with socket.socket() as probe:
            # As the server does: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return port
