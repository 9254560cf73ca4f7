"""The same cell from several files: once where they agree, not at all where they contradict each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from evalrun.commands.ingest.assemble import Candidate, content_key
from evalrun.commands.ingest.parsed import Skipped

# Tables print 15 digits of what JSON holds in full.
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12


def merge(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Skipped], int]:
    """One result for each checkpoint, task and settings.

    A table that does not say how its values were computed is taken to repeat a result of the same checkpoint and task
    if it agrees with one, and to contradict them if it agrees with none.

    Returns:
        The results; the contradictions; how many results were there again.
    """
    kept, left = [], []
    recorded: dict[Hashable, list[Candidate]] = defaultdict(list)
    again = 0
    for group in _groups((c for c in candidates if c.recorded), key=lambda c: (c.result.run_key, c.result.task)):
        if clash := _clash(group):
            left.append(clash)
            recorded[group[0].place] += group
        else:
            one = _union(group)
            kept.append(one)
            again += len(group) - 1
            recorded[one.place].append(one)
    for group in _groups((c for c in candidates if not c.recorded), key=lambda c: c.place):
        others = recorded.get(group[0].place, [])
        clash = _clash(group)
        if not clash and others and not any(agree(group[0].result.metrics, other.result.metrics) for other in others):
            clash = _contradiction([group[0], *others])
        if clash:
            left.append(clash)
            kept = [one for one in kept if one.place != group[0].place]
            continue
        again += len(group) - (not others)
        if not others:
            kept.append(_union(group))
    return kept, left, again


def agree(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two results have equal values in the metrics that both have."""
    return all(_equal(value, other[name]) for name, value in one.items() if name in other)


def _equal(one: float, other: float) -> bool:
    both_missing = math.isnan(one) and math.isnan(other)
    return both_missing or math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)


def _groups(candidates: Iterable[Candidate], key: Callable[[Candidate], Hashable]) -> list[list[Candidate]]:
    groups: dict[Hashable, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[key(one)].append(one)
    return list(groups.values())


def _clash(group: Sequence[Candidate]) -> Skipped | None:
    for position, one in enumerate(group):
        for other in group[position + 1 :]:
            if not agree(one.result.metrics, other.result.metrics):
                return _contradiction([one, other])
    return None


def _contradiction(group: Sequence[Candidate]) -> Skipped:
    """Name the files with their values of the metric on which the first two differ."""
    first, second = group[0].result.metrics, group[1].result.metrics
    metric = next(name for name in first if name in second and not _equal(first[name], second[name]))
    values = ", ".join(
        f"{one.result.metrics[metric]:.10g} in {one.file}" for one in group if metric in one.result.metrics
    )
    result = group[0].result
    files = ", ".join(dict.fromkeys(one.file for one in group))
    return Skipped(
        files, f"{result.cell.label}, {result.task}: {metric} is {values}; none is filed, remove the wrong one"
    )


def _union(group: Sequence[Candidate]) -> Candidate:
    """The fullest of equal results, with the metrics that only the others have."""
    ordered = sorted(group, key=_fullness)
    best = ordered[-1]
    if len({one.result.key for one in group}) == 1:
        return best
    metrics, stderrs = dict(best.result.metrics), dict(best.result.stderrs)
    for one in reversed(ordered[:-1]):
        metrics = {**one.result.metrics, **metrics}
        stderrs = {**one.result.stderrs, **stderrs}
    if metrics == best.result.metrics and stderrs == best.result.stderrs:
        return best
    key = content_key(best.result.run_key, best.result.task, metrics, stderrs, best.result.key)
    return replace(best, result=replace(best.result, key=key, metrics=metrics, stderrs=stderrs))


def _fullness(one: Candidate) -> tuple[bool, int, int, int, str]:
    result = one.result
    return one.samples is not None, len(result.metrics), len(result.stderrs), result.finished_ms, result.key
