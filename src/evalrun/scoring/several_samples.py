"""Several answers to one item: each is judged as if it were the only one, and the item has the mean over them.

A filter that looks at several answers at once, such as lm-eval's majority_vote, gets all of them, as in lm-eval.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from evalrun.scoring.asked_items import AskedItem
from evalrun.scoring.judged import Judged, primary_among
from evalrun.tasks import lm_eval_private
from evalrun.tasks.generation_settings import AT_ONCE, samples_of

MAJORITY = "majority"
Process = Callable[[AskedItem, list[Any]], Mapping[str, Any]]
"""An item and its answers, one a request -> their metrics."""


def is_of_samples(metric: str) -> bool:
    """Whether a metric is one that several answers to an item add: pass@k, or the majority's."""
    return metric == MAJORITY or metric.startswith("pass@")


def ks_of(n: int) -> list[int]:
    """The k of pass@k that n samples tell of: 1, 2, 4, ... and n."""
    return sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})


def pass_at(k: int, n: int, right: int) -> float:
    """The probability that one of k answers is right, unbiased (Chen et al. 2021, arXiv:2107.03374).

    Args:
        k: Answers that are drawn, 1 to n.
        n: Answers that there are.
        right: How many of these are right.
    """
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(answers: Sequence[Hashable], values: Sequence[float]) -> float:
    """The value of the most frequent answer; of several that are equally frequent the mean of their values.

    Args:
        answers: One a sample, as the filter leaves it.
        values: What each is worth.
    """
    counts = Counter(answers)
    most = max(counts.values())
    return float(np.mean([value for answer, value in zip(answers, values, strict=True) if counts[answer] == most]))


def judge(task: Any, items: Sequence[AskedItem]) -> list[Judged]:
    """The metrics of a task's answered items, by lm-eval's code or the task's own, filter by filter."""
    own_code = callable(task.config.process_results)  # which may write into the row that it is handed

    def process(item: AskedItem, answers: list[Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = task.process_results(deepcopy(item.doc) if own_code else item.doc, answers)
        return found

    if samples_of(task) is not None:
        judged = list(judged_samples(task, items, process))
        return with_passes(judged, primary_among(judged[0].metrics))
    task.apply_filters()
    return [
        Judged(item, name, answers, process(item, answers))
        for name in task.instances[0].filtered_resps
        for item in items
        for answers in [[request.filtered_resps[name] for request in item.requests]]
    ]


def judged_samples(task: Any, items: Sequence[AskedItem], process: Process) -> Iterator[Judged]:
    """The metrics of a task's items, of which each was answered several times.

    Args:
        task: lm-eval's, its requests answered.
        items: Its items.
        process: The metrics of one answered item: called with the item and its answers.

    Yields:
        Filter by filter, the items in order.
    """
    count = samples_of(task) or 1
    at_once = {str(one["name"]) for one in task.config.filter_list or [] if _is_at_once(one)}
    for ensemble in lm_eval_private.filters(task):
        name = ensemble.name
        if name in at_once:
            ensemble.apply(task.instances)
            for item in items:
                answers = [request.filtered_resps[name] for request in item.requests]
                yield Judged(item, name, answers, process(item, answers))
            continue
        single = {
            (item.doc_id, sample): [replace(r, resps=[r.resps[sample]], filtered_resps={}) for r in item.requests]
            for item in items
            for sample in range(count)
        }
        ensemble.apply([request for requests in single.values() for request in requests])
        for item in items:
            answers = [[r.filtered_resps[name] for r in single[item.doc_id, sample]] for sample in range(count)]
            yield _together(item, name, answers, [process(item, answer) for answer in answers])


def _is_at_once(entry: Mapping[str, Any]) -> bool:
    return any(isinstance(step.get("function"), str) and step["function"] in AT_ONCE for step in entry["filter"])


def _together(item: AskedItem, name: str, answers: list[list[Any]], metrics: Sequence[Mapping[str, Any]]) -> Judged:
    """An item of which each answer was judged alone.

    Args:
        item: Which.
        name: Of the filter.
        answers: [samples][requests]
        metrics: [samples] of each.
    """
    names = dict.fromkeys(metric for one in metrics for metric in one)
    each = {metric: [one[metric] for one in metrics if metric in one] for metric in names}
    found: dict[str, Any] = {}
    for metric, values in each.items():
        found[metric] = float(np.mean(values)) if all(isinstance(value, Real) for value in values) else values
    return Judged(item, name, [answer[0] if len(answer) == 1 else answer for answer in answers], found, each)


def with_passes(judged: Sequence[Judged], primary: str) -> list[Judged]:
    """Items with pass@k and the majority's value beside a metric that is right (1) or wrong (0) of every sample.

    Args:
        judged: Of one task.
        primary: Its metric, without a filter's name; another metric, or one that is no share, adds nothing.
    """
    values = [value for one in judged for value in one.samples.get(primary, ())]
    if not values or not all(isinstance(value, Real) and value in (0, 1) for value in values):
        return list(judged)
    return [_with_passes(one, one.samples[primary]) if primary in one.samples else one for one in judged]


def _with_passes(one: Judged, values: Sequence[float]) -> Judged:
    n, right = len(values), int(sum(values))
    passes = {f"pass@{k}": pass_at(k, n, right) for k in ks_of(n)}
    vote = majority([repr(answer) for answer in one.answers], values)
    return replace(one, metrics={**one.metrics, **passes, MAJORITY: vote})


def aggregated(task: Any, judged: Sequence[Judged], bootstrap_iters: int) -> tuple[dict[str, Any], int]:
    """A task's metrics and standard errors from those of its items, whose unit is the item.

    A metric that is no number of one item, such as BLEU, is the mean over samples of what each makes of all items; it
    has no standard error then.

    Args:
        task: lm-eval's task object.
        judged: Its items.
        bootstrap_iters: For standard errors without a closed form.

    Returns:
        As `lm_eval_private.aggregated`.
    """
    values: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for one in judged:
        for metric, value in one.metrics.items():
            values[metric, one.filtered_by].append(value)
    of_corpora = {
        (metric, one.filtered_by) for one in judged for metric in one.samples if isinstance(one.metrics[metric], list)
    }
    own = {key for key in values if any(is_of_samples(key[0]) and one.samples for one in judged)}
    plain = {key: some for key, some in values.items() if key not in of_corpora | own}
    found, n = lm_eval_private.aggregated(task, plain, bootstrap_iters) if plain else ({}, len(judged))
    for metric, by in own:  # lm-eval would warn that it knows none of them
        shares = np.array(values[metric, by])
        found[f"{metric},{by}"] = float(shares.mean())
        if len(shares) > 1:
            found[f"{metric}_stderr,{by}"] = float(shares.std(ddof=1) / math.sqrt(len(shares)))
    for key in of_corpora:
        parts = [lm_eval_private.aggregated(task, {key: list(some)}, 0)[0] for some in zip(*values[key], strict=True)]
        name = ",".join(key)
        found[name] = float(np.mean([part[name] for part in parts]))
    ordered = [f"{metric}{end},{by}" for metric, by in values for end in ("", "_stderr")]
    return {name: found[name] for name in ordered if name in found}, n
