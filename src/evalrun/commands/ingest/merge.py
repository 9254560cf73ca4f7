"""The same cell from several files: once where they agree; where they do not, the newest, or none, and a mark."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evalrun.commands.ingest.assemble import UNDATED_MS, Candidate, content_key
from evalrun.commands.ingest.parsed import Skipped

# Tables print 15 digits of what JSON holds in full.
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12
_NAMED = 4  # values in a sentence
CONTRADICTION = "contradiction"


@dataclass
class MergedResults:
    """One result for each checkpoint, task and settings, and what was found on the way."""

    kept: list[Candidate] = field(default_factory=list)
    left: list[Skipped] = field(default_factory=list)  # the contradictions
    again: int = 0  # results that were there again
    close: int = 0  # of these, those that differ in the last places


def merge(candidates: Sequence[Candidate], same_within: float = 0.0) -> MergedResults:
    """One result for each checkpoint, task and settings.

    Of results that contradict one another the newest is kept, if all say when they were computed; else the result is
    kept without a value of the metrics that differ. Either is marked with the values that were given. A table that does
    not say how its values were computed is taken to repeat a result of the same checkpoint and task if it agrees with
    one; if it agrees with none, these are kept and marked.

    Args:
        candidates: What was read.
        same_within: Share of a value up to which two are one.
    """
    merged = MergedResults()
    recorded: dict[Hashable, list[Candidate]] = defaultdict(list)
    for group in _groups((c for c in candidates if c.recorded), key=lambda c: (c.result.run_key, c.result.task)):
        recorded[group[0].place].append(_one_of(group, merged, same_within))
    plain = []
    for group in _groups((c for c in candidates if not c.recorded), key=lambda c: c.place):
        others = recorded.get(group[0].place)
        if others is None:
            plain.append(_one_of(group, merged, same_within))
            continue
        for one in group:
            fitting = [other for other in others if agree(one.result.metrics, other.result.metrics, same_within)]
            if fitting:
                merged.again += 1
                merged.close += not any(agree(one.result.metrics, other.result.metrics) for other in fitting)
                continue
            told = _values([one, *others])
            merged.left.append(_skipped([one, *others], f"{told}; what says how it was computed is filed, and marked"))
            others[:] = [marked(other, _values([one])) for other in others]
    merged.kept = [*(one for group in recorded.values() for one in group), *plain]
    return merged


def agree(one: Mapping[str, float], other: Mapping[str, float], same_within: float = 0.0) -> bool:
    """Whether two results have equal values in the metrics that both have."""
    return all(_equal(value, other[name], same_within) for name, value in one.items() if name in other)


def marked(one: Candidate, text: str) -> Candidate:
    """A result that says which other values were given for it."""
    said = one.result.settings.get("disputed")
    settings = {**one.result.settings, "disputed": f"{said}; {text}" if said else text}
    return replace(one, result=replace(one.result, settings=settings))


def _one_of(group: Sequence[Candidate], merged: MergedResults, same_within: float) -> Candidate:
    """The result of a group of one place; `merged`, which is changed, tells what became of the others."""
    if all(agree(a.result.metrics, b.result.metrics, same_within) for i, a in enumerate(group) for b in group[i + 1 :]):
        merged.again += len(group) - 1
        merged.close += sum(not agree(group[0].result.metrics, one.result.metrics) for one in group[1:])
        return _union(group)
    told, keys = _values(group), [one.result.key for one in group]
    newest = max(group, key=lambda one: one.result.finished_ms)
    dates = [one.result.finished_ms for one in group]
    if min(dates) > UNDATED_MS and dates.count(newest.result.finished_ms) == 1:
        merged.left.append(_skipped(group, f"{told}; the newest, of {newest.file}, is filed, and marked"))
        return marked(newest, f"others gave {_values([one for one in group if one is not newest])}")
    remedy = "remove the wrong one" + (
        "" if len({one.file for one in group}) > 1 else ", or give rows of several seeds a column 'seed'"
    )
    merged.left.append(_skipped(group, f"{told}; it is filed without a value: {remedy}, and ingest again"))
    fullest = sorted(group, key=_fullness)[-1]
    known = {name: value for one in group for name, value in one.result.metrics.items()}
    differ = {n for n in known if not all(agree({n: known[n]}, one.result.metrics, same_within) for one in group)}
    metrics = {name: math.nan if name in differ else value for name, value in known.items()}
    stderrs = {name: error for name, error in fullest.result.stderrs.items() if name not in differ}
    key = content_key(fullest.result.run_key, fullest.result.task, metrics, stderrs, ", ".join(sorted(keys)))
    result = replace(fullest.result, key=key, metrics=metrics, stderrs=stderrs)
    return marked(replace(fullest, result=result, samples=None), f"its results disagree: {told}")


def _equal(one: float, other: float, same_within: float) -> bool:
    both_missing = math.isnan(one) and math.isnan(other)
    return both_missing or math.isclose(one, other, rel_tol=max(_RELATIVE, same_within), abs_tol=_ABSOLUTE)


def _groups(candidates: Iterable[Candidate], key: Callable[[Candidate], Hashable]) -> list[list[Candidate]]:
    groups: dict[Hashable, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[key(one)].append(one)
    return list(groups.values())


def _values(group: Sequence[Candidate]) -> str:
    """The files with their values of the first metric that differs: `acc is 0.5 in a.json, 0.6 in b.json`."""
    first = group[0].result.metrics
    shared = [name for name in first if all(name in one.result.metrics for one in group[1:])] or list(first)
    differ = [name for name in shared if not all(agree({name: first[name]}, one.result.metrics) for one in group[1:])]
    metric = (differ or shared)[0]
    every = [f"{one.result.metrics[metric]:.10g} in {one.file}" for one in group if metric in one.result.metrics]
    told = list(dict.fromkeys(every))
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED + 1 else ""
    return f"{metric} is {', '.join(told[:_NAMED] if more else told)}{more}"


def _skipped(group: Sequence[Candidate], told: str) -> Skipped:
    result = group[0].result
    files = ", ".join(dict.fromkeys(one.file for one in group))
    return Skipped(files, f"{result.cell.label}, {result.task}: {told}", CONTRADICTION)


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
