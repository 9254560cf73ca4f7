"""The main path, in order: config -> checkpoint -> tasks -> scores -> journal -> MLflow."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints import audit, downloads, read_ahead
from evalrun.checkpoints.suites import allowed, cell_of, check, identity_of_gone
from evalrun.config.schema import Config
from evalrun.core import environment
from evalrun.core.records import TaskResult
from evalrun.errors import CheckpointError, ConfigError, EvalrunError, TrackingError
from evalrun.grid import namesakes
from evalrun.journal import job_state, result_files
from evalrun.scoring import recorded
from evalrun.tasks import task_file
from evalrun.tracking import Store

log = logging.getLogger(__name__)
_files: dict[tuple[Any, ...], list[task_file.TaskFile]] = {}


@dataclass(frozen=True)
class Evaluated:
    """What a job did."""

    label: str  # the checkpoint in words
    run_key: str  # of its MLflow run
    computed: tuple[str, ...]  # tasks
    found: int  # tasks that were done before

    def __str__(self) -> str:
        return f"{self.label}: {len(self.computed)} computed, {self.found} found done"


def evaluate(config: Config, folder: Path, config_yaml: str) -> Evaluated:
    """One job: score on one checkpoint what is missing, and see that MLflow has all of it.

    Args:
        config: What to do.
        folder: The job's folder, where its journal is.
        config_yaml: The resolved config as text, kept with the results.

    Raises:
        EvalrunError: whatever a user can do something about.
    """
    if config.offline:
        checkpoints.go_offline()
    with job_state.watched(folder, state_name(config), _about(config)) as work:
        return _evaluate(config, folder, config_yaml, work)


def _evaluate(config: Config, folder: Path, config_yaml: str, work: job_state.Work) -> Evaluated:
    cell = cell_of(config)
    files = files_of_sweep(config)
    located = _try_to_locate(config)
    if isinstance(located, CheckpointError):
        raise located
    run_key, keys = result_keys(config, located, files)
    store = Store(config.tracking)
    unreachable = _unreachable(store, config.sweep)
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
                audit.refuse(config, located, store)
                namesakes.refuse([config], [located], store)
                check_devices([config])
            result_files.write_config(folder, run_key, config_yaml)
            log.info("%s: computing %s", cell.label, ", ".join(file.name for file in todo))
            try:
                for result in _score(config, located, todo, folder, work):
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
        _deliver(store, undelivered, config.sweep, config_yaml, folder, unreachable)
        if fault is not None:
            raise fault
        if not undelivered and config.sweep is not None:
            store.mark(cell.suite, run_key, config.sweep)
    if not todo:
        log.info("%s: found done", cell.label)
    return Evaluated(cell.label, run_key, tuple(file.name for file in todo), len(files) - len(todo))


def _unreachable(store: Store, sweep: str | None) -> bool:
    """Whether the store is gone; what a sweep wants was compared with it at the start, so its jobs compute on.

    Raises:
        TrackingError: the store cannot be had, and nobody has asked it before.
    """
    try:
        store.check()
    except TrackingError as error:
        if sweep is None:
            raise
        log.warning("results stay in the journal until they can be delivered: %s", error)
        return True
    return False


def find_done(configs: Sequence[Config], sweep: str) -> tuple[set[int], dict[int, CheckpointError]]:
    """Which jobs need not start, because nothing is left to compute or deliver, and which must not.

    A finished sweep is recognised in seconds, and no launcher queues a job for work that is done.

    Args:
        configs: One for each job.
        sweep: The multirun that wants them, noted on the runs that are done.

    Returns:
        Positions of the jobs that are done; of those that are refused, with the reason: their weights are another
        step's.

    Raises:
        EvalrunError: when tasks or the store cannot be read, or no checkpoint at all can be found; one checkpoint's
            own fault is left to its job.
    """
    store = Store(configs[0].tracking)
    with ThreadPoolExecutor(max_workers=8) as pool:  # a hub checkpoint costs a question to the hub
        places = list(pool.map(_try_to_locate, configs))
    downloads.remember([place for place in places if not isinstance(place, CheckpointError)])
    faults = [place for place in places if isinstance(place, CheckpointError)]
    if len(faults) == len(places):
        raise CheckpointError(f"none of the {len(places)} checkpoints can be had; the first: {faults[0]}")
    held = {suite: store.delivered_all(suite) for suite in {config.checkpoint.suite for config in configs}}
    done: set[int] = set()
    marked: dict[str, list[str]] = defaultdict(list)
    for position, (config, located) in enumerate(zip(configs, places, strict=True)):
        if isinstance(located, CheckpointError) or config.force:
            continue
        run_key, keys = result_keys(config, located, files_of_sweep(replace(config, sweep=sweep)))
        delivered = held[located.cell.suite].get(run_key, {})
        if all(delivered.get(name) == key for name, key in keys.items()):
            marked[located.cell.suite].append(run_key)
            done.add(position)
    for suite, run_keys in marked.items():
        store.mark_all(suite, run_keys, sweep)
    refused: dict[int, CheckpointError] = {}
    if len(done) < len(configs):
        namesakes.refuse(configs, places, store)
        refused = audit.refusals(configs, [namesakes.here(place) for place in places], store)
    return done, {position: error for position, error in refused.items() if position not in done}


def files_of_sweep(config: Config) -> list[task_file.TaskFile]:
    """The tasks of a job; read once a sweep, whose jobs are then all scored on the same."""
    if config.sweep is None:
        return task_file.resolve_for(config)
    asked = (config.sweep, *config.tasks, config.data_dir, config.trust_task_code, config.profile)
    if asked not in _files:
        _files[asked] = task_file.resolve_for(config)
    return _files[asked]


def forget() -> None:
    """Read tasks again when they are needed next: in one process their files may change between sweeps."""
    _files.clear()


def wanted_keys(configs: Sequence[Config]) -> set[str]:
    """The keys of all task results that jobs are for.

    Raises:
        CheckpointError: a checkpoint that cannot be found.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:  # a hub checkpoint costs a question to the hub
        places = list(pool.map(_try_to_locate, configs))
    keys: set[str] = set()
    for config, located in zip(configs, places, strict=True):
        if isinstance(located, CheckpointError):
            raise located
        keys.update(result_keys(config, located, files_of_sweep(config))[1].values())
    return keys


def _try_to_locate(config: Config) -> checkpoints.Located | CheckpointError:
    cell = cell_of(config)
    if (identity := identity_of_gone(config)) is not None:
        return checkpoints.Located(cell, identity, None, None)
    try:
        check(config)
        return allowed.locate(config, cell)
    except CheckpointError as error:
        return downloads.recall(cell) or error  # what is done needs no files


def result_keys(
    config: Config, located: checkpoints.Located, files: Sequence[task_file.TaskFile]
) -> tuple[str, dict[str, str]]:
    """Names by content: of the MLflow run (checkpoint and settings) and of each task's result in it.

    Two results with one key have the same numbers; anything that can change a number is in the key.
    """
    return keys_by_identity(config, located.identity, files)


def keys_by_identity(config: Config, identity: str, files: Sequence[task_file.TaskFile]) -> tuple[str, dict[str, str]]:
    """`result_keys` of a checkpoint whose identity is known already: from its journal, or from the store."""
    settings = {"identity": identity, **_determining(config)}
    shots, version = config.num_fewshot, task_file.lm_eval_version()
    own = {kind: allowed.left_out(config, identity, kind) for kind in {file.is_rolling for file in files}}
    keys = {
        file.name: result_files.digest([settings, file.name, file.digest_for(shots), version, *own[file.is_rolling]])
        for file in files
    }
    return run_key_of(config, identity, task_file.options_of(files)), keys


def run_key_of(config: Config, identity: str, options: Mapping[str, Any]) -> str:
    """The run's key alone. A run holds a task once, so with options that a group sets it is another run."""
    settings = {"identity": identity, **_determining(config)}
    return result_files.digest(settings | ({"options": options} if options else {}))


def state_name(config: Config) -> str:
    """What tells a job from others in its folder, known before the checkpoint is found."""
    return result_files.digest(_determining(config))


def _determining(config: Config) -> dict[str, Any]:
    """What determines the numbers, beside the checkpoint's files and the tasks."""
    scorer, cell = config.scorer, cell_of(config)
    return {
        "suite": cell.suite,
        "model": cell.model,
        "seed": cell.seed,
        "step": cell.step,
        "scorer": [scorer.name, scorer.dtype, scorer.softmax_dtype, scorer.logits_cache, scorer.encoding]
        + [scorer.allow_not_finite] * (scorer.allow_not_finite > 0)
        + [scorer.ties] * (scorer.ties != ("first" if config.profile == "as_published" else "expected")),
        "profile": config.profile,
        "num_fewshot": config.num_fewshot,
        "limit": config.limit,
    }


def _about(config: Config) -> job_state.JobState:
    cell, names = cell_of(config), [file.name for file in files_of_sweep(config)]
    return job_state.JobState(
        *(job_state.RUNNING, cell.suite, cell.model, cell.seed, cell.step, cell.label, names, config.sweep),
        every_s=config.heartbeat_s,
    )


def _score(
    config: Config,
    located: checkpoints.Located,
    files: Sequence[task_file.TaskFile],
    folder: Path,
    work: job_state.Work,
) -> Iterator[TaskResult]:
    """Score tasks, those that share prompts together; each bundle is in the journal before the next begins."""
    import torch

    from evalrun import scoring
    from evalrun.scoring import attempts
    from evalrun.tasks import builder

    built, counts, faults = attempts.ready(config, files)
    by_name = {file.name: file for file in files}
    work.doing("fetching the checkpoint")
    read_ahead.jobs.wait()
    downloads.Ledger(config).claim(located.cell, str(located.commit))
    weights_folder = allowed.fetch(config, located)
    weights = checkpoints.weights_digest(weights_folder)
    device = pick_device(config.scorer.device, torch)
    located = allowed.by_tokens(config, located, weights_folder)  # of files that were on the hub till now
    run_key, keys = result_keys(config, located, files_of_sweep(config))
    work.doing("loading the checkpoint")
    loaded, cell = allowed.load(config, located, weights_folder, device)
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    read_ahead.jobs.start(located.cell, weights_folder, config.trust_pickle, downloads.claimer(config))
    said = {**namesakes.origin(config, located), **loaded.said, **_group_options(config)}
    before = result_files.latest(folder)  # a clock that was set back puts no new result before an old one
    lost: dict[str, scoring.Score] = {}
    tokens = scoring.token_settings(loaded.tokenizer, built, config.limit, config.scorer.tokens_by)
    with (
        work.scoring(sum(counts.values()), partial(environment.gpu_memory, device)) as tick,
        scoring.scorer(loaded.model, loaded.tokenizer, config.scorer, tick) as lm,
    ):
        for names in scoring.bundles(built, config.limit):
            work.doing(f"scoring {', '.join(names)}")
            began = time.perf_counter()
            try:
                scores = attempts.scored(
                    lm, built, [by_name[name] for name in names], config, located.cell.label, faults
                )
            except torch.OutOfMemoryError:
                raise CheckpointError(
                    f"{located.cell.label}: no memory left on {device} at {', '.join(names)} with scorer.batch_size="
                    f"{config.scorer.batch_size}: lower it."
                ) from None
            a_request = (time.perf_counter() - began) / max(1, sum(counts[name] for name in names))
            lost |= scoring.refused(scores, config.scorer.allow_not_finite)
            for name in (name for name in scores if name not in lost):
                builder.warn_of_ties(built[name], name, located.cell.label, scores[name].ties, scores[name].n)
                buffer = io.BytesIO()
                scores[name].items.to_parquet(buffer, index=False)
                result = TaskResult(
                    key=keys[name],
                    run_key=run_key,
                    chance=builder.chance(built[name]),
                    cell=cell,
                    weights=weights,
                    settings=recorded.settings(config, by_name[name], scores[name], device, dtype, lm.used)
                    | (said | tokens[name] | builder.noted(built[name])),
                    environment={**environment.versions(), **environment.hardware(device)},
                    finished_ms=max(int(time.time() * 1000), 1 + before.get(name, 0)),
                    seconds=a_request * counts[name],
                    items_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
                    **recorded.about(by_name[name], scores[name]),
                )
                result_files.write(folder, result, buffer.getvalue())
                yield result
        attempts.conclude(located.cell.label, lost, loaded.model, faults)


def _group_options(config: Config) -> dict[str, Any]:
    """What groups set in a job's tasks, as its results keep it; nothing where they set nothing."""
    options = task_file.options_of(files_of_sweep(config))
    return {"group_options": options} if options else {}


def pick_device(asked: str, torch: Any) -> str:
    """The device to score on: `auto` is the first GPU, else the CPU; `all` spreads a model over every GPU.

    Raises:
        CheckpointError: a device that is not there.
    """
    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked == "all":
        return "all" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(1, device=asked).device.type != "meta":  # which holds shapes and no numbers
            return asked
    except (RuntimeError, AssertionError, ImportError):  # by the device, and by how torch was built
        pass
    raise CheckpointError(f"scorer.device is '{asked}', which is not here: use auto, all or cpu.")


def check_devices(configs: Iterable[Config]) -> None:
    """See that the devices that jobs name are on this machine, before the first of them starts.

    Raises:
        ConfigError: one is not.
    """
    named = {config.scorer.device for config in configs} - {"auto", "all", "cpu"}
    if not named:
        return
    import torch

    for device in sorted(named):
        try:
            pick_device(device, torch)
        except CheckpointError as error:
            raise ConfigError(error.problems) from None


def _deliver(
    store: Store,
    results: Sequence[tuple[TaskResult, Path]],
    sweep: str | None,
    config_yaml: str,
    folder: Path,
    unreachable: bool,
) -> None:
    if not results:
        return
    try:
        if unreachable:  # asked once more and briefly: MLflow's client would try for minutes
            store.check()
        store.deliver(results, sweep, config_yaml)
    except TrackingError as error:
        raise TrackingError(
            f"{error} The {len(results)} result(s) are safe in '{folder}': `python -m evalrun sync` delivers them."
        ) from None
