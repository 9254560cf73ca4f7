"""The shape of a task file: which keys stand where, at any depth, and what they may hold; a sentence for each fault.

Only files outside lm-eval are held to it: a user can mend those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from evalrun.core.errors import suggest
from evalrun.tasks import lm_eval_names as known
from evalrun.tasks import text_rule
from evalrun.tasks.task_yaml import Function

OWN_KEYS = text_rule.KEYS | {"data", "human", "include", "group", "class", "profiles"}  # beside those of TaskConfig
_TEXT = (str,), "a text"
_CODE = (Function,), "a !function"
_MAP = (dict,), "a mapping (KEY: VALUE)"
_LIST = (list,), "a list"
_FLAG = (bool,), "true or false"
_SPLIT = (str,), "the name of a split, or null"
_SHAPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("task", "task_alias", "group", "group_alias", "use_prompt", "output_type"), _TEXT),
    **dict.fromkeys(("dataset_path", "dataset_name", "description", "gen_prefix"), _TEXT),
    **dict.fromkeys(("target_delimiter", "fewshot_delimiter"), _TEXT),
    **dict.fromkeys(("training_split", "validation_split", "test_split", "fewshot_split", "split"), _SPLIT),
    **dict.fromkeys(("process_docs", "process_results", "custom_dataset", "class"), _CODE),
    **dict.fromkeys(("dataset_kwargs", "generation_kwargs", "fewshot_config", "metadata", "profiles"), _MAP),
    **dict.fromkeys(("metric_list", "filter_list"), _LIST),
    **dict.fromkeys(("unsafe_code", "should_decontaminate"), _FLAG),
    **dict.fromkeys(("doc_to_text", "doc_to_decontamination_query"), ((str, Function), "a template or a !function")),
    **dict.fromkeys(("doc_to_image", "doc_to_audio"), ((str, list, Function), "a column, a list or a !function")),
    "doc_to_target": ((str, int, list, Function), "a column, a template, a number, a list or a !function"),
    "doc_to_choice": ((str, list, dict, Function), "a column, a template, a list of texts or a !function"),
    "samples": ((list, Function), "a list of rows or a !function"),
    "sampler": _TEXT,
    **dict.fromkeys(("window", "stride"), ((int,), "a whole number of tokens, 1 or more")),
    "surprisal": ((bool, str), "true, false or corrected"),
    "human": ((str,), "a column of the data with people's numbers"),
    "num_fewshot": ((int,), "a whole number, 0 or more"),
    "repeats": ((int,), "a whole number, 1 or more"),
    "tag": ((str, list), "a name or a list of names"),
    "data": ((str, dict), "a file, or a file for each split (SPLIT: FILE)"),
}  # fmt: skip
_LEAST = {"num_fewshot": 0, "repeats": 1, "window": 1, "stride": 1}
_ENTRY = {"metric", "aggregation", "higher_is_better", "hf_evaluate"}  # of metric_list; the rest goes to the metric


def faults(content: Mapping[Any, Any], allowed: Collection[str]) -> Iterator[str]:
    """What is wrong in one file's own lines: the tails of sentences that begin with the file's name.

    Args:
        content: As it was read.
        allowed: Its top keys.
    """
    unknown = [key for key in content if key not in allowed]
    if unknown:
        listed = "; ".join(f"'{key}' ({suggest(str(key), allowed)})" for key in unknown)
        yield f"has keys that no lm-eval task has: {listed}"
    yield from _values({key: value for key, value in content.items() if key in allowed})


def misnamed(key: str, said: Any, name: str) -> Iterator[str]:
    """Another name in a file than the file's own, as the tail of a sentence.

    Args:
        key: `task` or `group`.
        said: What stands there; nothing where it does not.
        name: The file's own, below conf/task.
    """
    if isinstance(said, str) and said not in (name, name.rpartition("/")[2]):
        yield f"says {key}: {said}, and goes by the name of its file: rename the file, or write {key}: {name}."


def _values(content: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """What is wrong with the values of a task's keys, as the tails of sentences."""
    for key, value in content.items():
        wrong = _value_fault(key, value)
        if wrong is not None:
            yield f"has {within}{key}: {shown(value)}, which must be {wrong}."
        elif key == "metric_list" and value is not None:
            yield from _metric_list(value)
        elif key == "filter_list" and value is not None:
            yield from _filter_list(value)
        elif key == "fewshot_config" and value is not None:
            yield from _fewshot_config(value)
        elif key == "generation_kwargs" and value is not None:
            yield from unknown(value, known.generation_keys(), "generation_kwargs")


def _value_fault(key: str, value: Any) -> str | None:
    """What a value must be where it is not; nothing (null) leaves a key at its default."""
    if value is None:
        return 'a text: "" for none, " " for a space' if key.endswith("_delimiter") else None
    types, words = _SHAPES.get(key, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
        return words
    if isinstance(value, int) and value < _LEAST.get(key, value):
        return words
    if key == "surprisal" and isinstance(value, str) and value != text_rule.CORRECTED:
        return words
    if key == "doc_to_choice" and isinstance(value, list | dict):
        texts = list(value.values()) if isinstance(value, dict) else value
        if len(texts) < 2 or not all(isinstance(text, str) and text for text in texts):
            return "two or more texts: put numbers, yes and no in quotes"
    if key == "doc_to_target" and isinstance(value, list):
        whole = all(isinstance(one, str | int) and not isinstance(one, bool) for one in value)
        return None if value and whole else "a list of one or more right choices, each by its number or its text"
    if key == "samples" and isinstance(value, list) and not (value and all(isinstance(row, dict) for row in value)):
        return "a list of one or more rows (COLUMN: VALUE)"
    if key == "data" and isinstance(value, dict) and not (value and all(isinstance(f, str) for f in value.values())):
        return words
    return None


def shown(value: Any) -> str:
    """A value of a file, short enough for a sentence."""
    text = str(value) if isinstance(value, Function) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown(mapping: Mapping[Any, Any], allowed: Collection[str], place: str) -> Iterator[str]:
    """A sentence's tail for each key that is none of those allowed."""
    for key in mapping:
        if key not in allowed:
            yield f"has '{key}' in {place}, which lm-eval does not know: {suggest(str(key), allowed)}"


def _metric_list(entries: list[Any]) -> Iterator[str]:
    """What is wrong with the form of a metric_list, as the tails of sentences."""
    if not entries:
        yield "has an empty metric_list: name one or more metrics, or leave it out for those of the output_type."
    for number, entry in enumerate(entries, start=1):
        place = f"entry {number} of metric_list"
        if not isinstance(entry, dict) or not isinstance(entry.get("metric"), str | Function):
            yield f"has {shown(entry)} as {place}, which must be a mapping with a metric: {{metric: acc}}."
            continue
        metric = entry["metric"]
        if not isinstance(metric, Function) and not entry.get("hf_evaluate"):
            options = known.exact_match_options() if metric == "exact_match" else frozenset()
            yield from unknown(entry, _ENTRY | options, f"{place} ({metric})")
        for key in ("higher_is_better", "hf_evaluate"):
            if key in entry and not isinstance(entry[key], bool):
                yield f"has {key}: {shown(entry[key])} in {place}, which must be true or false."
        if not isinstance(entry.get("aggregation", ""), str | Function):
            yield f"has aggregation: {shown(entry['aggregation'])} in {place}, which must be a name or a !function."


def _filter_list(entries: list[Any]) -> Iterator[str]:
    """What is wrong with a filter_list, as the tails of sentences."""
    if not entries:
        yield "has an empty filter_list, which gives no number: name filters, or leave it out."
    for number, entry in enumerate(entries, start=1):
        place = f"entry {number} of filter_list"
        steps = entry.get("filter") if isinstance(entry, dict) else None
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("name"), str)
            or not (isinstance(steps, list) and steps)
        ):
            yield f"has {shown(entry)} as {place}, which must be {{name: NAME, filter: [{{function: take_first}}]}}."
            continue
        yield from unknown(entry, {"name", "filter"}, place)
        for step in steps:
            function = step.get("function") if isinstance(step, dict) else None
            if isinstance(function, Function):
                continue
            if not isinstance(function, str):
                yield f"has {shown(step)} in {place}, which must name a function: {{function: take_first}}."
            elif function not in known.filters():
                yield f"has the filter '{function}' in {place}: {suggest(function, known.filters())}"
            elif (options := known.filters()[function]) is not None:
                yield from unknown(step, options | {"function"}, f"{place} ({function})")


def _fewshot_config(config: Mapping[Any, Any]) -> Iterator[str]:
    yield from unknown(config, known.fewshot_keys(), "fewshot_config")
    if config.get("fewshot_indices") is not None:
        yield (
            "has fewshot_indices in fewshot_config, which lm-eval takes and never uses: write the rows as samples, or "
            "take the first ones with sampler: first_n."
        )
    sampler = config.get("sampler", "default")
    if isinstance(sampler, str) and sampler not in known.samplers():
        yield f"has the sampler '{sampler}' in fewshot_config: {suggest(sampler, known.samplers())}"
    yield from _values({k: v for k, v in config.items() if k in known.fewshot_keys()}, "fewshot_config.")
