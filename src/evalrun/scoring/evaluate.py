"""The one call of lm-eval: tasks and a loaded model in; metrics and per-item results out."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.evaluator import evaluate

from evalrun.core.errors import TaskError
from evalrun.scoring.bootstrap import in_process
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.quiet import quiet_bars
from evalrun.scoring.requests import forget_answers, rendered
from evalrun.scoring.several_answers import answered
from evalrun.scoring.ties import TieCounter, all_lost, chosen, counted
from evalrun.tasks import lm_eval_private, scores

if TYPE_CHECKING:
    import pandas as pd


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
    items: pd.DataFrame  # one row an item: see `_items`
    ties: dict[str, int]  # metric -> items whose highest value several choices share; those with any
    parted: int  # items scored from where the tokens of their choices part (see `parting`)
    lost: int  # items with a log-likelihood, or a generated text, that is no number


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
    lm.parted.clear()
    lm.lost_texts = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_bars())
        stack.enter_context(in_process())
        for name, task in tasks.items():
            stack.enter_context(_holding(task, rendered(task, limit)))
            stack.enter_context(answered(task))
            stack.enter_context(counted(task, tallies[name], ties == "first"))
        found = evaluate(lm=lm, task_dict={"tasks": dict(tasks)}, limit=limit, bootstrap_iters=bootstrap_iters)
    assert found is not None
    return {name: _score_of(found, name, task, tallies[name], lm) for name, task in tasks.items()}


def _score_of(found: Mapping[str, Any], name: str, task: Any, tally: TieCounter, lm: CheckpointLM) -> Score:
    """A task's numbers and items from what lm-eval returns.

    Args:
        found: lm-eval's results of one task, with samples.
        name: The task.
        task: lm-eval's object of it.
        tally: Ties that were counted meanwhile.
        lm: What scored it.

    Raises:
        TaskError: its metrics gave no number.
    """
    metrics, stderrs = _split_metrics(found["results"][name])
    if not metrics:
        raise TaskError(f"task '{name}' gave no number: its metric_list names no metric that yields one.")
    primary = "acc" if "acc" in metrics else next(iter(metrics))
    shape = {"metric_list": task.config.metric_list, "filter_list": task.config.filter_list}
    better = scores.directions(shape, metrics, found["higher_is_better"][name])
    n = int(found["n-samples"][name]["effective"])
    return Score(
        metrics=metrics,
        stderrs=stderrs,
        primary=primary,
        higher_is_better=better[primary],
        lower=sorted(metric for metric in metrics if not better[metric]),
        n=n,
        num_fewshot=int(found["n-shot"][name] or 0),
        items=_items(found["samples"][name], found["configs"][name].get("target_delimiter") or ""),
        ties=dict(tally.ties),
        parted=sum(task == name for task, _ in lm.parted),
        lost=_lost(found["samples"][name]) or min(lm.lost_texts, n),  # texts are generated for one task at a time
    )


def _lost(samples: Sequence[Mapping[str, Any]]) -> int:
    """Items whose log-likelihoods say nothing: of a choice, of a single text, of a rolling one."""
    lost = set()
    for sample in samples:
        answers = [answer[0] if _is_loglikelihood(answer) else answer for answer in sample["filtered_resps"]]
        numbers = [answer for answer in answers if isinstance(answer, float)]
        if numbers and all_lost(numbers):
            lost.add(sample["doc_id"])
    return len(lost)


@contextlib.contextmanager
def _holding(task: Any, requests: list[Any]) -> Iterator[None]:
    """Let lm-eval's evaluator find a task's requests instead of rendering them again."""

    def find(**_: Any) -> None:
        lm_eval_private.set_requests(task, requests)

    forget_answers(requests)
    task.build_all_requests = find
    try:
        yield
    finally:
        del task.build_all_requests
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


def _items(samples: Sequence[Mapping[str, Any]], delimiter: str) -> pd.DataFrame:
    """One row an item (and filter).

    Columns: doc_id; target; prediction, the index of the most likely choice (-1 without choices);
    logprobs, the log-likelihood of every choice in order, in nats; greedy, whether each is what the model would
    say greedily; choice_chars, the characters of each choice without the delimiter before it, which is the length that
    lm-eval's acc_norm divides by; one column a metric; doc_hash, prompt_hash, target_hash as lm-eval makes them;
    filter.
    """
    import pandas as pd

    rows = []
    for sample in samples:
        asked = zip(sample["filtered_resps"], sample["arguments"], strict=False)  # a filter may drop what was generated
        answered = [(answer, words[1]) for answer, words in asked if _is_loglikelihood(answer)]
        answers = [answer for answer, _ in answered]
        logprobs = [float(answer[0]) for answer in answers]
        own = len(logprobs) // (1 + ("acc_mutual_info" in sample["metrics"]))  # then come those without the question
        row: dict[str, Any] = {
            "doc_id": int(sample["doc_id"]),
            "target": json.dumps(sample["target"], default=str),
            "prediction": chosen(logprobs[:own]) if logprobs else -1,
            "logprobs": logprobs,
            "greedy": [bool(answer[1]) for answer in answers],
            "choice_chars": [len(text.removeprefix(delimiter)) for _, text in answered],
            "response": "" if answers else json.dumps(sample["filtered_resps"], default=str),
            "filter": sample["filter"],
        }
        for metric in sample["metrics"]:
            value = sample[metric]
            row[metric] = float(value) if isinstance(value, (int, float)) else json.dumps(value, default=str)
        rows.append(row | {key: sample[key] for key in ("doc_hash", "prompt_hash", "target_hash")})
    return pd.DataFrame(rows).sort_values(["filter", "doc_id"], ignore_index=True)


def _is_loglikelihood(answer: Any) -> bool:
    return isinstance(answer, (list, tuple)) and len(answer) == 2 and isinstance(answer[0], float)
