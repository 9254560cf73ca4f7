"""lm-eval's `samples_*.jsonl` as the Parquet file of items that evalrun's own results have."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evalrun.commands.ingest.parsed import DamagedError, number

_HASHES = ("doc_hash", "prompt_hash", "target_hash")


@dataclass(frozen=True)
class ItemsFile:
    """A task's items."""

    parquet: bytes
    n: int  # items, however many filters
    chance: float | None  # mean of 1 / number of choices; None without choices


def read(path: Path, expected: int) -> ItemsFile:
    """Read the samples of one task.

    Columns: those of evalrun's own items (items_table.items_table): doc_id, target, prediction, logprobs in nats,
    greedy, choice_bytes where the samples hold what was asked, response, filter, one a metric, hashes.

    Args:
        path: lm-eval's file.
        expected: Items that the result was computed from; 0 if that is not known.

    Raises:
        DamagedError: it cannot be read, breaks off, or holds another number of items.
    """
    try:
        samples = list(_lines(path))
        rows = [_row(sample) for sample in samples]
    except (ValueError, KeyError, TypeError, IndexError):
        raise DamagedError("breaks off or holds no samples of lm-eval") from None
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})") from None
    n = len({row["doc_id"] for row in rows})
    if n != (expected or n) or not n:
        raise DamagedError(f"holds {n} of {expected} items")
    choices = [len(row["logprobs"]) for row in rows]
    chance = sum(1 / count for count in choices) / len(choices) if min(choices) > 1 else None
    table = pd.DataFrame(rows).sort_values(["filter", "doc_id"], kind="stable", ignore_index=True)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return ItemsFile(buffer.getvalue(), n, chance)


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    """One line of lm-eval's samples as a row of items: log-probabilities in nats, prediction -1 where there are none.

    Raises:
        KeyError, TypeError, ValueError: the line is not what lm-eval writes.
    """
    answers = [answer for answer in sample["filtered_resps"] if _is_loglikelihood(answer)]
    logprobs = [float(answer[0]) for answer in answers]
    row: dict[str, Any] = {
        "doc_id": int(sample["doc_id"]),
        "target": json.dumps(sample["target"]),
        "prediction": max(range(len(logprobs)), key=logprobs.__getitem__) if logprobs else -1,
        "logprobs": logprobs,
        "greedy": [str(answer[1]) == "True" for answer in answers],
        "response": "" if answers else json.dumps(sample["filtered_resps"]),
        "filter": str(sample.get("filter", "none")),
    }
    if sizes := _bytes(sample.get("arguments"), len(logprobs)):
        row["choice_bytes"] = sizes
    # lm-eval before 0.4.5 does not name the metrics; then they are the numbers that stand beside the rest.
    named = sample.get("metrics") or [key for key, value in sample.items() if key != "doc_id" and _plain(value)]
    for metric in named:
        value = sample[metric]
        row[metric] = float(value) if _plain(value) else json.dumps(value)
    return row | {key: str(sample.get(key, "")) for key in _HASHES}


def _bytes(asked: Any, answers: int) -> list[int]:
    """UTF-8 bytes of each text that was scored, delimiter included; none where they are not those of the answers.

    Args:
        asked: Pairs of context and text; of newer versions of lm-eval the same by names, with the text the second.
        answers: How many log-likelihoods there are.
    """
    pairs = [[one.get("arg_0"), one.get("arg_1")] for one in asked.values()] if isinstance(asked, dict) else asked or []
    said = [pair[1] for pair in pairs if isinstance(pair, list) and len(pair) > 1 and isinstance(pair[1], str)]
    return [len(text.encode()) for text in said] if len(said) == answers else []


def _plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_loglikelihood(answer: Any) -> bool:
    """A pair of log-likelihood and whether it is greedy; the file holds both as text."""
    pair = isinstance(answer, Sequence) and not isinstance(answer, str) and len(answer) == 2
    return pair and number(answer[0]) is not None and str(answer[1]) in ("True", "False")
