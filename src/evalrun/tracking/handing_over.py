"""A job's results on their way to MLflow: what cannot be delivered stays in the journal, and that is said."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from evalrun.config.store_words import store_words
from evalrun.core.errors import TrackingError
from evalrun.core.records import TaskResult
from evalrun.core.secrets import command_line
from evalrun.tracking.store import Store

log = logging.getLogger(__name__)


def is_unreachable(store: Store, sweep: str | None) -> bool:
    """Whether the store is gone; what a sweep wants was compared with it at the start, so its jobs compute on.

    Raises:
        TrackingError: the store cannot be had, and nobody has asked it before.
    """
    try:
        store.check(opens=sweep is None)
    except TrackingError as error:
        if sweep is None:
            raise
        log.warning("results stay in the journal until they can be delivered: %s", error)
        return True
    return False


def deliver(
    store: Store,
    results: Sequence[tuple[TaskResult, Path]],
    sweep: str | None,
    config_yaml: str,
    folder: Path,
    unreachable: bool,
) -> None:
    """File results in MLflow.

    Args:
        store: Where to.
        results: Each with the file of its items.
        sweep: That asked for them; None outside of one.
        config_yaml: The config to keep on the run.
        folder: Of the job, for the message.
        unreachable: The store did not answer before.

    Raises:
        TrackingError: it cannot be written; the results stay in the journal.
    """
    if not results:
        return
    try:
        if unreachable:  # asked once more and briefly: MLflow's client would try for minutes
            store.check()
        store.deliver(results, sweep, config_yaml)
    except TrackingError as error:
        sync = command_line(["sync", *store_words(store.conf)])
        kept = "The result is" if len(results) == 1 else f"The {len(results):,} results are"
        raise TrackingError(
            f"{error} {kept} safe in '{folder}': `{sync}` delivers {'it' if len(results) == 1 else 'them'}."
        ) from None
