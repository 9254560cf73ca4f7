"""A job as a worker runs it, beside Hydra's own `run_job`: the same files, settings, callbacks and ends."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from evalrun.config.compose import hydra_session
from evalrun.config.hydra_private import Callbacks
from evalrun.config.omegaconf_private import to_yaml
from evalrun.grid import overrides as ov
from evalrun.grid import planning
from evalrun.launch import hydra_job
from evalrun.launch.job_configs import JobComposer
from evalrun.launch.job_logging import JobLogging

WORDS = ("model=toy/toy-s", "task=alpha", "step=1,8", "+hydra.job.env_set.GREETING='good day'")


class Watching(Callback):
    """A user's callback, which keeps what it is given and changes it."""

    heard: list[tuple[str, Any]] = []  # noqa: RUF012

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.heard.append(("start", config))
        with open_dict(config):
            config.limit = 99

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        self.heard.append(("end", job_return))


@pytest.fixture
def root_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def sweep(workspace: Path, root_logging: None) -> Iterator[Any]:
    """A function from more words to the sweep's config, composer, jobs, and Hydra's loader."""

    def made(*more: str) -> tuple[DictConfig, JobComposer, list[Any], Any]:
        loader = GlobalHydra.instance().config_loader()
        own = [word for word in (*WORDS, *more) if word.lstrip("+").startswith("hydra")]
        master = loader.load_configuration("config", [*own, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        plan = planning.plan(tuple(ov.for_hydra(ov.parse((*WORDS, *more)))))
        jobs = [replace(job.of_sweep("63e8210975"), number=place) for place, job in enumerate(plan.jobs)]
        return master, JobComposer(master, plan.composed), jobs, loader

    with hydra_session():
        setup_globals()
        yield made


def seen(config: DictConfig) -> dict[str, Any]:
    """What a task can see of its job."""
    import os

    logging.getLogger("evalrun.test").info("a line of step %s", config.step)
    hydra = HydraConfig.get()
    return {
        "config": OmegaConf.to_container(config, resolve=True),
        "output_dir": hydra.runtime.output_dir,
        "num": hydra.job.num,
        "words": list(hydra.overrides.task),
        "name": OmegaConf.create({"name": "${hydra:job.name}"}).name,
        "env": os.environ["GREETING"],
        "read_only": OmegaConf.is_readonly(hydra),
    }


def files(folder: Path) -> dict[str, str]:
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {name: text if name.endswith(".yaml") else text.partition("]")[2] for name, text in found.items()}


def test_a_job_leaves_and_sees_what_hydras_own_run_leaves_and_sees(sweep: Any) -> None:
    master, composer, jobs, loader = sweep()
    before, logs = HydraConfig.instance().cfg, JobLogging()
    for job in [*jobs, *jobs]:
        ours = hydra_job.run(composer.compose(job), job.folder, Callbacks(master), seen, logs)
        left = files(job.folder)
        assert {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"} < left.keys()
        assert HydraConfig.instance().cfg is before
        config = loader.load_sweep_config(master, list(job.words))
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(job.number), job.number
        theirs = run_job(
            hydra_context=HydraContext(loader, Callbacks(master)), task_function=seen, config=config,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip
        assert ours.return_value == theirs.return_value
        assert ours.return_value["config"]["step"] == job.config.step
        log = next(name for name in left if name.endswith(".log"))
        whole = files(job.folder)
        assert whole.pop(log).split("]")[-1] == left.pop(log).split("]")[-1]
        assert whole == left, "byte for byte"


def test_the_text_is_that_of_omegaconf() -> None:
    config = OmegaConf.create(
        {
            "a": "63e8210975",
            "b": "yes",
            "c": None,
            "d": [1, 2.5, "${a}", "x: y"],
            "e": {"long": "word " * 60, "ü": "é\n"},
        }
    )
    assert to_yaml(config) == OmegaConf.to_yaml(config)
    assert to_yaml(config, resolve=True) == OmegaConf.to_yaml(config, resolve=True)
    assert to_yaml(config.e, under="e") == OmegaConf.to_yaml({"e": config.e})


def test_what_a_job_raises_is_returned_and_its_callbacks_hear_of_it(sweep: Any) -> None:
    target = f"{Watching.__module__}.{Watching.__qualname__}"
    master, composer, jobs, _ = sweep(f"+hydra.callbacks.mine={{_target_: '{target}'}}")
    callbacks = Callbacks(master)
    (own,) = callbacks.callbacks
    own.heard.clear()

    def fails(_: DictConfig) -> None:
        raise ValueError("on purpose")

    done = hydra_job.run(composer.compose(jobs[0]), jobs[0].folder, callbacks, fails, JobLogging())
    assert done.status is JobStatus.FAILED
    (_, _), (_, told) = own.heard
    assert told is done
    assert isinstance(done._return_value, ValueError)
    assert told.overrides == list(jobs[0].words)
    following = composer.compose(jobs[1])
    assert 99 not in (following.task.limit, following.whole.limit), "what a callback changes is its own"


def test_a_job_that_cannot_write_its_folder_leaves_hydra_as_it_was(sweep: Any) -> None:
    master, composer, jobs, _ = sweep()
    before = copy.deepcopy(HydraConfig.instance().cfg)
    jobs[0].folder.parent.mkdir(parents=True, exist_ok=True)
    jobs[0].folder.write_text("a file")
    with pytest.raises(OSError, match="exists"):
        hydra_job.run(composer.compose(jobs[0]), jobs[0].folder, Callbacks(master), seen, JobLogging())
    assert HydraConfig.instance().cfg == before


def test_each_of_many_jobs_logs_to_its_own_file_whatever_libraries_do_between(sweep: Any, tmp_path: Path) -> None:
    from evalrun.launch import job_logging

    _, composer, jobs, _ = sweep()
    jobs = [*jobs, *jobs, jobs[0]]
    logs, log, calls = JobLogging(), logging.getLogger("evalrun.test"), []
    plain = job_logging.configure_log
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_logging, "configure_log", lambda *args: calls.append(1) or plain(*args))
        for place, job in enumerate(jobs):
            hydra = composer.compose(job).whole.hydra
            folder = tmp_path / str(place)
            folder.mkdir()
            with flag_override(hydra, ["struct", "readonly"], False):
                hydra.runtime.output_dir = str(folder)
            logs.begin(hydra)
            log.info("of job %d", place)
            if place == 2:
                logging.basicConfig(level=logging.ERROR, force=True)  # as libraries do
    assert len(calls) == 2, "for the first job, and after the one that changed it"
    texts = [next((tmp_path / str(place)).glob("*.log")).read_text() for place in range(len(jobs))]
    assert [text.split("]")[-1].strip() for text in texts] == [
        f"INFO evalrun.test: of job {place}" for place in range(len(jobs))
    ]


def test_a_job_whose_log_cannot_be_opened_leaves_the_one_before_as_it_was(sweep: Any, tmp_path: Path) -> None:
    _, composer, jobs, _ = sweep()
    logs = JobLogging()
    hydra = composer.compose(jobs[0]).whole.hydra
    for place in (tmp_path, tmp_path / "missing", tmp_path):
        with flag_override(hydra, ["struct", "readonly"], False):
            hydra.runtime.output_dir = str(place)
        if place.exists():
            logs.begin(hydra)
        else:
            with pytest.raises(OSError, match="No such file"):
                logs.begin(hydra)
        logging.getLogger("evalrun.test").info("a line")
    (log,) = tmp_path.glob("*.log")
    assert log.read_text().count("a line") == 3
