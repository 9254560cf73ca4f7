"""Runs a job as Hydra's own `run_job` does, and leaves the files that it leaves, without its copies of the config.

Hydra copies the config's five hundred nodes five times a job and has their YAML written in Python: a third of what a
small checkpoint took beside its scoring. tests/launchers/test_hydra_job.py compares the two.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, env_override
from omegaconf import DictConfig, OmegaConf, flag_override

from evalrun.config.hydra_private import Callbacks
from evalrun.config.omegaconf_private import to_yaml
from evalrun.launch.job_configs import JobConfig
from evalrun.launch.job_logging import JobLogging


def run(
    config: JobConfig,
    folder: Path,
    callbacks: Callbacks,
    function: Callable[[DictConfig], Any],
    job_logging: JobLogging,
) -> JobReturn:
    """Run a function where Hydra's settings, logging, variables and callbacks are those of a job.

    Args:
        config: The job's; its `hydra.runtime.output_dir` is set.
        folder: The job's, made if it is not there.
        callbacks: The sweep's.
        function: Gets the config without Hydra's node.
        job_logging: Of the jobs before it in this process.

    Returns:
        What it returned, or the exception that it raised, as Hydra hands it to callbacks.

    Raises:
        OSError: the folder cannot be written.
    """
    if config.whole.hydra.callbacks:  # somebody else's code, which may keep or change what it is given
        config = copy.deepcopy(config)
    whole, hydra = config.whole, config.whole.hydra
    with flag_override(hydra, ["struct", "readonly"], False):
        hydra.runtime.output_dir = str(folder.absolute())
    OmegaConf.set_readonly(hydra, True)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = whole
    try:
        folder.mkdir(parents=True, exist_ok=True)
        job_logging.begin(hydra)
        if hydra.output_subdir is not None:
            _write(config, folder / hydra.output_subdir)
        done = JobReturn(
            cfg=config.task, hydra_cfg=OmegaConf.masked_copy(whole, "hydra") if hydra.callbacks else None,
            overrides=list(hydra.overrides.task), working_dir=str(Path.cwd()), task_name=hydra.job.name,
        )  # fmt: skip
        with env_override(hydra.job.env_set):
            callbacks.on_job_start(config=whole, task_function=function)
            try:
                done.return_value, done.status = function(config.task), JobStatus.COMPLETED
            except Exception as error:
                done.return_value, done.status = error, JobStatus.FAILED
        for handler in logging.getLogger().handlers:
            handler.flush()
        callbacks.on_job_end(config=whole, job_return=done)
        return done
    finally:
        HydraConfig.instance().cfg = before


def _write(config: JobConfig, folder: Path) -> None:
    """The three files by which Hydra says what a job was composed of."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "config": config.task_yaml.text(config.task),
        "hydra": config.hydra_yaml.text(config.whole.hydra),
        "overrides": to_yaml(config.whole.hydra.overrides.task),
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
