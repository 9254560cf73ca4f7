"""What the user wants to happen when a task falls: a command or an address of theirs. Neither ever ends the watch."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from evalrun.config.schema import WatchConf
from evalrun.core.errors import first_line
from evalrun.core.process import end_group
from evalrun.core.secrets import masked

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SAID = 200  # characters of what a failed command said


def problems(conf: WatchConf) -> Iterator[str]:
    """Sentences about a command or an address that cannot work."""
    if conf.command is not None:
        try:
            words = shlex.split(conf.command)
        except ValueError:
            words = []
        if not words:
            yield "watch.command cannot be read as a command: check its quotes."
    if conf.webhook is not None:
        parts = _split(conf.webhook)
        if parts is None or (parts[0] != "https" and not (parts[0] == "http" and parts[1] in _LOOPBACK)):
            yield f"watch.webhook is '{shown(conf.webhook)}': it must be https://..., or http:// on this machine."


def call(conf: WatchConf, event: Mapping[str, Any]) -> list[str]:
    """Run the command and post to the address, those that are set.

    Args:
        conf: Which.
        event: What happened, plain values; JSON of it goes out.

    Returns:
        A sentence for each that failed.
    """
    body = json.dumps(event)
    failed = [_run(conf, body, event)] if conf.command is not None else []
    failed += [_post(conf.webhook, body, conf.hook_s)] if conf.webhook is not None else []
    return [masked(said) for said in failed if said]


def shown(url: str) -> str:
    """An address without what may be a secret: its user, path and query."""
    parts = _split(url)
    return "***" if parts is None else f"{parts[0]}://{parts[1]}/***"


def _split(url: str) -> tuple[str, str] | None:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme and parts.hostname:
            return parts.scheme, parts.hostname
    return None


def _run(conf: WatchConf, body: str, event: Mapping[str, Any]) -> str:
    """The user's command, in a process group of its own so that nothing of it outlives its time."""
    told = {f"EVALRUN_{key.upper()}": str(event[key]) for key in ("suite", "model", "step", "run_id", "text")}
    environment = {**os.environ, **told, "EVALRUN_DROPS": str(len(event["drops"]))}
    try:
        process = subprocess.Popen(
            shlex.split(str(conf.command)), env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return f"watch.command could not be started: {first_line(error)}."
    try:
        said, _ = process.communicate(body, timeout=conf.hook_s)
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        process.communicate()
        return f"watch.command was ended after {conf.hook_s:g} seconds (watch.hook_s)."
    if process.returncode:
        return f"watch.command ended with exit code {process.returncode}: {said.strip()[-_SAID:] or 'it said nothing'}."
    return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address that was given, and no other: a redirect may lead to one without TLS."""

    def redirect_request(self, *args: Any) -> None:
        """Follow no redirect."""
        return


def _post(url: str | None, body: str, patience_s: float) -> str:
    """Post JSON to an address, redirects refused; a sentence without the address's secrets if it fails, else empty.

    Args:
        url: Which; it is set.
        body: The JSON.
        patience_s: Seconds until it counts as unreachable.
    """
    assert url is not None
    headers = {"Content-Type": "application/json", "User-Agent": "evalrun"}
    try:
        request = urllib.request.Request(url, body.encode(), headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=patience_s):
            return ""
    except urllib.error.HTTPError as error:
        return f"watch.webhook {shown(url)} answered {error.code}."
    except urllib.error.URLError as error:
        return f"watch.webhook {shown(url)} cannot be reached ({type(error.reason).__name__})."
    except (OSError, ValueError) as error:  # its words may hold the address
        return f"watch.webhook {shown(url)} cannot be reached ({type(error).__name__})."
