"""What is scored: the hub, the embedded suite, and the data of tasks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints.suites import location, released_steps_of
from evalrun.checkpoints.suites.configured import config_of
from evalrun.commands.doctor.check import FAIL, OK, WARN, Check
from evalrun.config.compose import hydra_session
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import Config
from evalrun.core.errors import EvalrunError, TaskError
from evalrun.core.text import counted
from evalrun.grid import overrides as ov
from evalrun.tasks import groups, task_file
from evalrun.tasks.needed_data import data_of
from evalrun.tasks.task_file import TaskFile
from evalrun.tasks.task_yaml import load

_PATIENCE_S = 5.0


def hub(config: Config) -> Check:
    """Whether Hugging Face answers, unless it must not be asked."""
    if config.offline:
        return Check("hub", OK, "not asked, because of offline=true")
    fault = checkpoints.hub_fault(_PATIENCE_S)
    if fault is None:
        return Check("hub", OK, "Hugging Face answers")
    todo = "what is here can be scored with offline=true; to download, connect, or set HF_ENDPOINT or HTTPS_PROXY."
    return Check("hub", WARN, f"Hugging Face is {fault}", todo)


def token() -> Check:
    """Whether the hub would know who asks; the token itself is never shown."""
    from huggingface_hub import get_token

    if get_token():
        return Check("token", OK, "a Hugging Face token is set")
    return Check("token", OK, "no Hugging Face token: only gated repositories need one (HF_TOKEN)")


def suite() -> Check:
    """Whether the embedded suite is trained."""
    with hydra_session():
        names = ov.group_options("model", "tiny/")
    here = steps = 0
    for name in names:
        config = config_of(name)
        places = [Path(location(config)) / release.place for release in released_steps_of(config).by_step.values()]
        steps += len(places)
        here += sum((place / "config.json").is_file() for place in places)
    if here == steps:
        return Check("tiny", OK, f"the embedded suite is here: {here} checkpoints of {len(names)} models")
    said = f"{here} of the embedded suite's {steps} checkpoints are here"
    return Check("tiny", WARN, said, "train the others, on the CPU in two minutes: python -m evalrun tiny")


def tasks(config: Config, can_download: bool, known: Container[str]) -> Iterator[Check]:
    """Whether the data of the tasks that a run would score is on this machine.

    Args:
        config: Names the tasks.
        can_download: Whether the hub answers and may be asked.
        known: Faults that are said elsewhere.
    """
    named = ", ".join(config.tasks)
    try:
        read = task_file.each_for(config)
    except EvalrunError as error:
        yield Check("data", WARN, str(error), "or name other tasks: python -m evalrun doctor task=NAME")
        return
    for fault in read:
        if isinstance(fault, TaskError) and str(fault) not in known:
            yield Check("data", WARN, str(fault))
    files = [file for file in read if isinstance(file, TaskFile)]
    if not files:
        return
    absent = [file.name for need in data_of(files) if need.state == "missing" for file in need.tasks]
    here = len(files) - len(absent)
    said = f"task={named}: the data of {here} of {counted(len(read), 'task')} is here"
    if not absent:
        yield Check("data", OK, said)
        return
    listed = ", ".join(absent[:12]) + (", ..." if len(absent) > 12 else "")
    todo = "the first run downloads it; for work without the hub: prefetch, or data_dir= with the released files."
    if not can_download:
        todo = "fetch it where the hub can be asked (prefetch), or name the released files with data_dir=."
    yield Check("data", OK if can_download else WARN, f"{said}; missing: {listed}", todo)


def own_tasks() -> Iterator[Check]:
    """Whether the task files of the folder that the user works in can be read."""
    folders = conf_dirs()[1:]
    paths = [path for folder in folders for path in sorted((folder / "task").rglob("*.yaml"))]
    if not paths:
        return
    faults: dict[str, None] = {}
    try:
        own = {name: path for name, path in groups.own_names().items() if path in paths}
    except EvalrunError as error:
        yield Check("own tasks", FAIL, str(error))
        return
    for name, path in own.items():
        said = groups.problems([name])
        if not said and not groups.is_group(load(path)):  # a set's members are looked at where they are
            said = [str(fault) for fault in task_file.each([name], trust_code=True) if isinstance(fault, TaskError)]
        faults |= dict.fromkeys(said)
    yield from (Check("own tasks", FAIL, fault) for fault in faults)
    if not faults:
        yield Check("own tasks", OK, f"{len(own)} in ./conf/task, all can be read")
