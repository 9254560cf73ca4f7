"""A port of this machine that nothing listens on."""

from __future__ import annotations

import socket

HERE = "127.0.0.1"


def free_port(wanted: int = 0) -> int:
    """The port asked for, or any free one when something listens there."""
    for candidate in (wanted, 0):
        with socket.socket() as probe:
            # As servers do: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HERE, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
