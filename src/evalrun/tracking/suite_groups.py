"""Which groups of tasks a suite was evaluated on, so that an analysis knows them from the store alone."""

from __future__ import annotations

import logging

from evalrun.core.task_group import Groups, TaskGroup
from evalrun.tracking.backends import Backend
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.group_tags import groups_of, tag_of

_LIMIT = 20_000  # characters of an experiment's tag (mlflow.utils.validation.MAX_EXPERIMENT_TAG_VAL_LENGTH)

log = logging.getLogger(__name__)


class SuiteGroups:
    """The groups in a store; one that is asked for again is as it was asked for last.

    Every method raises TrackingError if the store fails.
    """

    def __init__(self, link: MlflowConnection, backend: Backend) -> None:
        self._link = link
        self._backend = backend

    def of(self, suite: str) -> dict[str, TaskGroup]:
        """The groups of a suite, the outer before the inner."""
        return groups_of(self._backend.group_tags(suite)) if self._link.exists() else {}

    def record(self, suite: str, groups: Groups) -> bool:
        """Note groups, with all that they hold; writes only what changed, and nothing on a suite without results.

        Returns:
            Whether anything was written.
        """
        if not groups or not self._link.exists():
            return False
        there = self._backend.group_tags(suite)
        new = dict(tag_of(group) for group in groups.values())
        changed = {key: text for key, text in new.items() if there.get(key) != text}
        for key in [key for key, text in changed.items() if len(text) > _LIMIT]:
            log.warning(
                "a group of tasks names more members than MLflow keeps (%s: %d characters, of %d), so later analyses "
                "do not know it: make groups of them within it.",
                *(key, len(changed.pop(key)), _LIMIT),
            )
        if not changed:
            return False
        with self._link.guard("noting groups of tasks"):
            experiment = self._link.experiment(suite)
            for key, text in changed.items() if experiment is not None else ():
                self._link.tag_experiment(experiment.experiment_id, key, text)
        return experiment is not None
