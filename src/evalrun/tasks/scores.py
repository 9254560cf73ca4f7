"""Which metrics a task can give, and which way is better: asked before anything is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalrun.core.errors import suggest
from evalrun.tasks import lm_eval_names as known
from evalrun.tasks.task_yaml import Function

_ONE = frozenset({"mean", "median", "nanmean"})  # of one number an item
_TEXTS = frozenset({"bleu", "chrf", "chrf++", "ter"})
_LABELS = frozenset({"f1", "matthews_corrcoef"})
# What lm-eval computes for each kind of task, and the aggregations that can take it (`process_results` and
# `api/metrics.py` of lm-eval 0.4.13); likelihood is a pair, which none of its own takes.
GIVEN: dict[str, dict[str, frozenset[str]]] = {
    "loglikelihood": {"acc": _ONE, "perplexity": _ONE | {"perplexity"}},
    "loglikelihood_rolling": {
        **dict.fromkeys(("word_perplexity", "byte_perplexity"), frozenset({"weighted_perplexity"})),
        "bits_per_byte": frozenset({"bits_per_byte"}),
    },
    "multiple_choice": {
        **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"), _ONE),
        **dict.fromkeys(("f1", "mcc"), _LABELS),
        "brier_score": frozenset({"brier_score"}),
        "likelihood": frozenset(),
    },
    "generate_until": {
        "exact_match": _ONE,
        **dict.fromkeys(_TEXTS, _TEXTS),
        "mcc": _LABELS,
        "bypass": frozenset({"bypass", "mean"}),
    },
}
_OF_ANY = frozenset({"take_first", "take_first_k", "custom", "decontaminate"})  # filters of any kind of answer
_LESS = frozenset({"perplexity", "weighted_perplexity", "bits_per_byte", "brier_score", "ter"})  # aggregations


def faults(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a task's kind and metrics, as the tails of sentences; `shape.faults` come first.

    Args:
        config: Its includes and profile put in place.
    """
    kind = config.get("output_type", "generate_until")
    if kind not in GIVEN:
        yield f"has output_type: {kind!r}: {suggest(str(kind), GIVEN)}"
        return
    if not config.get("use_prompt"):
        needed = ("doc_to_text", "doc_to_target", *(["doc_to_choice"] if kind == "multiple_choice" else []))
        for key in needed:
            if config.get(key) is None:
                yield f"has no {key}, which a task of output_type {kind} needs."
    own = isinstance(config.get("process_results"), Function)
    if kind != "generate_until":
        for entry in config.get("filter_list") or []:
            for step in entry["filter"]:
                if isinstance(step["function"], str) and step["function"] not in _OF_ANY:
                    yield (
                        f"has the filter '{step['function']}', which is of texts that a model writes, and a task of "
                        f"output_type {kind} gives log-likelihoods: take it out of filter_list."
                    )
    seen: set[str] = set()
    for entry in config.get("metric_list") or []:
        yield from _entry_faults(entry, kind, own)
        if str(entry["metric"]) in seen:
            yield f"has the metric '{entry['metric']}' twice in metric_list: lm-eval keeps one value for each name."
        seen.add(str(entry["metric"]))


def _entry_faults(entry: Mapping[str, Any], kind: str, own: bool) -> Iterator[str]:
    """What is wrong with one entry of metric_list, as the tails of sentences.

    Args:
        entry: It has a metric.
        kind: The task's output_type.
        own: The task computes its metrics by code of its own.
    """
    metric, aggregation = entry["metric"], entry.get("aggregation")
    if isinstance(aggregation, str) and aggregation not in known.aggregations():
        yield f"has aggregation: {aggregation} for the metric '{metric}': {suggest(aggregation, known.aggregations())}"
        return
    if aggregation is None and not (isinstance(metric, str) and metric in known.metrics()):
        yield f"has no aggregation for the metric '{metric}', of which lm-eval knows none: write aggregation: mean."
    usual = higher_is_better(str(metric), aggregation)
    if usual is not None and entry.get("higher_is_better", usual) is not usual:
        more, less = ("more", "true") if usual else ("less", "false")
        yield f"says higher_is_better: {str(not usual).lower()} of '{metric}', of which {more} is better: write {less}."
    if own or isinstance(metric, Function) or entry.get("hf_evaluate"):
        return
    given = GIVEN[kind]
    if kind == "generate_until" and metric in known.metrics() and isinstance(aggregation, Function):
        return  # a pair of texts, which code of the task's makes a number of
    if metric not in given:
        hint = suggest(metric, given)
        if kind == "generate_until" and metric not in known.metrics():
            hint = f"add hf_evaluate: true if it is one of the library evaluate, or {hint}"
        yield f"has the metric '{metric}', which a task of output_type {kind} cannot give: {hint}"
    elif not given[metric] and not isinstance(aggregation, Function):
        yield f"has the metric '{metric}', a pair that no aggregation of lm-eval's takes: leave it out."
    elif isinstance(aggregation, str) and aggregation not in given[metric]:
        yield f"has aggregation: {aggregation} for the metric '{metric}', which takes {_either(given[metric])}."


def _either(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def higher_is_better(metric: str, aggregation: Any = None) -> bool | None:
    """Which way a metric is better by lm-eval's registry, or by how it is aggregated; None where neither tells."""
    registered = known.metrics().get(metric)
    if registered is not None:
        return registered.higher_is_better
    return False if isinstance(aggregation, str) and aggregation in _LESS else None


def directions(config: Mapping[str, Any], metrics: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, bool]:
    """Whether more is better of each metric of a result.

    Args:
        config: The task's.
        metrics: By name as filed: `ter`, or `ter_strip` under the filter strip.
        said: Metric -> what lm-eval reports for it, from the task or its registry.
    """
    entries = {_name(entry["metric"]): entry for entry in config.get("metric_list") or []}
    filters = [str(one.get("name")) for one in config.get("filter_list") or [] if isinstance(one, dict)]
    found = {}
    for name in metrics:
        bare = next((name.removesuffix(f"_{one}") for one in filters if name.endswith(f"_{one}")), name)
        base = name if name in said or name in entries else bare
        value = said.get(base)
        usual = higher_is_better(base, entries.get(base, {}).get("aggregation"))
        found[name] = value if isinstance(value, bool) else usual is not False
    return found


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", metric))
