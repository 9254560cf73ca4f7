"""A task's items over all checkpoints of all models: who answered what, when, as arrays of small numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from evalrun.core.ratios import ratio_of
from evalrun.core.text import counted, listed
from evalrun.statistics.dynamics.choice_shares import MISSING, ShareCodes, share_codes
from evalrun.statistics.dynamics.item_sheet import Integers, ItemSheet, Tables, read_sheet
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.continuous import METRICS
from evalrun.statistics.items.values import Floats
from evalrun.statistics.naming import run_name
from evalrun.statistics.table import checkpoint_name

Singles = np.ndarray[Any, np.dtype[np.float32]]
_UNCLEAR = 0.05  # share of answers between right and wrong, beyond which they are other values and no ties
_TEXTS = "its documents have losses, and are neither right nor wrong: the report pictures them, compare tests them"
_SHOWN = 5  # items that a note names
_FREE = 0.0  # a free answer is not guessed
_SUREST = 0.95  # a guess, at most: nothing could be told of items that every guess gets right


@dataclass(frozen=True)
class ItemCurve:
    """What one model, with one seed, answered over its training."""

    model: str
    seed: float  # NaN where there is one
    n_params: float
    steps: Floats  # (checkpoints,)
    tokens: Floats  # (checkpoints,) increasing
    run_ids: tuple[str, ...]
    right: Singles  # (checkpoints, items) 1, 0, a tie's share of right choices; NaN: no finite log-probability
    margin: Singles  # (checkpoints, items) log-probability of the right choice less the best wrong one's, nats; or NaN
    chosen: np.ndarray[Any, np.dtype[np.int8]]  # (checkpoints, items) place of the likeliest choice; -1: none
    shares: ShareCodes | None = None  # (checkpoints, items, choices - 1) of `share_codes`, where they were asked for

    @property
    def label(self) -> str:
        """The model's name, with its seed where it has several."""
        return run_name(vars(self))

    def at(self, step: float) -> int:
        """The place of a step among the checkpoints."""
        return int(np.flatnonzero(self.steps == step)[0])


@dataclass(frozen=True)
class ItemGrid:
    """All curves of a task, on the same items in the same order."""

    task: str
    title: str
    metric: str
    keys: pd.DataFrame  # doc_id and, where they are there, doc_hash: (items,) each
    gold: Integers  # (items,) place of the right choice; -1: not one known place
    choices: Integers  # (items,) how many; 0: a free answer
    guess: Floats  # (items,) probability that a guess is right
    curves: tuple[ItemCurve, ...]  # by size, name and seed
    notes: list[str]  # checkpoints and items that were left out, by name
    clusters: Codes | None = None  # (items,) which belong together; None: items were drawn one by one


def read_grid(
    rows: pd.DataFrame, tables: Tables, guess: float | None = None, with_shares: bool = False
) -> ItemGrid | str:
    """Read all answers to one task; or a sentence's worth of words on why there are none.

    Items are those that all checkpoints have, told by doc_id and doc_hash. Checkpoints without items, and checkpoints
    that share none, or were prompted otherwise, are left out by name.

    Args:
        rows: Of `Prepared.table`, of one task.
        tables: Gives per-item results.
        guess: Probability that a guess is right; None: one over an item's choices, 0 for free answers, and the task's
            chance where the number of right choices is not known.
        with_shares: Keep the probabilities of all choices too, in a byte each.
    """
    first = rows.iloc[0]
    if why := _no_answers(str(first["metric"])):
        return why
    read: list[ItemSheet] = []
    there, missing = [], []
    for place, result in enumerate(zip(*(rows[name].tolist() for name in ("run_id", "task", "metric")), strict=True)):
        sheet = read_sheet(tables, *map(str, result))
        if sheet is None:
            missing.append(place)
        else:
            there.append(place)
            read.append(_slim(sheet, read[0].keys if read else sheet.keys, with_shares))
    if not read:
        return "no items are in the store"
    found = list(zip(rows.iloc[there].to_dict("records"), read, strict=True))
    without = [checkpoint_name(row) for row in rows.iloc[missing].to_dict("records")]
    notes = [f"No items, and left out: {listed(without, 12)}."] if without else []
    aligned = _aligned(found)
    if isinstance(aligned, str):
        return aligned
    kept, more = aligned
    sheets = [sheet for _, sheet in kept]
    if why := _unfit(sheets):
        return why
    gold, choices = sheets[0].gold, sheets[0].choices
    keys = sheets[0].keys.select([name for name in ("doc_id", "doc_hash") if name in sheets[0].keys.column_names])
    return ItemGrid(
        task=str(first["task"]),
        title=str(first["title"]),
        metric=str(first["metric"]),
        keys=keys.to_pandas(),
        gold=gold,
        choices=choices,
        guess=_guess(gold, choices, float(first["chance"]), guess),
        curves=tuple(_curves(kept)),
        notes=[*notes, *more],
    )


def _no_answers(metric: str) -> str:
    """Why a metric tells no right answers from wrong ones, whatever the items; empty where it may."""
    if metric in METRICS.keys() - {"acc_norm"}:
        return f"by '{metric}' no answer is right or wrong: follow them with analysis.metric=acc"
    return "" if ratio_of(metric) is None else _TEXTS


def _slim(sheet: ItemSheet, known: pa.Table, with_shares: bool) -> ItemSheet:
    """A sheet in a tenth of its memory: without choices' log-probabilities, its keys the known ones where equal."""
    keys = known if _same(sheet.keys, known) else sheet.keys
    right, margin, chosen = (
        sheet.right.astype(np.float32),
        sheet.margin.astype(np.float32),
        sheet.chosen.astype(np.int8),
    )
    logprobs = sheet.logprobs if with_shares else None
    shares = None if logprobs is None else share_codes(logprobs, sheet.choices, sheet.gold)
    return ItemSheet(keys, right, margin, chosen, sheet.gold, sheet.choices, None, shares)


def _unfit(sheets: Sequence[ItemSheet]) -> str:
    """Why answers cannot be followed; empty where they can be."""
    values = np.concatenate([sheet.right for sheet in sheets[:: max(1, len(sheets) // 8)]])
    values = values[np.isfinite(values)]
    if not len(values):
        return "no item has a finite log-probability"
    unclear = float(((values != 0) & (values != 1)).mean())
    if values.min() < 0 or values.max() > 1 or (unclear > _UNCLEAR and len(np.unique(values)) > 16):
        return "its items are not right or wrong: there is nothing to be learned or lost"
    return ""


def _guess(gold: Integers, choices: Integers, chance: float, given: float | None) -> Floats:
    """(items,) the probability that a guess is right."""
    if given is not None:
        return np.full(len(gold), given)
    several = np.where(choices > 1, chance if np.isfinite(chance) else 0.5, _FREE)
    return np.minimum(np.where(gold >= 0, 1 / np.maximum(choices, 1), several), _SUREST)


def _curves(kept: Sequence[tuple[Mapping[Any, Any], ItemSheet]]) -> Iterator[ItemCurve]:
    """One for each model and seed, its checkpoints in order of tokens."""
    places: dict[tuple[float, str, float], list[int]] = {}
    for place, (row, _) in enumerate(kept):
        places.setdefault((float(row["n_params"]), str(row["model"]), _seed(row)), []).append(place)
    for (n_params, model, seed), own in sorted(places.items()):
        own = sorted(own, key=lambda place: float(kept[place][0]["tokens"]))
        about, sheets = [kept[place][0] for place in own], [kept[place][1] for place in own]
        yield ItemCurve(
            model=model,
            seed=np.nan if seed < 0 else seed,
            n_params=n_params,
            steps=np.array([row["step"] for row in about], dtype=np.float64),
            tokens=np.array([row["tokens"] for row in about], dtype=np.float64),
            run_ids=tuple(str(row["run_id"]) for row in about),
            right=np.stack([sheet.right for sheet in sheets]).astype(np.float32),
            margin=np.stack([sheet.margin for sheet in sheets]).astype(np.float32),
            chosen=np.stack([sheet.chosen for sheet in sheets]).astype(np.int8),
            shares=_shares(sheets),
        )


def _shares(sheets: Sequence[ItemSheet]) -> ShareCodes | None:
    """Probabilities of the choices at all checkpoints; None where no checkpoint has any."""
    there = [sheet.shares for sheet in sheets]
    most = max((codes.shape[1] for codes in there if codes is not None), default=0)
    if not most:
        return None
    found = np.full((len(sheets), len(sheets[0].right), most), MISSING, dtype=np.uint8)
    for place, codes in enumerate(there):
        if codes is not None:
            found[place, :, : codes.shape[1]] = codes
    return found


def _seed(row: Mapping[Any, Any]) -> float:
    return -1.0 if pd.isna(row["seed"]) else float(row["seed"])


_Kept = list[tuple[dict[Any, Any], ItemSheet]]


def _aligned(found: _Kept) -> tuple[_Kept, list[str]] | str:
    """All sheets on the items that they share; or why there are none.

    The items of the first are the measure. A checkpoint that has other items is named, and how many it shares.
    """
    measure = found[0][1].keys
    if all(_same(sheet.keys, measure) for _, sheet in found) and _unique(measure):
        return found, []
    if not all(_unique(sheet.keys) for _, sheet in found):
        return "items cannot be told apart: a doc_id repeats"
    indices = [_index(sheet.keys) for _, sheet in found]
    largest = max(indices, key=len)
    prompts = dict(zip(largest, _prompts(found[indices.index(largest)][1].keys), strict=True))
    kept, notes, shared = [], [], list(largest)
    for (row, sheet), index in zip(found, indices, strict=True):
        both = [key for key in largest if key in index]
        own = dict(zip(index, _prompts(sheet.keys), strict=True))
        unlike = sum(own[key] != prompts[key] for key in both if own[key] and prompts[key])
        if not both or unlike:
            what = f"the prompts of {unlike} of {len(both)} items are others" if both else "it shares no item"
            notes.append(f"{checkpoint_name(row)} is left out: {what}.")
            continue
        if missing := [key for key in largest if key not in index]:
            names = listed([str(key[0]) for key in missing], _SHOWN)
            notes.append(f"{checkpoint_name(row)} lacks {counted(len(missing), 'item')} (doc_id {names}).")
        kept.append((row, sheet, index))
        shared = [key for key in shared if key in index]
    if not shared:
        return "the checkpoints share no item: " + " ".join(notes)
    if len(shared) < len(largest):
        notes.append(f"What follows is about the {counted(len(shared), 'item')} that all have, of {len(largest)}.")
    return [(row, _taken(sheet, [index[key] for key in shared])) for row, sheet, index in kept], notes


def _same(one: pa.Table, other: pa.Table) -> bool:
    if one is not other and list(one.column_names) != list(other.column_names):
        return False
    return one is other or bool(one.equals(other))


def _unique(keys: pa.Table) -> bool:
    return bool(pc.count_distinct(keys["doc_id"]).as_py() == keys.num_rows)


def _index(keys: pa.Table) -> dict[tuple[Any, str], int]:
    """doc_id and doc_hash -> place."""
    hashes = keys["doc_hash"].to_pylist() if "doc_hash" in keys.column_names else [""] * keys.num_rows
    pairs = zip(keys["doc_id"].to_pylist(), hashes, strict=True)
    return {(doc, str(digest)): place for place, (doc, digest) in enumerate(pairs)}


def _prompts(keys: pa.Table) -> list[str]:
    if "prompt_hash" not in keys.column_names:
        return [""] * keys.num_rows
    return [text or "" for text in keys["prompt_hash"].to_pylist()]


def _taken(sheet: ItemSheet, at: Sequence[int]) -> ItemSheet:
    places = np.asarray(at, dtype=np.int64)
    arrays = {name: getattr(sheet, name)[places] for name in ("right", "margin", "chosen", "gold", "choices")}
    if sheet.shares is not None:
        arrays["shares"] = sheet.shares[places]
    return replace(sheet, keys=sheet.keys.take(pa.array(places)), **arrays)
