"""Jobs on a Ray cluster: a task each, run again elsewhere when a node is lost; worker processes keep what they load."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from evalrun.core.errors import ConfigError, EvalrunError, first_line
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import RaySettings
from evalrun.launch.jobs import JobResult, Status, largest_first
from evalrun.launch.worker import Context, Worker, enter_workspace

log = logging.getLogger(__name__)
_here: tuple[str, Worker] | None = None  # in a worker process: the launch that it works for


def run(
    context: Context,
    works: Sequence[JobSpec],
    settings: RaySettings,
    device: str,
    stopping: Callable[[], bool],
    folder: Path,
) -> Generator[JobResult]:
    """Run jobs as Ray tasks and yield each as it ends.

    Args:
        context: What they share.
        works: The jobs.
        settings: Where, and what a job takes.
        device: scorer.device: with `cpu` no GPU is asked for.
        stopping: Once true, no job is started any more; those at work are finished.
        folder: On all machines: where they are told to stop.

    Raises:
        ConfigError: values that cannot be right, Ray is not installed.
        EvalrunError: no cluster at the address.
    """
    settings.check()
    ray = _import()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, settings)
    launch = uuid.uuid4().hex
    flag = folder / f"stop-{launch}"
    pending: dict[Any, JobSpec] = {}
    try:
        if settings.address is not None:
            _warn_of_local_store(ray, context)
        gpus = _gpus(ray, settings, device)
        shared = ray.put(context)
        task = ray.remote(max_calls=0)(_run_there)  # keep the process, and its caches, after a job on a GPU too
        for work in largest_first(works):
            cards = work.resources.get("gpus", gpus) if device != "cpu" else 0
            options = {
                "num_cpus": work.resources.get("cpus", settings.cpus),
                "num_gpus": cards,
                "max_retries": settings.retries,
                "name": work.cell.label,
            }
            pending[task.options(**options).remote(launch, shared, work, str(flag), cards)] = work
        _check_fits(ray, works, settings, gpus if device != "cpu" else 0)
        while pending:
            (ready,), _ = ray.wait(list(pending), num_returns=1)
            work = pending.pop(ready)
            yield _outcome(ray, ready, work, settings.retries)
            if stopping() and not flag.exists():
                folder.mkdir(parents=True, exist_ok=True)
                flag.touch()
    finally:
        if settings.address is not None or not ours:  # a cluster started here ends whole, with what runs on it
            for ref in pending:  # Ray aborts the process if one ends at the moment it is cancelled
                ray.cancel(ref, force=True)
        flag.unlink(missing_ok=True)
        if ours:
            with _own_signals():
                ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what the command does at SIGTERM: Ray puts its own handler there, and later none."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _import() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else each start warns of a coming default
    try:
        import ray
    except ImportError:
        raise ConfigError("hydra/launcher=ray needs the package ray: pip install 'ray>=2.40'.") from None
    return ray


def _connect(ray: Any, settings: RaySettings) -> None:
    """Join the cluster of an address, or start one here that ends with this process."""
    extra = dict(settings.init)
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if (
        settings.address is not None and paths and "runtime_env" not in extra
    ):  # a cluster's own processes were not started with this command's
        extra["runtime_env"] = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet |= {"address": "local", "include_dashboard": False}
    else:
        quiet |= {"address": settings.address}
    try:
        if settings.address is not None:
            _knock(settings.address)
        with _own_signals():
            ray.init(**{**quiet, **extra})
    except Exception as error:  # Ray's own classes differ with the kind of address
        where = "cannot be started here" if settings.address is None else f"is not at '{settings.address}'"
        raise EvalrunError(
            f"a Ray cluster {where} ({first_line(error)}): check hydra.launcher.address and hydra.launcher.init."
        ) from None


def _knock(address: str) -> None:
    """Raise OSError, soon, if nobody listens at a HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _gpus(ray: Any, settings: RaySettings, device: str) -> float:
    if settings.gpus != "auto":
        return float(settings.gpus)
    return 1.0 if device != "cpu" and ray.cluster_resources().get("GPU", 0) else 0.0


def _check_fits(ray: Any, works: Sequence[JobSpec], settings: RaySettings, gpus: float) -> None:
    """Warn if no node that is there now can run a job: Ray would wait for one without a word."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for label, cpus, cards in sorted(
        {
            (work.cell.model, work.resources.get("cpus", settings.cpus), work.resources.get("gpus", gpus))
            for work in works
        }
    ):
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= cards for node in nodes):
            log.warning(
                "no node has %g CPUs and %g GPUs, which a job of %s takes: it waits for one", cpus, cards, label
            )


def _warn_of_local_store(ray: Any, context: Context) -> None:
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]} | {socket.gethostname()}
    if len(hosts) > 1 and context.config.tracking.uri is None:
        log.warning("%d machines write one SQLite file over a network: tracking=server is safer", len(hosts))


def _outcome(ray: Any, ref: Any, work: JobSpec, retries: int) -> JobResult:
    """A job's result, or its failure in a sentence where Ray lost it.

    Args:
        ray: The module.
        ref: Of the task.
        work: The job.
        retries: How often Ray began it again.
    """
    try:
        done: JobResult = ray.get(ref)
        return done
    except ray.exceptions.TaskCancelledError:
        said = "it was cancelled."
    except ray.exceptions.OutOfMemoryError:
        said = "its node ran out of memory: ask for more hydra.launcher.cpus, so that fewer jobs share a node."
    except ray.exceptions.WorkerCrashedError:
        said = f"its worker was killed, {retries + 1} times in all; `ray logs` of its node may tell why."
    except ray.exceptions.RayError as error:
        said = f"Ray lost it: {first_line(error)}."
    return JobResult(work.index, Status.FAILED, f"{work.cell.label}: {said}")


def _run_there(launch: str, context: Context, work: JobSpec, flag: str, cards: float) -> JobResult:
    """In a worker process, with so many GPUs."""
    global _here
    if not cards:  # Ray 2.60 leaves all of the node's in sight of a task that asked for none; those are others'
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if _here is None or _here[0] != launch:
        try:
            enter_workspace(context)
        except EvalrunError as error:
            return JobResult(work.index, Status.FAILED, f"{work.cell.label}: {error}")
        _here = (launch, Worker(context))
    if Path(flag).exists():
        return JobResult(work.index, Status.SKIPPED, "")
    return _here[1].run(work)
