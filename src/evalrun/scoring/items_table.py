"""What is kept of each item of a task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

from evalrun.scoring.judged import Judged
from evalrun.scoring.ties import chosen

if TYPE_CHECKING:
    import pyarrow as pa


def items_table(judged: Iterable[Judged]) -> pa.Table:
    """One row an item (and filter).

    Columns: doc_id; target; prediction, the index of the most likely choice (-1 without choices);
    logprobs, the log-likelihood of every choice in order, in nats; greedy, whether each is what the model would
    say greedily; choice_chars, the characters of each choice without the delimiter before it, which is the length that
    lm-eval's acc_norm divides by; choice_bytes, its UTF-8 bytes with the delimiter; one column a metric; doc_hash,
    prompt_hash, target_hash as lm-eval makes them; filter. Of an item that was asked several times, a metric is the
    mean over samples, and sample_<metric> lists what each was worth. Where texts are generated also tokens, those of
    each text of the item, null where a server does not tell; and finish, why each ended (see `Generated`).
    """
    import pyarrow as pa

    rows = sorted(judged, key=lambda one: (one.filtered_by, one.item.doc_id))
    columns: dict[str, list[Any]] = defaultdict(list)
    for one in rows:
        item = one.item
        asked = zip(one.answers, item.choice_chars, item.choice_bytes, strict=False)  # a filter may drop generated ones
        answered = [about for about in asked if is_loglikelihood(about[0])]
        logprobs = [float(answer[0]) for answer, _, _ in answered]
        own = len(logprobs) // (1 + ("acc_mutual_info" in one.metrics))  # then come those without the question
        columns["doc_id"].append(item.doc_id)
        columns["target"].append(item.target_json)
        columns["prediction"].append(chosen(logprobs[:own]) if logprobs else -1)
        columns["logprobs"].append(logprobs)
        columns["greedy"].append([bool(answer[1]) for answer, _, _ in answered])
        columns["choice_chars"].append([chars for _, chars, _ in answered])
        columns["choice_bytes"].append([size for _, _, size in answered])
        columns["response"].append("" if answered else json.dumps(one.answers, default=str))
        columns["filter"].append(one.filtered_by)
        if written := [one for request in item.requests for one in request.generated]:
            columns["tokens"].append([one.tokens for one in written])
            columns["finish"].append([one.finish for one in written])
    lists = {"logprobs": pa.list_(pa.float64()), "greedy": pa.list_(pa.bool_())}
    lists |= {"tokens": pa.list_(pa.list_(pa.int64())), "finish": pa.list_(pa.string())}
    lists |= dict.fromkeys(("choice_chars", "choice_bytes"), pa.list_(pa.int64()))
    made = {name: pa.array(values, lists.get(name)) for name, values in columns.items()}
    for metric in dict.fromkeys(metric for one in rows for metric in one.metrics):
        made[metric] = pa.array([_cell(one.metrics[metric]) if metric in one.metrics else None for one in rows])
    for metric in dict.fromkeys(metric for one in rows for metric in one.samples):
        each = [one.samples.get(metric) for one in rows]
        if all(isinstance(value, Real) for values in each if values is not None for value in values):
            cells = [None if values is None else list(map(float, values)) for values in each]
            made[f"sample_{metric}"] = pa.array(cells, pa.list_(pa.float64()))
    for key in ("doc_hash", "prompt_hash", "target_hash"):
        made[key] = pa.array([getattr(one.item, key) for one in rows])
    return pa.table(made)


def _cell(value: Any) -> float | str:
    """An item's value of a metric as it is kept."""
    return float(value) if isinstance(value, (int, float)) else json.dumps(value, default=str)


def is_loglikelihood(answer: Any) -> bool:
    """Whether an answer is a log-likelihood, with whether greedy decoding would say the same."""
    return isinstance(answer, (list, tuple)) and len(answer) == 2 and isinstance(answer[0], float)
