"""Runs that are watched: looks at their folders, evaluates what is new, says what became worse. No fault ends it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, repeat, zip_longest

from evalrun.commands.watch import hooks, render
from evalrun.commands.watch.evaluating import Evaluated, Evaluator
from evalrun.commands.watch.jobs_left import LATER, JobsLeft
from evalrun.commands.watch.judge import Judge, Visit
from evalrun.commands.watch.run_list import RunList
from evalrun.commands.watch.store_view import StoreView
from evalrun.commands.watch.watch_request import WatchRequest
from evalrun.commands.watch.watched_run import WatchedRun
from evalrun.core.errors import ConfigError, EvalrunError, TrackingError
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobTasks
from evalrun.tracking import Store

Turn = tuple[WatchedRun, int]  # a run and a step of it


class Watch:
    """A watch over one run, or over all that patterns stand for.

    Args:
        request: What is watched, and how it is evaluated.
        evaluator: Where.
        say: Gets every line of the report.
        warn: Gets one sentence for everything that went wrong.
    """

    def __init__(
        self, request: WatchRequest, evaluator: Evaluator, say: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        """Open nothing yet; the runs of paths= are found by `open` and at every look."""
        self.request, self.config = request, request.config
        self.say, self.warn = say, warn
        self.evaluated = 0  # checkpoints, by this watch
        self._evaluator = evaluator
        self._said: set[str] = set()
        self._store = Store(self.config.tracking)
        self._view = StoreView(self._store)
        self._tasks = JobTasks(self.config)
        self._judge = Judge(self.config, self._store, self._view, self._tasks, self._complain)
        self._list = RunList(request, self._tasks, self._complain)
        self._left = JobsLeft(self._view, self._complain)
        self._unmarked: set[str] = set()  # suites whose curves lack what is new

    @property
    def runs(self) -> dict[str, WatchedRun]:
        """Folder -> what is in it, of all that are watched."""
        return self._list.runs

    @property
    def faults(self) -> int:
        """Runs and checkpoints that could not be evaluated, results that cannot be believed."""
        problems = sum(run.problem is not None and not run.is_empty for run in self.runs.values())
        of_runs = problems + sum(len(run.failed) + run.refusals for run in self.runs.values())
        return of_runs + len(self._list.passed_over) + self._judge.faults

    @property
    def newest(self) -> list[Visit]:
        """The verdict on the newest checkpoint that has one, of each run that has any."""
        return [run.newest for run in self.runs.values() if run.newest is not None]

    def open(self, once: bool) -> None:
        """Find the runs, before the first look.

        Args:
            once: There is one look alone: a pattern that matches nothing is a mistake then.

        Raises:
            ConfigError: two runs of one name; nothing to watch where there is one look.
        """
        problems = self._list.discover()
        if self._list.clashes or (once and problems and not self.runs):
            raise ConfigError(self._list.clashes or problems)

    def forever(self) -> None:
        """Look every `watch.poll_s` seconds until interrupted, and sooner while there is work.

        Raises:
            ConfigError: nothing that is there at the first look can be evaluated as it is asked for.
        """
        for is_first in chain([True], repeat(False)):
            until = time.monotonic() + self.config.watch.poll_s
            try:
                self.round(until)
            except EvalrunError as error:
                if is_first and self._list.are_mistaken:
                    raise
                self._complain(f"{str(error).rstrip('.')}; waiting for it to change.")
            time.sleep(max(0.0, until - time.monotonic()))

    def once(self) -> None:
        """Evaluate what is there; waits once for what may still be written.

        Raises:
            ConfigError, CheckpointError: no run can be made out, or none can be evaluated as it is asked for.
        """
        self._list.faults.are_tried_again = False
        self.round()
        if any(run.seen is not None and run.seen.waiting for run in self.runs.values()):
            time.sleep(self.config.watch.poll_s)
            self.round()
        problems = [run.problem for run in self.runs.values() if run.problem is not None]
        if len(problems) == len(self.runs) and problems:
            raise type(problems[0])([sentence for problem in problems for sentence in problem.problems])

    def round(self, until: float = math.inf) -> None:
        """One look at every run, an evaluation of what is new, a verdict on what has results.

        Args:
            until: Monotonic time from which on no further checkpoint is begun in this process.

        Raises:
            ConfigError: the request is wrong for all that is there.
            EvalrunError: of one run: none can be made out in its folder. Tasks or the launcher fail.
        """
        for problem in self._list.discover():
            self._complain(problem)
        has_news = False
        for run in self.runs.values():
            has_news |= run.look(self.config.watch.poll_s)
            if run.problem is not None and not self.request.patterns:
                raise run.problem
            for sentence in run.problem.problems if run.problem is not None else ():
                self._complain(sentence)
        turns = in_turn((run, run.todo()) for run in sorted(self.runs.values(), key=lambda run: run.turn))
        has_news |= bool(turns)
        before = {(run.group, step) for run in self.runs.values() for step in run.judged}
        self._evaluate(turns, until)
        self._say_mistakes()
        for run in self.runs.values():
            self._decide(run)
        self._rebuild()
        now = {(run.group, step): visit for run in self.runs.values() for step, visit in run.judged.items()}
        self._report(sum(not now[key].fresh for key in now.keys() - before), has_news)

    def attempt(self, step: int) -> Visit | None:
        """Evaluate one checkpoint of the one run that is watched, and judge it by what there is before it."""
        (run,) = self.runs.values()
        run.look(0)  # who asks knows that it is finished
        if run.problem is not None:
            raise run.problem
        assert run.seen is not None
        if step not in run.seen.ready:
            self._complain(run.seen.refused.get(step, f"step {step} is not in '{run.config.model.path}'."))
            return None
        self._evaluate([(run, step)], math.inf, judging=False)
        self._say_mistakes()
        visit = self._decide_on(run, step) if step in run.keys else None
        self._rebuild()
        return visit

    def _evaluate(self, turns: list[Turn], until: float, judging: bool = True) -> None:
        """Evaluate what has no results yet, and judge as they come.

        Args:
            turns: What is new, in order.
            until: See `round`.
            judging: Whether to judge.
        """
        self._view.begin()
        if not turns:
            return
        left = self._left.of(turns)
        runs = {run.group: run for run, _ in left}
        setups = {group: run.setup for group, run in runs.items()}
        jobs = [job.of_sweep(run.config.sweep) for run, job in left]
        try:
            for end in self._evaluator.evaluate(jobs, setups, until) if jobs else ():
                run, step = runs[end.job.group], end.job.config.step
                for warning in end.warnings:
                    self._complain(warning)
                if end.queued is not None:
                    self._left.queued(run, end.job, end.queued)
                elif isinstance(end.error, TrackingError):  # what is in the journal is delivered at a later look
                    self._complain(f"{str(end.error).rstrip('.')}. {LATER}")
                elif end.error is not None:
                    run.failing(step, end.error)
                else:
                    self._ended(run, end)
                    if judging:
                        self._decide(run)
        except EvalrunError as error:  # of the launcher itself
            for run, job in left:
                if job.config.step in run.new() and job.config.step not in run.queued:
                    run.failing(job.config.step, error)

    def _say_mistakes(self) -> None:
        """Say once for each run in what the request is wrong for it.

        Raises:
            ConfigError: it is for all.
        """
        if self._list.are_mistaken:
            raise ConfigError(self._list.mistakes)
        for sentence in self._list.mistakes:
            self._complain(sentence)

    def _ended(self, run: WatchedRun, end: Evaluated) -> None:
        """Note a checkpoint that was evaluated."""
        run_key = end.run_key or self._left.run_key(end.job)
        if run_key is None:
            said = f"{end.job.cell.label} ended without an error, and its results are not in {self._store.uri} yet."
            self._complain(f"{said} {LATER}")
            return
        self.evaluated += end.computed
        self._unmarked.add(end.job.cell.suite)
        run.evaluated(end.job.config.step, run_key, end.computed)

    def _decide(self, run: WatchedRun) -> None:
        """Judge what can be judged of a run."""
        for step in run.undecided():
            if self._decide_on(run, step) is None:
                break

    def _decide_on(self, run: WatchedRun, step: int) -> Visit | None:
        """Find the verdict on a checkpoint, or make it and tell it; None where the store fails."""
        suite, key = run.config.checkpoint.suite, run.keys[step]
        try:
            visit = self._judge.known(suite, key)
            if visit is None:
                visit = self._judge.judge(suite, key, run.config.sweep, step in run.fresh)
                self._tell(visit)
                self._judge.conclude(visit)
                if not visit.fresh:
                    self._store.mark(suite, key, run.config.sweep)
            elif step in run.fresh:  # computed again: the same results, the same verdict
                visit = replace(visit, fresh=True, rows=self._judge.rows(visit.run_id))
                self._print(visit)
        except TrackingError as error:
            self._complain(f"{str(error).rstrip('.')}. {LATER}")
            return None
        run.judged[step] = visit
        run.fresh.discard(step)
        return visit

    def _tell(self, visit: Visit) -> None:
        """Say what became of a new checkpoint; if it is worse, call the user's hooks."""
        if not visit.fresh:
            return
        self._print(visit)
        if not visit.warnings:
            return
        event = {
            **{name: getattr(visit.cell, name) for name in ("suite", "model", "seed", "step", "tokens")},
            "run_id": visit.run_id,
            "text": "\n".join([f"{visit.cell.label} is worse than before", *visit.warnings]),
            "drops": [change.to_json() for change in visit.drops],
        }
        for failed in hooks.call(self.config.watch, event):
            self.warn(failed)

    def _print(self, visit: Visit) -> None:
        for line in [*render.block(visit, self.config.analysis.alpha), *map(render.loud, visit.warnings)]:
            self.say(line)

    def _rebuild(self) -> None:
        """Bring curves up to date with what is new."""
        for suite in sorted(self._unmarked):
            try:
                self._store.rebuild_curves(suite)
                self._unmarked.discard(suite)
            except TrackingError as error:
                self._complain(f"{str(error).rstrip('.')}. {LATER}")

    def _report(self, found: int, has_news: bool) -> None:
        """What a look ends with: what was found done, and a table of several runs if anything happened."""
        if found:
            self.say(f"{counted(found, 'checkpoint')} found done")
        if self.request.patterns:
            if has_news and self.runs:
                for line in render.table(self.runs):
                    self.say(line)
        elif found and self.newest and not self.newest[0].fresh:
            (visit,) = self.newest
            self._print(replace(visit, rows=self._judge.rows(visit.run_id)))

    def _complain(self, sentence: str) -> None:
        """Warn with a sentence that was not said before."""
        if not self._list.faults.are_tried_again:
            sentence = sentence.replace(LATER, "The same command tries again.")
        if sentence not in self._said:
            self._said.add(sentence)
            self.warn(sentence)


def in_turn(found: Iterable[tuple[WatchedRun, list[int]]]) -> list[Turn]:
    """One checkpoint of each run after the other, so that no run waits for all of another."""
    queues = [[(run, step) for step in steps] for run, steps in found]
    return [turn for row in zip_longest(*queues) for turn in row if turn is not None]
