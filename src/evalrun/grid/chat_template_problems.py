"""Checkpoints of this machine that are to be asked by a chat template and have none: told before any is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalrun.checkpoints import chat_templates, tokenizer
from evalrun.config.asking import AUTO, chat_in, no_chat_template
from evalrun.core.records import Checkpoint
from evalrun.grid.job_spec import JobSpec


def chat_template_problems(jobs: Sequence[JobSpec]) -> Iterator[str]:
    """A sentence about the jobs whose tokenizers lie here without the chat template that they ask for."""
    lacking = [job.cell for job in jobs if _asks_by_one(job) and _has_none(job.cell)]
    if lacking:
        label = lacking[0].label
        if len(lacking) > 1:
            label += f" (and of {len(lacking) - 1} more of {len(jobs)} checkpoints)"
        yield no_chat_template(label)


def _asks_by_one(job: JobSpec) -> bool:
    return job.config.chat.template not in (False, AUTO) and "template" in chat_in(job.config)  # in its stage


def _has_none(cell: Checkpoint) -> bool:
    """Whether a tokenizer is on this machine, without a template; one on the hub is looked at when it has come."""
    folder = chat_templates.folder_of(cell)
    if folder is None or not folder.is_dir() or not tokenizer.is_in(folder):
        return False
    return not chat_templates.digest(folder, "", cache=None)
