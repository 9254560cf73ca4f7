"""Tasks and a loaded model in; metrics and per-item results out, as lm-eval's `evaluate` gives them.

Requests, answers, filters, metrics and standard errors are lm-eval's own code; what its evaluator works out about the
items again for each checkpoint is worked out once (see `asked_items`).
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evalrun.core.errors import TaskError
from evalrun.scoring.asked_items import AskedItem, asked_items, remembered
from evalrun.scoring.bootstrap import in_process
from evalrun.scoring.generation.thinking import unended
from evalrun.scoring.human_numbers import human_metrics
from evalrun.scoring.items_table import is_loglikelihood, items_table
from evalrun.scoring.judged import Judged, primary_among
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.quiet import quiet_bars
from evalrun.scoring.requests import forget_answers, rendered
from evalrun.scoring.several_answers import answered
from evalrun.scoring.several_samples import aggregated, judge
from evalrun.scoring.text_scores import METRICS, TextScores, is_of_texts, primary_of, read_tasks, rule_of, text_scores
from evalrun.scoring.ties import TieCounter, all_lost, counted
from evalrun.tasks import lm_eval_private, scores

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Score:
    """What lm-eval makes of one task."""

    metrics: dict[str, float]
    stderrs: dict[str, float]
    primary: str
    higher_is_better: bool
    lower: list[str]  # the metrics of which less is better
    n: int
    num_fewshot: int
    table: pa.Table  # one row an item: see `items_table`
    ties: dict[str, int]  # metric -> items whose highest value several choices share; those with any
    parted: int  # items scored from where the tokens of their choices part (see `parting`)
    lost: int  # items with a log-likelihood, or a generated text, that is no number
    texts: Mapping[str, Any] = field(default_factory=dict)  # what is said of whole texts: see `text_scores`
    unended: int = 0  # texts that reached their limit before their thinking part ended

    @property
    def items(self) -> pd.DataFrame:
        """One row an item; the columns are those of `table`."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


def score(
    lm: CheckpointLM, tasks: Mapping[str, Any], limit: int | None, bootstrap_iters: int, ties: str = "expected"
) -> dict[str, Score]:
    """Evaluate some tasks at once: the scorer sees all of their requests together.

    Args:
        lm: The checkpoint.
        tasks: Name -> lm-eval's task object, which serves the next checkpoint too.
        limit: First so many items of each; None for all.
        bootstrap_iters: For standard errors without a closed form.
        ties: Of equal choices each counts with the same probability (expected), or the first wins.

    Raises:
        TaskError: a task yields no number.
    """
    tallies = {name: TieCounter() for name in tasks}
    items = {name: asked_items(task, limit) for name, task in tasks.items()}
    lm.parted.clear()
    lm.lost_texts = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_bars())
        stack.enter_context(in_process())
        for name, task in tasks.items():
            stack.enter_context(_holding(task, rendered(task, limit)))
            stack.enter_context(remembered(task, items[name]))
            stack.enter_context(answered(task))
            stack.enter_context(counted(task, tallies[name], ties == "first"))
        _ask(lm, [request for task in tasks.values() for request in task.instances if not is_of_texts(task)])
        read = read_tasks(lm, {name: task for name, task in tasks.items() if is_of_texts(task)})
        return {
            name: _score_of_texts(task, text_scores(name, task, items[name], read[name]), lm)
            if name in read
            else _score_of(name, task, items[name], bootstrap_iters, tallies[name], lm)
            for name, task in tasks.items()
        }


def _ask(lm: CheckpointLM, requests: Iterable[Any]) -> None:
    """Have all requests answered, those of a kind together."""
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for request in requests:
        by_kind[request.request_type] += [request] * request.repeats
    for kind, asked in by_kind.items():
        if kind == "generate_until":
            texts = lm.generate(asked) if lm.keeps is None else lm.keeps(lm, asked)
            for request, written in zip(asked, texts, strict=True):
                request.resps.append(written.text)
                request.generated.append(written)
            continue
        for request, answer in zip(asked, getattr(lm, kind)(asked), strict=True):
            request.resps.append(answer)


def _score_of(
    name: str, task: Any, items: Sequence[AskedItem], bootstrap_iters: int, tally: TieCounter, lm: CheckpointLM
) -> Score:
    """A task's numbers and items from the answers to its requests.

    Args:
        name: The task.
        task: lm-eval's object of it.
        items: Its items.
        bootstrap_iters: For standard errors without a closed form.
        tally: Where ties are counted meanwhile.
        lm: What answered.

    Raises:
        TaskError: its metrics gave no number.
    """
    judged = judge(task, items)
    found, n = aggregated(task, judged, bootstrap_iters)
    metrics, stderrs = _split_metrics(found)
    primary = primary_among(metrics)
    first = [one for one in judged if one.filtered_by == judged[0].filtered_by]
    people = human_metrics(task, [one.item for one in first], [one.answers for one in first])
    metrics, stderrs = metrics | people[0], stderrs | people[1]
    if not primary:
        raise TaskError(f"task '{name}' gave no number: its metric_list names no metric that yields one.")
    shape = {"metric_list": task.config.metric_list, "filter_list": task.config.filter_list}
    better = scores.directions(shape, metrics, task.higher_is_better())
    return Score(
        metrics=metrics,
        stderrs=stderrs,
        primary=primary,
        higher_is_better=better[primary],
        lower=sorted(metric for metric in metrics if not better[metric]),
        n=n,
        num_fewshot=int(task.config.num_fewshot or 0),
        table=items_table(judged),
        ties=dict(tally.ties),
        parted=sum(task == name for task, _ in lm.parted),
        lost=_lost(judged) or min(lm.lost_texts, n),  # texts are generated for one task at a time
        unended=unended((one for r in task.instances for one in r.generated), getattr(lm, "think_end_token", None)),
    )


def _score_of_texts(task: Any, found: TextScores, lm: CheckpointLM) -> Score:
    """What a task of whole texts makes.

    Args:
        task: lm-eval's object of it.
        found: The numbers of its texts.
        lm: What read them.
    """
    window, stride = rule_of(task).sizes(lm.max_length)
    primary = primary_of(task)
    return Score(
        metrics=found.metrics,
        stderrs=found.stderrs,
        primary=primary,
        higher_is_better=False,
        lower=sorted(METRICS),
        n=len(found.items),
        num_fewshot=0,
        table=found.table,
        ties={},
        parted=0,
        lost=sum(not math.isfinite(nats) for nats in found.columns["nats"].to_pylist()),
        texts={**found.said, "window": window, "stride": stride},
    )


def _lost(judged: Iterable[Judged]) -> int:
    """Items whose log-likelihoods say nothing: of a choice, of a single text, of a rolling one."""
    lost = set()
    for one in judged:
        answers = [answer[0] if is_loglikelihood(answer) else answer for answer in one.answers]
        numbers = [answer for answer in answers if isinstance(answer, float)]
        if numbers and all_lost(numbers):
            lost.add(one.item.doc_id)
    return len(lost)


@contextlib.contextmanager
def _holding(task: Any, requests: list[Any]) -> Iterator[None]:
    """Let a task hold requests that were rendered before, without the answers of another checkpoint."""
    forget_answers(requests)
    lm_eval_private.set_requests(task, requests)
    try:
        yield
    finally:
        forget_answers(requests)


def _split_metrics(results: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """lm-eval packs `metric,filter` and `metric_stderr,filter`; the filter `none` is left unsaid."""
    metrics: dict[str, float] = {}
    stderrs: dict[str, float] = {}
    for key, value in results.items():
        metric, _, filtered = key.partition(",")
        if not filtered or isinstance(value, (str, bool)) or not isinstance(value, (int, float)):
            continue
        is_stderr = metric.endswith("_stderr")
        name = metric.removesuffix("_stderr") + ("" if filtered == "none" else f"_{filtered}")
        if is_stderr:
            if math.isfinite(value):
                stderrs[name] = float(value)
        else:
            metrics[name] = float(value)
    return metrics, stderrs
