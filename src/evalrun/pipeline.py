"""The main path, in order: config -> checkpoint -> tasks -> scores -> journal -> MLflow."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints import audit, devices, downloads
from evalrun.checkpoints.read_ahead import Ahead
from evalrun.checkpoints.ready import ReadyCheckpoint
from evalrun.checkpoints.suites import allowed
from evalrun.checkpoints.tokenizer_digest import tokenizer_digest
from evalrun.config.asking import chat_in
from evalrun.config.engine_settings import SERVER
from evalrun.config.schema import TrackingConf
from evalrun.core import collector, environment
from evalrun.core.errors import CheckpointError, EvalrunError
from evalrun.core.records import Checkpoint, TaskResult
from evalrun.grid import job_keys, namesakes
from evalrun.grid.job_spec import JobResults, JobSpec, refuse_changed
from evalrun.grid.locating import try_to_locate
from evalrun.journal import job_state, result_files
from evalrun.tasks import recorded, task_file
from evalrun.tasks.group_tree import task_groups
from evalrun.tracking import Store, handing_over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobProcess:
    """What the jobs of one process share, one after the other."""

    ahead: Ahead = field(default_factory=Ahead)
    scored: job_state.RequestCounter = field(default_factory=job_state.RequestCounter)
    is_ours: bool = False  # it runs nothing but these jobs
    _stores: list[Store] = field(default_factory=list)

    def store(self, conf: TrackingConf) -> Store:
        """The store of a job, opened once for all that deliver to it."""
        known = next((store for store in self._stores if store.conf == conf), None)
        if known is None:
            self._stores.append(known := Store(conf))
        return known


@dataclass(frozen=True)
class JobSummary:
    """What a job did."""

    label: str  # the checkpoint in words
    run_key: str  # of its MLflow run
    computed: tuple[str, ...]  # tasks
    found: int  # tasks that were done before

    def __str__(self) -> str:
        return f"{self.label}: {len(self.computed)} computed, {self.found} found done"


def evaluate(job: JobSpec, config_yaml: str, process: JobProcess | None = None) -> JobSummary:
    """One job: score on one checkpoint what is missing, and see that MLflow has all of it.

    Args:
        job: What to do.
        config_yaml: The resolved config as text, kept with the results.
        process: What the jobs of this process share; None for one of its own.

    Raises:
        EvalrunError: whatever a user can do something about.
    """
    if job.config.offline:
        checkpoints.go_offline()
    process = process or JobProcess()
    with job_state.watched(job.folder, job_keys.state_name(job.config), _about(job), process.scored) as work:
        return _evaluate(job, config_yaml, work, process)


def _evaluate(job: JobSpec, config_yaml: str, work: job_state.JobReporter, process: JobProcess) -> JobSummary:
    """What `evaluate` does, in the order in which nothing is lost: journal, scoring, journal, MLflow.

    Args:
        job: What to do.
        config_yaml: The config as it is kept beside the results, passwords masked.
        work: Told what the job is at.
        process: What it shares with the jobs before and after it.

    Raises:
        CheckpointError, TaskError: it cannot be scored; tasks before the fault are kept and delivered.
        StorageError: the folder cannot be written.
        TrackingError: results are in the journal and could not be delivered.
    """
    config, cell, folder, files = job.config, job.cell, job.folder, job.asked
    results = _results(job)
    located, run_key, keys = results.located, results.run_key, dict(results.keys)
    store = process.store(config.tracking)
    unreachable = handing_over.is_unreachable(store, config.sweep)
    with result_files.locked(folder), work.at_work(), downloads.at_work(config, located):
        work.doing("reading its journal", run_key)
        done = result_files.read(folder)
        delivered = {} if unreachable else store.delivered(cell.suite, run_key)
        todo = [
            file
            for file in files
            if config.force or not (keys[file.name] in done or delivered.get(file.name) == keys[file.name])
        ]
        fault: EvalrunError | None = None
        if todo:
            if config.sweep is None:  # a sweep's jobs were compared with each other before the first began
                audit.refuse(config, located, store.table)
                namesakes.refuse([config], [located], store.filed)
                devices.check([config])
            result_files.write_config(folder, run_key, config_yaml)
            log.info("%s: computing %s", cell.label, ", ".join(file.name for file in todo))
            try:
                for result in _score(job, results, todo, work, process):
                    if result.run_key != run_key:  # what its tokenizer is became known when it was fetched
                        run_key = result.run_key
                        result_files.write_config(folder, run_key, config_yaml)
                    keys[result.task] = result.key
                    done[result.key] = result
                    log.info("  %s", recorded.said(result))
            except EvalrunError as error:  # what was scored before it is delivered all the same
                fault = error
        undelivered = [
            (done[key], result_files.items_path(folder, done[key]))
            for name, key in keys.items()
            if key in done and (delivered.get(name) != key or name in {file.name for file in todo})
        ]
        work.doing("delivering to MLflow")
        handing_over.deliver(store, undelivered, config.sweep, config_yaml, folder, unreachable)
        if fault is not None:
            raise fault
        if config.sweep is None:  # a sweep's are noted once
            store.groups.record(cell.suite, task_groups(config.tasks))
            store.tokens.settle([cell], {cell.suite: store.filed(cell.suite)})
        elif not undelivered:
            store.mark(cell.suite, run_key, config.sweep)
    if not todo:
        log.info("%s: found done", cell.label)
    return JobSummary(cell.label, run_key, tuple(file.name for file in todo), len(files) - len(todo))


def _results(job: JobSpec) -> JobResults:
    """Where a job's checkpoint is and its keys: as its sweep found them out, unless its files have changed since.

    Raises:
        CheckpointError: the checkpoint cannot be had.
    """
    stamp = job.stamp()
    if job.results is not None and job.results.files == stamp:
        return job.results
    located = try_to_locate(job)
    if isinstance(located, CheckpointError):
        raise located
    return JobResults(located, *_keys(job, located), stamp)


def _keys(job: JobSpec, located: checkpoints.ResolvedCheckpoint) -> tuple[str, dict[str, str]]:
    return job_keys.keys_by_identity(job.config, located.identity, job.files, job.cell)


def _about(job: JobSpec) -> job_state.JobState:
    config, cell, names = job.config, job.cell, [file.name for file in job.asked]
    return job_state.JobState(
        *(job_state.RUNNING, cell.suite, cell.model, cell.seed, cell.step, cell.label, names, config.sweep),
        every_s=config.heartbeat_s,
    )


def _score(
    job: JobSpec,
    results: JobResults,
    files: Sequence[task_file.TaskFile],
    work: job_state.JobReporter,
    process: JobProcess,
) -> Iterator[TaskResult]:
    """Score tasks, those that share prompts together; each bundle is in the journal before the next begins."""
    with collector.importing(for_good=process.is_ours):
        import pyarrow.parquet as pq

        from evalrun import scoring
        from evalrun.scoring import attempts
        from evalrun.scoring.engines.opened import opened
        from evalrun.scoring.kept_answers import KeptAnswers
        from evalrun.tasks import builder
        from evalrun.tasks.chat_prompts import chat_prompts

    config, folder = job.config, job.folder
    built, counts, faults = attempts.ready(config, files)
    by_name = {file.name: file for file in files}
    work.doing(f"{'fetching' if results.located.conversion is None else 'converting'} the checkpoint")
    process.ahead.wait()
    ready, cell, results = _loaded(job, results, work)
    located, loaded = ready.located, ready.loaded
    if (chat := chat_prompts(chat_in(config), loaded.tokenizer, located.cell.label)) is not None:
        built, counts, faults = attempts.ready(config, files, chat)
    process.ahead.start(located.cell, ready.folder, config.trust_pickle, downloads.claimer(config))
    said = {**namesakes.origin(config, located), **loaded.said, **_noted(job, located)}
    said |= {"tokenizer_digest": tokenizer_digest(loaded.tokenizer)} | ({} if chat is None else chat.said)
    before = result_files.latest(folder)  # a clock that was set back puts no new result before an old one
    lost: dict[str, scoring.Score] = {}
    tokens = scoring.token_settings(loaded.tokenizer, built, config.limit, config.scorer.tokens_by)
    kept = KeptAnswers(folder, results.keys, anew=config.force)
    with (
        work.scoring(sum(counts.values()), partial(environment.gpu_memory, ready.device)) as tick,
        opened(config, ready, scoring.scorers, folder, tick) as lm,
    ):
        attempts.set_up(lm, config)
        lm.keeps = kept.generate
        for names in scoring.group_by_shared_prompts(built, config.limit):
            work.doing(f"scoring {', '.join(names)}")
            began = time.perf_counter()
            scores = attempts.scored(lm, built, [by_name[name] for name in names], config, located.cell.label, faults)
            a_request = (time.perf_counter() - began) / max(1, sum(counts[name] for name in names))
            lost |= scoring.refused(scores, config.scorer.allow_not_finite)
            for name in (name for name in scores if name not in lost):
                builder.warn_of_ties(built[name], name, located.cell.label, scores[name].ties, scores[name].n)
                buffer = io.BytesIO()
                pq.write_table(scores[name].table, buffer)
                result = TaskResult(
                    key=results.keys[name],
                    run_key=results.run_key,
                    chance=builder.chance(built[name]),
                    cell=cell,
                    weights=ready.weights,
                    settings=recorded.settings(config, by_name[name], scores[name], ready.device, ready.dtype, lm.used)
                    | (said | tokens[name] | builder.noted(built[name])),
                    environment={**environment.versions(), **environment.hardware(ready.device), **lm.engine},
                    finished_ms=max(int(time.time() * 1000), 1 + before.get(name, 0)),
                    seconds=a_request * counts[name],
                    items_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
                    **recorded.about(by_name[name], scores[name]),
                )
                result_files.write(folder, result, buffer.getvalue())
                kept.forget(name)
                yield result
        attempts.conclude(located.cell.label, lost, loaded.model, faults)


def _loaded(
    job: JobSpec, results: JobResults, work: job_state.JobReporter
) -> tuple[ReadyCheckpoint, Checkpoint, JobResults]:
    """A job's checkpoint, fetched or made, and loaded; its cell and its keys as they are known then.

    Raises:
        CheckpointError: as `allowed.fetch_claimed` and `allowed.load` say, or its files changed meanwhile.
    """
    config, located = job.config, results.located
    folder = allowed.fetch_claimed(config, located)
    weights = checkpoints.weights_digest(located, folder)
    device = SERVER if config.scorer.name == SERVER else devices.pick(config.scorer.device)
    not_here = located.commit is not None or located.conversion is not None
    if not_here or not Path(located.cell.tokenizer or folder).is_dir():
        # Till now the files were on the hub, or not made.
        located = allowed.by_tokens(config, located, folder)
        run_key, keys = _keys(job, located)
        results = replace(results, located=located, run_key=run_key, keys=keys)
    work.doing("loading the checkpoint")
    loaded, cell = allowed.load(config, located, folder, device)
    refuse_changed(job, results.files)
    return ReadyCheckpoint(located, folder, weights, device, loaded, allowed.dtype_of(config, loaded)), cell, results


def _noted(job: JobSpec, located: checkpoints.ResolvedCheckpoint) -> dict[str, Any]:
    """What a job's results keep of its converter, and of what groups set in its tasks; nothing where there is none."""
    options = task_file.options_of(job.files)
    said = {"group_options": options} if options else {}
    return said | ({} if located.conversion is None else {"converted_by": located.conversion.command})
