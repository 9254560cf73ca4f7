"""All that the items of one task say of a training: classes, ages, what was learned and lost, who agrees with whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from evalrun.core.text import counted
from evalrun.statistics.dynamics.ages import Ages, acquired
from evalrun.statistics.dynamics.agreement import agreement
from evalrun.statistics.dynamics.distractors import ItemWords, Words, distractors
from evalrun.statistics.dynamics.guessing import (
    FALL,
    LOSSES,
    RETURN,
    TRANSITIONS,
    Chances,
    Pair,
    known,
    least_misled,
    neighbours,
    transitions,
    whole_curve,
)
from evalrun.statistics.dynamics.heat_maps import HeatMap, heat_map
from evalrun.statistics.dynamics.item_classes import (
    CLASSES,
    LOSING,
    Courses,
    States,
    by_chance,
    follow,
    slips,
    states,
)
from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid
from evalrun.statistics.dynamics.item_sheet import Tables
from evalrun.statistics.dynamics.packed_items import PackedItems
from evalrun.statistics.dynamics.returned import RETURNED, returned
from evalrun.statistics.items.item_errors import mean_interval
from evalrun.statistics.items.paired import corrected

CLASS_COUNTS = ["model", "seed", "class", "items", "share", "by_chance"]
ITEMS = [
    "doc_id",
    "doc_hash",
    "model",
    "seed",
    "class",
    "age",
    "age_low",
    "age_high",
    "right",
    "first_right",
    "last_right",
]

FEWEST_CHECKPOINTS = 2  # of a class: with one, nothing can be seen to be learned or lost
_CLEARLY_MORE = 0.02  # of the items that look known, beyond what the accuracy allows


@dataclass(frozen=True)
class ItemSettings:
    """How items are judged: from conf/analysis."""

    guess: float | None  # probability that a guess is right; None: one over an item's choices
    slip: float  # share of wrong answers to items that are known
    alpha: float
    correction: str  # of p-values, by statsmodels' name
    seed: int  # of the draws


@dataclass(frozen=True)
class Turn:
    """What a curve's accuracy does, as its shape says."""

    model: str
    seed: float
    peak_step: float
    trough_step: float
    return_step: float  # NaN where it does not return
    pairs: int  # of checkpoints among which the fall was found


@dataclass(frozen=True)
class ItemDynamics:
    """What was found in one task; every frame has the columns of the list that is named."""

    task: str
    title: str
    n: int  # items
    grid: ItemGrid | None  # all answers; None where they were dropped to spare memory
    courses: tuple[Courses, ...]  # of each curve of the grid
    maps: tuple[HeatMap, ...]  # of each curve
    items: pd.DataFrame  # ITEMS: a row an item and curve; ages in tokens; no class where a curve has one checkpoint
    classes: pd.DataFrame  # CLASS_COUNTS: a row a curve and class, of curves with two checkpoints or more
    losses: pd.DataFrame  # guessing.LOSSES: a row a curve
    transitions: pd.DataFrame  # guessing.TRANSITIONS: a row a pair of checkpoints
    agreement: pd.DataFrame  # agreement.AGREEMENT: a row a pair of curves
    returned: pd.DataFrame  # returned.RETURNED: a row a curve that falls and returns
    distractors: pd.DataFrame  # distractors.DISTRACTORS: rows of each fall
    notes: list[str]
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)  # item_parts.PARTS, where it was divided
    part_curves: pd.DataFrame = field(default_factory=pd.DataFrame)  # item_parts.PART_CURVES, the same
    packed: PackedItems | None = None  # all answers, small, where a page is to show them


def turns_of(falls: pd.DataFrame, rows: pd.DataFrame) -> list[Turn]:
    """The curves of one task that fall, and whether they return: from their best checkpoint after the trough.

    Args:
        falls: What `shapes.falls.find_falls` returns.
        rows: Of the tidy table, of one task.
    """
    found = []
    for row in falls[falls["falls"] & (falls["task"] == rows["task"].iloc[0])].to_dict("records"):
        if pd.isna(row["peak_step"]) or row["peak_step"] >= row["trough_step"]:
            continue
        same = rows["seed"].isna() if pd.isna(row["seed"]) else rows["seed"] == row["seed"]
        after = rows[same & (rows["model"] == row["model"]) & (rows["step"] > row["trough_step"])]
        back = np.nan
        if row["recovered"] is True or row["recovered"] is np.True_:
            back = float(after.loc[after["value"].idxmax(), "step"])
        seed = np.nan if pd.isna(row["seed"]) else float(row["seed"])
        ends = float(row["peak_step"]), float(row["trough_step"])
        found.append(Turn(str(row["model"]), seed, *ends, back, int(row["pairs"])))
    return found


def item_dynamics(
    grid: ItemGrid, turns: list[Turn], tables: Tables, words: Words | None, settings: ItemSettings
) -> ItemDynamics:
    """Follow every item of a task through every training.

    Args:
        grid: Of `read_grid`.
        turns: The falls of its curves.
        tables: Gives per-item results, for the probabilities of choices in falls.
        words: Gives the texts of the items; None to do without.
        settings: How items are judged.
    """
    alpha = settings.alpha
    models = [states(grid.guess, settings.slip, alpha, len(curve.steps)) for curve in grid.curves]
    courses = [follow(curve.right, model) for curve, model in zip(grid.curves, models, strict=True)]
    ages = [acquired(*each, alpha) for each in zip(grid.curves, courses, models, strict=True)]
    placed = [(place, turn) for turn in turns if (place := _place(grid, turn)) is not None]
    pairs: list[list[Pair]] = [list(neighbours(curve)) for curve in grid.curves]
    for place, turn in placed:
        curve = grid.curves[place]
        pairs[place].append(Pair(FALL, curve.at(turn.peak_step), curve.at(turn.trough_step), turn.pairs))
        if np.isfinite(turn.return_step):
            pairs[place].append(Pair(RETURN, curve.at(turn.trough_step), curve.at(turn.return_step)))
    chances = [
        Chances(
            grid.guess,
            slips(curve.right, own, settings.slip),
            settings.slip,
            least_misled(curve.right, grid.guess),
            grid.clusters,
        )
        for curve, own in zip(grid.curves, courses, strict=True)
    ]
    each = list(zip(grid.curves, chances, strict=True))
    moved = [transitions(*one, own, alpha, settings.correction) for one, own in zip(each, pairs, strict=True)]
    losses = pd.DataFrame([whole_curve(*one, alpha) for one in each], columns=LOSSES)
    losses["q"] = corrected(losses["p"].to_numpy(np.float64), settings.correction)
    losses["lost_items"] = [sum(own.counts()[name] for name in LOSING) for own in courses]
    back = [
        (place, turn.peak_step, turn.trough_step, turn.return_step) for place, turn in placed if turn.return_step > 0
    ]
    texts = _words(words, grid) if placed else None
    return ItemDynamics(
        task=grid.task,
        title=grid.title,
        n=len(grid.keys),
        grid=grid,
        courses=tuple(courses),
        maps=tuple(heat_map(*one) for one in zip(grid.curves, courses, strict=True)),
        items=_items(grid, courses, ages),
        classes=_classes(grid, courses, models, settings.seed),
        losses=losses,
        transitions=pd.concat(moved, ignore_index=True) if moved else pd.DataFrame(columns=TRANSITIONS),
        agreement=agreement(grid, chances, ages, alpha),
        returned=returned(grid, back, alpha, settings.correction) if back else pd.DataFrame(columns=RETURNED),
        distractors=distractors(
            grid, [(place, turn.peak_step, turn.trough_step) for place, turn in placed], tables, texts, alpha
        ),
        notes=[
            *grid.notes,
            *_notes(grid, models),
            *_persistent(grid, courses, chances),
            *([texts.why] if texts is not None and texts.why else []),
        ],
    )


def _place(grid: ItemGrid, turn: Turn) -> int | None:
    """The curve of a turn; None where it, or one of the steps, has no items."""
    for place, curve in enumerate(grid.curves):
        same_seed = curve.seed == turn.seed or (np.isnan(curve.seed) and np.isnan(turn.seed))
        if curve.model == turn.model and same_seed:
            steps = [turn.peak_step, turn.trough_step, *([turn.return_step] if np.isfinite(turn.return_step) else [])]
            return place if np.isin(steps, curve.steps).all() else None
    return None


def _words(words: Words | None, grid: ItemGrid) -> ItemWords | None:
    return None if words is None else words(grid.task, grid.keys)


def _items(grid: ItemGrid, courses: list[Courses], ages: list[Ages]) -> pd.DataFrame:
    """A row an item and curve, with the columns of `ITEMS`."""
    names = np.array(CLASSES, dtype=object)
    frames = []
    for curve, own, age in zip(grid.curves, courses, ages, strict=True):
        right = np.where(np.isfinite(curve.right), curve.right, 0)
        hit = right >= 0.999
        ever = hit.any(axis=0)
        first, last = curve.tokens[hit.argmax(axis=0)], curve.tokens[len(hit) - 1 - hit[::-1].argmax(axis=0)]
        frames.append(
            grid.keys.assign(
                model=curve.model,
                seed=curve.seed,
                **{"class": names[own.codes] if len(curve.steps) >= FEWEST_CHECKPOINTS else None},
                age=age.age,
                age_low=age.low,
                age_high=age.high,
                right=right.mean(axis=0),
                first_right=np.where(ever, first, np.nan),
                last_right=np.where(ever, last, np.nan),
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    return frame[[name for name in ITEMS if name in frame]]


def _classes(grid: ItemGrid, courses: list[Courses], models: list[States], seed: int) -> pd.DataFrame:
    """How many items are of each class, and how many would be if none were ever lost, of curves that show classes."""
    rows = []
    for curve, own, model in zip(grid.curves, courses, models, strict=True):
        if len(curve.steps) < FEWEST_CHECKPOINTS:
            continue
        chance = by_chance(own, model, seed)
        total = curve.right.shape[1]
        for name, count in own.counts().items():
            rows.append((curve.model, curve.seed, name, count, count / total, chance[name]))
    return pd.DataFrame(rows, columns=CLASS_COUNTS)


def _persistent(grid: ItemGrid, courses: list[Courses], chances: list[Chances]) -> Iterator[str]:
    """Curves whose items look known where their accuracy is that of guesses: these stay the same for a while."""
    for curve, own, chance in zip(grid.curves, courses, chances, strict=True):
        worst, at, most = _CLEARLY_MORE, -1, 0.0
        for place, right in enumerate(curve.right):
            there = np.isfinite(right)
            if there.sum() < 2 or len(curve.steps) < 2:
                continue
            _, _, high = mean_interval(known(right[there], chance.at(place)[there], chance.most), 0.01)
            looks = float(own.known[place].mean())
            if looks - max(high, 0.0) > worst:
                worst, at, most = looks - max(high, 0.0), place, max(high, 0.0)
        if at >= 0:
            yield (
                f"{curve.label}: at step {curve.steps[at]:.0f} {100 * own.known[at].mean():.0f} % of the items look "
                f"known, but its accuracy allows for {100 * most:.0f} % at most: its guesses stay the same from "
                "checkpoint to checkpoint, and items that it seems to lose afterwards it may never have known."
            )


def _notes(grid: ItemGrid, models: list[States]) -> Iterator[str]:
    """What the number of checkpoints, of items and the guesses do not allow to see."""
    curves: dict[int, list[ItemCurve]] = {}
    for curve in grid.curves:
        curves.setdefault(len(curve.steps), []).append(curve)
    for count, own in curves.items():
        if count == 1:
            names = ", ".join(curve.label for curve in own)
            yield (
                f"{names}: one checkpoint has items, and classes need at least {FEWEST_CHECKPOINTS} of a model, so "
                "none is told: nothing can be seen to be learned or lost."
            )
    shortest = min(models, key=lambda model: model.price)
    lucky = float(np.median(shortest.guess))
    needed = int(np.ceil(shortest.price / (np.log1p(-shortest.slip) - np.log(lucky))))
    between = int(np.ceil(2 * shortest.price / (np.log1p(-shortest.slip) - np.log(lucky))))
    most = max(len(curve.steps) for curve in grid.curves)
    if between > most / 3 and most > 1:
        yield (
            f"With a guess right in {100 * lucky:.0f} of 100 cases, {counted(needed, 'right answer')} in a row at the "
            f"start or end of training, and {between} in between, are needed to tell knowledge from luck: of "
            f"{counted(most, 'checkpoint')} that leaves little room for losses. Counts over all items say more."
        )
    if len(grid.keys) == 1:
        yield "One item: shares have no intervals."
