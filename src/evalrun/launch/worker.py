"""What runs a job, in whatever process: it composes the config, runs, and says in plain words how that ended."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hydra.core.utils import JobStatus, configure_log, setup_globals
from omegaconf import DictConfig

from evalrun import pipeline
from evalrun.config.compose import register
from evalrun.config.hydra_private import Callbacks
from evalrun.config.omegaconf_private import to_yaml
from evalrun.core.errors import EvalrunError, StorageError, first_line
from evalrun.core.secrets import masked
from evalrun.grid.job_spec import JobSpec
from evalrun.launch import hydra_job
from evalrun.launch.job_configs import JobComposer
from evalrun.launch.job_logging import JobLogging
from evalrun.launch.jobs import JobResult, Status

log = logging.getLogger(__name__)
_FORWARDED = ("HF_", "MLFLOW_", "TRANSFORMERS_", "TOKENIZERS_", "OMP_", "MKL_", "EVALRUN_")


@dataclass(frozen=True)
class Context:
    """What all jobs of a sweep share; it can be pickled.

    Args:
        folder: Where the command was given: paths in configs are relative to it.
        config: The sweep's own config.
        composed: The configs of each group of jobs, by its place in the plan.
        environment: Variables of the command's that jobs elsewhere need.
    """

    folder: str
    config: DictConfig
    composed: Mapping[int, DictConfig] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def forwarded() -> dict[str, str]:
    """The variables that decide where models, results and threads are."""
    return {name: value for name, value in os.environ.items() if name.startswith(_FORWARDED)}


def enter_workspace(context: Context) -> None:
    """Make a process of a cluster, wherever it was started, like that of the command.

    Raises:
        StorageError: the command's folder is not there.
    """
    try:
        os.chdir(context.folder)
    except OSError as error:
        raise StorageError(
            f"'{context.folder}' cannot be used on {socket.gethostname()} ({error.strerror}): run the sweep in a "
            "folder that all machines share."
        ) from None
    os.environ.update(context.environment)


class Worker:
    """Runs jobs of one sweep in this process, one after the other; what is loaded once is kept."""

    def __init__(self, context: Context) -> None:
        from hydra.core.plugins import Plugins

        register()
        Plugins.instance()  # their configs
        setup_globals()
        self.context = context
        self.process = pipeline.JobProcess(is_ours=True)
        self.composer = JobComposer(context.config, context.composed)
        self.job_logging = JobLogging()

    def expect(self, works: Sequence[JobSpec]) -> None:
        """Say which jobs come, one after the other, so that their files are read ahead."""
        self.process.ahead.expect([work.cell for work in works])

    def close(self) -> None:
        """Give logging back to the command: until now it was the last job's."""
        hydra = self.context.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)

    def run(self, work: JobSpec) -> JobResult:
        """Run a job; whatever it raises, `SystemExit` too, is told and not raised."""
        began, scored = time.monotonic(), self.process.scored.requests
        heard: list[str] = []
        try:
            status, said = self._run(work, heard)
        except SystemExit as error:
            status, said = Status.FAILED, f"{work.cell.label}: code that it ran called sys.exit({error.code!r})."
        except OSError as error:  # Hydra writes in the job's folder before the job begins
            _free(error)
            said = f"its folder cannot be written ({error.strerror or error}): free some space and run the same again."
            status, said = Status.FAILED, f"{work.cell.label}: {said}"
        except Exception as error:  # its config or its folder: nothing has run
            _free(error)
            status, said = Status.FAILED, f"{work.cell.label}: {first_line(error)} ({type(error).__name__})."
        warnings, requests = tuple(dict.fromkeys(heard)), self.process.scored.requests - scored
        return JobResult(work.index, status, said, warnings, time.monotonic() - began, requests)

    def _run(self, work: JobSpec, heard: list[str]) -> tuple[Status, str]:
        """Compose and run a job as Hydra does; how it ended, and its last line.

        Args:
            work: The job.
            heard: Gets the warnings that it logs.
        """

        def function(config: DictConfig) -> str:
            with _listening(heard):
                return _evaluated(work, config, self.process)

        callbacks = Callbacks(self.context.config)
        done = hydra_job.run(self.composer.compose(work), work.folder, callbacks, function, self.job_logging)
        if done.status is JobStatus.COMPLETED:
            return Status.DONE, str(done.return_value)
        error = done._return_value
        _free(error)
        if isinstance(error, EvalrunError):  # a sentence for the user
            return Status.FAILED, str(error)
        what = f"{first_line(error)} ({type(error).__name__})"
        return Status.FAILED, f"{work.cell.label}: {what}; the log in '{work.folder}' has the traceback."


def _evaluated(work: JobSpec, config: DictConfig, process: pipeline.JobProcess) -> str:
    """Evaluate a checkpoint; what it did, in words. What nobody foresaw is in the job's log with its traceback."""
    try:
        return str(pipeline.evaluate(work, masked(to_yaml(config, resolve=True)), process))
    except EvalrunError:
        raise
    except Exception:
        log.exception("this job failed in a way that evalrun did not foresee")
        raise


class _WarningCollector(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:  # errors are how the job ends, and told so
            self.heard.append(record.getMessage())


@contextlib.contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Collect warnings: a worker elsewhere has no terminal to say them on."""
    ear = _WarningCollector(heard)
    logging.getLogger().addHandler(ear)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(ear)


def _free(error: BaseException | None) -> None:
    """Drop the frames of an exception and of those behind it: they hold the tensors of a job that failed."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
