"""Which tasks' files a report was made from, beside the store, and whether they are what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalrun.core.errors import EvalrunError
from evalrun.reporting.item_words import words_of

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.statistics.dynamics.distractors import ItemWords
    from evalrun.statistics.items.clusters import Clusters, TaskClusters


class TaskSources:
    """Reads the texts and the clusters of items, and notes of which tasks.

    Args:
        config: Where the tasks' files are.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
    """

    def __init__(self, config: Config, clusters: Clusters | None) -> None:
        self._config = config
        self._words = words_of(config, fetch=False)
        self._clusters = clusters
        self._first: dict[str, str] = {}  # task -> what its file was when it was first read
        self._of_report: set[str] = set()

    def begin(self) -> None:
        """Another report is made: none of its tasks has been read."""
        self._of_report.clear()

    def read(self) -> dict[str, str]:
        """The tasks that this report was made from, each with its digest before it was read."""
        return {task: self._first[task] for task in sorted(self._of_report)}

    def words(self, task: str, keys: pd.DataFrame) -> ItemWords:
        """The texts of a task's items, in the order of the keys (doc_id, doc_hash)."""
        self._note(task)
        return self._words(task, keys)

    @property
    def clusters(self) -> Clusters | None:
        """Gives the clusters of a task's items; None where there are none."""
        return None if self._clusters is None else self._clusters_of

    def _clusters_of(self, task: str) -> TaskClusters:
        assert self._clusters is not None
        self._note(task)
        return self._clusters(task)

    def _note(self, task: str) -> None:
        self._of_report.add(task)
        if task not in self._first:
            self._first[task] = self.digest(task)

    def digest(self, task: str) -> str:
        """What the file of a task and its local data are now; or why they cannot be had.

        The hub's data counts as here or not here. What it says cannot become another without notice: items of a
        result are recognised by the hash of their whole document, and have no texts where that differs.
        """
        from evalrun.tasks import task_file  # omegaconf and more, for reports that read tasks alone
        from evalrun.tasks.groups import has_file
        from evalrun.tasks.needed_data import data_of

        config = self._config
        if not has_file(task):
            return f"lm-eval {task_file.lm_eval_version()}"  # which may have it in a file of another name, or not
        try:
            (file,) = task_file.resolve([task], config.data_dir, config.trust_task_code, config.profile)
            return " ".join([file.digest, *(need.state for need in data_of([file]))])
        except EvalrunError as error:
            return str(error)
