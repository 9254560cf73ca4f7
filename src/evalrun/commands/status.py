"""`status`: a survey for people, and for scripts."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from evalrun import progress
from evalrun.core.secrets import command_line, masked
from evalrun.core.text import counted
from evalrun.launch.live.quantities import gpu_memory
from evalrun.progress import STATES, JobProgress, Progress, Scope
from evalrun.progress.rounds import asked_so_far, said_of

_LISTED = 20


def command(words: Sequence[str]) -> int:
    """Print the survey of a sweep, or of everything; 0 when all of it is done and delivered, else 1.

    Raises:
        ConfigError: words that cannot be right.
        TaskError: a task's file or data cannot be read.
    """
    asked, more = progress.parse_scope(words), []
    if asked.plan is not None:
        plan, rounds, is_done = asked_so_far(asked.plan)
        asked, more = replace(asked, plan=plan), [] if rounds is None else [said_of(rounds, is_done)]
    found = progress.collect_progress(asked)
    print(json.dumps(to_json(found), indent=1) if "--json" in words else "\n".join([text(asked, found), *more]))
    return 0 if found.store_fault is None and all(entry.state == "done" for entry in found.entries) else 1


def to_json(found: Progress) -> list[dict[str, Any]]:
    """One object an entry; keys stay, times are Unix milliseconds, what is not known is null."""
    return [_to_json(entry) for entry in found.entries]


def _to_json(entry: JobProgress) -> dict[str, Any]:
    """A job as plain values; times in milliseconds since 1970, GPU memory in bytes, passwords masked."""
    job = entry.job if entry.state != "done" else None
    return {
        "suite": entry.suite,
        "model": entry.model,
        "seed": entry.seed,
        "step": entry.step,
        "state": entry.state,
        "tasks": entry.tasks,
        "missing": entry.missing,
        "undelivered": entry.undelivered,
        "cause": job.cause or None if job else None,
        "doing": job.doing or None if job else None,
        "requests": job.requests if job else None,
        "scored": job.scored if job else None,
        "gpu_memory": job.gpu_memory if job else None,
        "host": job.host if job else None,
        "pid": job.pid if job else None,
        "sweep": job.sweep if job else None,
        "started_ms": job.started_ms if job else None,
        "seen_ms": job.seen_ms if job else None,
        "folder": str(entry.folder),
        "overrides": [masked(word) for word in entry.overrides],
    }


def text(asked: Scope, found: Progress) -> str:
    """A table with a line a model, then what failed and why, then what to type next."""
    if not found.entries:
        return f"nothing under '{asked.root}': `python -m evalrun --help` says how to begin."
    counts = Counter(entry.state for entry in found.entries)
    parts = [f"{counts['done']:,} of {counted(len(found.entries), 'job')} done", "", *_table(found.entries)]
    if found.store_fault is not None:
        parts += ["", f"whether MLflow has what is done is not known: {found.store_fault}"]
    parts += [line for sentence in found.taken for line in ("", sentence)]
    for state, told in (("failed", _cause), ("undelivered", _undelivered), ("died", _last_seen), ("running", _doing)):
        parts += _listed(state, [told(entry) for entry in found.entries if entry.state == state])
    follow = list(_next(asked, counts, found))
    return "\n".join([*parts, *(["", "next:", *follow] if follow else [])])


def _table(entries: Iterable[JobProgress]) -> Iterator[str]:
    groups: dict[str, Counter[str]] = {}
    for entry in entries:
        name = entry.model if entry.seed is None else f"{entry.model} seed {entry.seed}"
        groups.setdefault(name, Counter())[entry.state] += 1
    shown = [state for state in STATES if state == "done" or any(count[state] for count in groups.values())]
    width = max(len("model"), *map(len, groups))
    yield "  ".join([f"{'model':<{width}}", f"{'jobs':>5}", *(f"{state:>{max(5, len(state))}}" for state in shown)])
    for name, count in groups.items():
        cells = (f"{format(count[state], ',') if count[state] else '.':>{max(5, len(state))}}" for state in shown)
        yield "  ".join([f"{name:<{width}}", f"{count.total():>5,}", *cells])


def _listed(state: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  ... and {len(lines) - _LISTED} more: --json lists all"] if len(lines) > _LISTED else []
    return ["", f"{state}:", *(f"  {line}" for line in lines[:_LISTED]), *more]


def _cause(entry: JobProgress) -> str:
    assert entry.job is not None
    named = entry.job.cause if entry.label in entry.job.cause else f"{entry.label}: {entry.job.cause}"
    return f"{named} ({_ago(entry.job.seen_ms)})"


def _undelivered(entry: JobProgress) -> str:
    return f"{entry.label}: {', '.join(entry.undelivered or ())}" + (f"; {entry.job.cause}" if entry.job else "")


def _last_seen(entry: JobProgress) -> str:
    job = entry.job
    assert job is not None
    at = f" at '{job.doing}'" if job.doing else ""
    return f"{entry.label}: process {job.pid} on {job.host} ended without a word{at}, last seen {_ago(job.seen_ms)}"


def _doing(entry: JobProgress) -> str:
    job = entry.job
    assert job is not None
    parts = [job.doing or "starting"]
    if job.requests:
        parts.append(f"{job.scored / job.requests:.0%} of {job.requests:,} requests")
    if job.gpu_memory is not None:
        parts.append(gpu_memory(job.gpu_memory))
    started = f"process {job.pid} on {job.host}, started {_ago(job.started_ms)}"
    return f"{entry.label}: {', '.join(parts)} ({started})"


def _next(asked: Scope, counts: Counter[str], found: Progress) -> Iterator[str]:
    if counts["undelivered"]:
        yield f"  {command_line(['sync', *asked.words])}   delivers what MLflow lacks"
    if counts["failed"] or counts["died"] or counts["missing"]:
        same = "  the command that started them" if asked.plan is None else f"  {_run(asked.words, len(found.entries))}"
        yield f"{same}   computes what is missing, the failed and the died again"
    if counts["running"]:
        yield f"  {command_line(['status', *asked.words])}   again, later"


def _run(words: Sequence[str], jobs: int) -> str:
    return command_line([*(["-m"] if jobs > 1 else []), *words])


def _ago(when_ms: int) -> str:
    seconds = max(0, int(time.time() - when_ms / 1000))
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s ago"
    return f"{seconds} seconds ago"
