"""What went wrong with MLflow, in one sentence: what, where, what to do."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

_STATUS = re.compile(r"error code (\d{3}) !=|^(\d{3}) (?:Client|Server) Error")  # as MLflow and requests word it


def is_of_store(error: BaseException) -> bool:
    """Whether MLflow, its database or the network raised it; told by name, since importing MLflow takes seconds."""
    names = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, (sqlite3.Error, OSError)) or bool(names & {"mlflow", "sqlalchemy"})  # requests': OSErrors


def explain(error: BaseException, doing: str, place: str, uri: str) -> str:
    """Name the failures that people meet; the rest keeps MLflow's first line.

    Args:
        error: What MLflow, SQLAlchemy, requests or the operating system raised.
        doing: What was being done, as in "delivering results".
        place: The store's file or address, without a password.
        uri: The tracking URI, without a password.
    """
    text = str(error)
    if "Invalid Host header" in text:
        host = urlsplit(uri).hostname or "HOST"
        names = dict.fromkeys((host, f"{host}:*", "localhost:*", "127.0.0.1:*"))
        return (
            f"the MLflow server at {place} does not take this name of it (403, Invalid Host header): start it with "
            f"--allowed-hosts '{','.join(names)}'."
        )
    if (answered := _STATUS.search(text)) and (said := _refused(int(answered[1] or answered[2]), text, doing, place)):
        return said
    if "database is locked" in text:
        return f"the MLflow database {place} is locked by another process; end that process, or try again later."
    if "file is not a database" in text or "malformed" in text:
        return (
            f"{place} is not an SQLite database, or is damaged; move it away, or set tracking.root to another folder."
        )
    if "readonly" in text or "unable to open database" in text or isinstance(error, PermissionError):
        return f"the MLflow store {place} cannot be written; check its permissions, or set tracking.root."
    if re.search(r"table \w+ already exists", text):
        return (
            f"the MLflow database {place} was left half made by a process that was killed; move it away and run the "
            "same again: results are in the journal."
        )
    if schema := re.search(r"found version (\w+), but expected", text):
        return _other_version(place, uri, schema[1])
    if re.search(r"[Mm]ax retries exceeded|Connection (refused|reset|aborted)|timed out|timeout expired", text):
        return f"MLflow at {place} cannot be reached; start it, correct tracking.uri, or set tracking=local."
    if denied := re.search(r"permission denied for \w+ \w+|\w+ command denied to user", text):
        return (
            f"the database {place} gives this user no right to that ({denied[0]}, while {doing}): reading takes SELECT "
            "on MLflow's tables, filing results INSERT, UPDATE and DELETE too; or name another user in tracking.uri."
        )
    if "database or disk is full" in text or "No space left on device" in text:  # SQLAlchemy may say more before it
        return f"no space left on the disk of {place} while {doing}: free some and run the same again."
    first = (text.strip().splitlines() or [type(error).__name__])[0].strip()
    return f"MLflow at {place} failed while {doing}: {first[:300].rstrip('.')}."


def login_refused(place: str) -> str:
    """The sentence for a server that answers 401."""
    from mlflow.utils.credentials import read_mlflow_creds

    user, password = read_mlflow_creds()
    both = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if user and password:
        return f"the MLflow server at {place} does not take the login '{user}' with its password (401): correct {both}."
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"the MLflow server at {place} does not take MLFLOW_TRACKING_TOKEN (401): correct it, or set {both}."
    return f"the MLflow server at {place} asks for a login (401): set {both}."


def _refused(status: int, text: str, doing: str, place: str) -> str | None:
    """A server's answer that is none of MLflow's own errors."""
    if status == 401:
        return login_refused(place)
    if status == 403 and "Permission denied" in text:
        return (
            f"the MLflow server at {place} gives this login no right to that (403, while {doing}): reading results "
            "takes READ permission there, filing results or reports EDIT; have it given, or set the variables "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of another."
        )
    if re.search(r"Response (?:body: '|text: )\s*<", text):
        return (
            f"MLflow at {place} failed while {doing}: a web page (status {status}) came in place of MLflow's answer; "
            "check tracking.uri, and what stands before the server."
        )
    return None


def _other_version(place: str, uri: str, schema: str) -> str:
    """Older databases can be migrated, newer ones cannot: their schema is not among those that this MLflow knows."""
    import mlflow

    known = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if any(known.glob(f"{schema}_*.py")):
        remedy = f"back it up, then run `mlflow db upgrade {uri}`"
    else:
        remedy = "install the MLflow that wrote it, or set tracking.root to another folder"
    return f"the MLflow database {place} has the schema of another MLflow than the {mlflow.__version__} here; {remedy}."
