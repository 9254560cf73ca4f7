"""The items of a result as lm-eval's `samples_*.jsonl`, a line an item and filter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.distractors import ItemWords, Words

_HASHES = ("doc_hash", "prompt_hash", "target_hash")
# Of items as scoring writes them; what is beside these is a metric.
_OWN = {"doc_id", "target", "prediction", "logprobs", "greedy", "response", "filter", *_HASHES}
_LISTS = ("choice_chars", "choice_bytes", "token", "finish", "sample_")
_DELIMITER = " "  # lm-eval's, between a prompt and a choice


def samples_text(task: str, items: pd.DataFrame, words: Words) -> tuple[str, bool]:
    """The lines of one task, and whether the texts of its items were at hand.

    Args:
        task: Its name.
        items: As `ItemReader` gives them.
        words: Finds their texts.
    """
    texts = words(task, items)
    metrics = [name for name in items.columns if name not in _OWN and not name.startswith(_LISTS)]
    lines = [_sample(row, metrics, texts, place) for place, row in enumerate(items.to_dict("records"))]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), bool(texts.prompts)


def _sample(row: dict[Any, Any], metrics: list[str], texts: ItemWords, place: int) -> dict[str, Any]:
    """One line, its log-probabilities as text as lm-eval writes them.

    Args:
        row: The item.
        metrics: Names of the columns that are metrics.
        texts: Of all items, in their order.
        place: The item's among them.
    """
    pairs = zip(row["logprobs"], row["greedy"], strict=True)
    answers = [[repr(float(logprob)), str(bool(greedy))] for logprob, greedy in pairs]
    response = json.loads(row["response"]) if row.get("response") else []
    filtered = answers or response
    several = any(hasattr(value, "__len__") for name, value in row.items() if name.startswith("sample_"))
    document = {name: values[place] for name, values in texts.columns.items()}
    return {
        "doc_id": int(row["doc_id"]),
        "doc": document,
        "target": json.loads(row["target"]),
        "arguments": _arguments(row, texts, place),
        "resps": [filtered] if several else [[answer] for answer in filtered],
        "filtered_resps": [filtered] if several else filtered,
        "filter": row.get("filter", "none"),
        "metrics": metrics,
        **{name: row.get(name, "") for name in _HASHES},
        **{name: _plain(row[name]) for name in metrics},
    }


def _arguments(row: dict[str, Any], texts: ItemWords, place: int) -> dict[str, dict[str, str]]:
    """What was asked: prompt and choice by lm-eval's names; nothing where it is not known to the byte."""
    sizes = row.get("choice_bytes")
    if not texts.prompts or sizes is None or not texts.choices[place]:
        return {}
    asked = [_DELIMITER + choice for choice in texts.choices[place]]
    if [len(text.encode()) for text in asked] != list(sizes):
        return {}
    return {f"gen_args_{number}": {"arg_0": texts.prompts[place], "arg_1": text} for number, text in enumerate(asked)}


def _plain(value: Any) -> Any:
    """A metric's value of an item: a number, or what JSON text holds."""
    return json.loads(value) if isinstance(value, str) else float(value)
