"""Artifacts of a server that does not take them: MLflow's client writes them to its own disk, and says nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evalrun.core.errors import TrackingError

log = logging.getLogger(__name__)


def see_that_they_arrive(name: str, location: str, place: str) -> None:
    """Make the folder that a server names for an experiment's artifacts, where it is one of this machine.

    It is said where the folder around it had to be made too: then nobody shares it, and the server has another one.

    Args:
        name: Of the experiment.
        location: Where its artifacts belong, as the server says.
        place: The server's address.

    Raises:
        TrackingError: there is no such folder on this machine, and none can be made.
    """
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return
    folder = Path(location if not parts.scheme else unquote(parts.path)).absolute()
    if folder.exists() or folder.parent.exists():
        return
    start = (
        "the server with --artifacts-destination FOLDER, and without --no-serve-artifacts or --default-artifact-root"
    )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise TrackingError(
            f"the MLflow server at {place} does not take artifacts itself, and its folder for those of '{name}' cannot "
            f"be made on this machine ('{folder}': {error.strerror}): start {start}, and remove that experiment, which "
            "keeps its folder, or take another suite name."
        ) from error
    log.warning(
        "the MLflow server at %s does not take artifacts itself: items and reports are written to '%s' on this "
        "machine, where no other finds them; share that folder, or start %s",
        place, folder.parent, start,
    )  # fmt: skip
