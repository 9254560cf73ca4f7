"""The runs of a watch: the one of path=, or those that the patterns of paths= stand for, as they come."""

from __future__ import annotations

from collections.abc import Callable

from evalrun.commands.watch.backoff import Faults
from evalrun.commands.watch.run_folders import find_folders
from evalrun.commands.watch.watch_request import WatchRequest
from evalrun.commands.watch.watched_run import WatchedRun
from evalrun.config.compose import hydra_session
from evalrun.core.errors import ConfigError
from evalrun.grid.job_spec import JobTasks


class RunList:
    """Runs by their folders.

    Args:
        request: What is watched.
        tasks: Of all runs.
        complain: Gets a sentence for what is wrong with a run, once.
    """

    def __init__(self, request: WatchRequest, tasks: JobTasks, complain: Callable[[str], None]) -> None:
        self.runs: dict[str, WatchedRun] = {}
        self.passed_over: set[str] = set()  # folders that cannot be watched
        self.clashes: list[str] = []  # sentences about two folders of one name
        self._request = request
        self._tasks = tasks
        self._complain = complain
        self.faults = Faults(request.jobs, request.config.watch.retry_s, request.config.watch.retry_most_s)
        if not request.patterns:
            self._add(None)

    @property
    def are_mistaken(self) -> bool:
        """Whether no run that has begun can be evaluated as it was asked for."""
        begun = [run for run in self.runs.values() if not run.is_empty]
        return bool(begun) and all(run.is_mistaken for run in begun)

    @property
    def mistakes(self) -> list[str]:
        """What is wrong with the request, said of the first checkpoint of each run that it is wrong for."""
        first = [run.mistakes[min(run.mistakes)] for run in self.runs.values() if run.mistakes]
        return list(dict.fromkeys(sentence for error in first for sentence in error.problems))

    def discover(self) -> list[str]:
        """Find folders that are new; returns a sentence for everything that is in the way."""
        if not self._request.patterns:
            return []
        found = find_folders(self._request.patterns)
        for twin in found.twins:
            self._complain(twin)
        problems = list(found.problems)
        new = [folder for folder in found.folders if folder not in self.runs and folder not in self.passed_over]
        if new:
            with hydra_session():  # opened once for all
                problems += [problem for folder in new for problem in self._add(folder)]
        return problems

    def _add(self, folder: str | None) -> list[str]:
        """Watch a folder too, the one of path= if none is named; returns why that cannot be."""
        try:
            setup = self._request.setup(folder)
        except ConfigError as error:
            if folder is None:
                raise
            self.passed_over.add(folder)
            return [f"'{folder}' is passed over: {problem}" for problem in error.problems]
        suite, name = setup.config.checkpoint.suite, setup.config.model.name
        for other, run in self.runs.items():
            if (run.config.checkpoint.suite, run.config.model.name) == (suite, name):
                self.passed_over.add(str(folder))
                self.clashes.append(
                    f"'{other}' and '{folder}' would both be called '{name}' in suite {suite}: rename the folder of "
                    "one, or watch it alone with path= and another name, model.name=."
                )
                return self.clashes[-1:]
        given = setup, len(self.runs), self._tasks, self.faults, self._complain
        self.runs[folder or setup.config.model.path] = WatchedRun(*given)
        return []
