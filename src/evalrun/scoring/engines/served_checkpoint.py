"""The user's command that serves a checkpoint: started on a free port, waited for, ended with its children."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from evalrun.config.engine_settings import API_KEY, command_words
from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.free_port import HERE, free_port
from evalrun.core.secrets import masked
from evalrun.core.text import last_words
from evalrun.scoring.engines import keeper
from evalrun.scoring.engines.server_client import ServerClient

log = logging.getLogger(__name__)
_LOOK_S = 0.2  # between two looks at whether it answers


@contextlib.contextmanager
def served(conf: ScorerConf, places: Mapping[str, str | None], label: str, file: Path) -> Iterator[ServerClient]:
    """A server of one checkpoint, which answers; it ends with the block, however that ends.

    Args:
        conf: With the command.
        places: What goes in its places, the port aside.
        label: The checkpoint in words.
        file: What it says is written there.

    Raises:
        CheckpointError: it cannot be started, ends, or does not answer in time.
    """
    assert conf.serve is not None
    port = free_port()
    words = command_words(conf.serve, {**places, "port": str(port)})
    log.info("%s: served by `%s`, its log is '%s'", label, masked(shlex.join(words)), file)
    file.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != API_KEY}
    with file.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__, *words], stdin=subprocess.PIPE, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True, env=environment,
        )  # fmt: skip

    def why_gone() -> str | None:
        code = process.poll()
        if code is None:
            return None
        return f"the server of {label} ended with exit code {code}: {_last_words(file)} (all of it: '{file}')"

    client = ServerClient(f"http://{HERE}:{port}", conf, why_gone)
    try:
        _wait(client, conf.start_s or 0.0, label, file)
        yield client
    finally:
        client.close()
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(keeper.GRACE_S + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(client: ServerClient, most_s: float, label: str, file: Path) -> None:
    """Wait until a server lists its models.

    Raises:
        CheckpointError: it ends before, or takes too long.
    """
    began = time.monotonic()
    while client.get("/v1/models") is None:
        if (gone := client.why_gone()) is not None:
            raise CheckpointError(f"{gone}; look at scorer.serve.")
        if time.monotonic() - began > most_s:
            raise CheckpointError(
                f"the server of {label} does not list its models after {most_s:g} seconds (scorer.start_s): "
                f"{_last_words(file)} (all of it: '{file}')."
            )
        time.sleep(_LOOK_S)


def _last_words(file: Path) -> str:
    try:
        text = file.read_text(errors="replace")
    except OSError as error:
        return first_line(error)
    return masked(last_words(text)) or "it said nothing"
