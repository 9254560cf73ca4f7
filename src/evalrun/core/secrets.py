"""Secrets: taken out of text before it is shown or saved, and out of addresses before Hydra writes them down."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit, urlunsplit

PASSWORD = "EVALRUN_TRACKING_PASSWORD"  # of a database that tracking.uri names; a server's is MLflow's own variable
_MASK = "***"
_SHORTEST = 6  # a shorter value would be found by chance in words that are no secret
_USERINFO = re.compile(r"://[^/\s'\"]*@")
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|secret|sslpassword)=)[^&\s'\"]+", re.IGNORECASE)
_NAMES = re.compile(r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_ACCESS_KEY|API_KEY|WEBHOOK|WEBHOOK_URL)$")


def masked(text: str) -> str:
    """The text without passwords of addresses and without the values of environment variables that hold secrets."""
    if "://" in text:
        text = _QUERY.sub(rf"\1{_MASK}", _USERINFO.sub(f"://{_MASK}@", text))
    held = {value for name, value in os.environ.items() if len(value) >= _SHORTEST and _NAMES.search(name.upper())}
    for value in sorted(held, key=len, reverse=True):  # one may stand in another, whose rest would be shown
        text = text.replace(value, _MASK)
    return text


def command_line(words: Iterable[str]) -> str:
    """The evalrun command of these words, to be shown or kept: ready to paste, but for its secrets."""
    return shlex.join(["python", "-m", "evalrun", *map(masked, words)])


def hide_password(uri: str) -> str:
    """Move an address's password into this process's environment, which workers inherit and no file records.

    Args:
        uri: A tracking URI.

    Returns:
        The URI without it: of a server without the user too, because MLflow reads both from its own variables.
    """
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("http", "https"):
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        return urlunsplit(parts._replace(netloc=host))
    os.environ[PASSWORD] = unquote(parts.password)
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}@{host}"))


def restore_password(uri: str) -> str:
    """The address to connect to: a database's password back in its place."""
    parts = urlsplit(uri)
    password = os.environ.get(PASSWORD)
    if password is None or parts.username is None or parts.password is not None or parts.scheme in ("http", "https"):
        return uri
    user, host = parts.username, parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))
