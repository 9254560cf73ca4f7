"""What it costs to follow every item of a large task: 10,000 items x 154 checkpoints x 8 models, 12.3 million answers.

    python benchmarks/items.py                       # all of it: some minutes, most of them to make 1,232 files
    python benchmarks/items.py --items 500 --json items.json

Items are made with known courses (learned at some age, some lost again) and four choices each, and written as Parquet
files as scoring writes them. `dynamics` reads them and makes all that `evalrun items` shows: courses, classes, ages,
shares learned and lost, agreement, the answers of the falls. `page` does the same, keeps the probabilities of all
choices too, and writes the page that shows every item, each with a prompt of some 400 characters. `pandas` reads one
column of the same files and counts what changed from checkpoint to checkpoint by a plain groupby, without guesses,
margins, classes or models compared. Each runs in a process of its own; told are its seconds, seconds of processor, and
the most memory that it held, and the size of the page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CHOICES = 4
PAGE = "page.html"
SEED = 1


@dataclass(frozen=True)
class Spent:
    """What one way took."""

    seconds: float
    processor: float
    peak_mb: float
    result: dict[str, float]  # what it found, to be seen to be the same


def made_rows(models: int, checkpoints: int, items: int) -> pd.DataFrame:
    """Rows of the tidy table; a result's run id is the name of its file."""
    model, step = (axis.ravel() for axis in np.indices((models, checkpoints)))
    tokens = np.round(np.geomspace(2e6, 3e11, checkpoints))
    return pd.DataFrame(
        {
            "suite": "made", "model": [f"m{place}" for place in model], "n_params": 1e8 * 2.0**model, "seed": np.nan,
            "step": step + 1.0, "tokens": tokens[step], "task": "made", "title": "Made", "metric": "acc", "value": 0.5,
            "chance": 1 / CHOICES, "n": items, "run_id": [f"{a}-{b}" for a, b in zip(model, step, strict=True)],
        }
    )  # fmt: skip


def write_items(folder: Path, models: int, checkpoints: int, items: int) -> None:
    """The per-item files of all results: a third is known from the start, the others are learned, a fifth is lost."""
    random = np.random.default_rng(SEED)
    gold = random.integers(0, CHOICES, items)
    hashes = [f"{place:064x}" for place in range(items)]
    fixed = {
        "doc_id": pa.array(np.arange(items)),
        "target": pa.array([str(place) for place in gold]),
        "filter": pa.array(["none"] * items).dictionary_encode().cast(pa.string()),
        **{name: pa.array(hashes) for name in ("doc_hash", "prompt_hash", "target_hash")},
    }
    at = (np.arange(items), gold)
    hard = random.random(items)
    for model in range(models):
        age = np.clip((hard + random.normal(0, 0.1, items)) * checkpoints * (1.2 - 0.05 * model), 0, None)
        lost = np.where(random.random(items) < 0.2, age + random.integers(5, 60, items), np.inf)
        for step in range(checkpoints):
            logprobs = random.normal(-20, 2, (items, CHOICES))
            logprobs[at] += np.where((step >= age - checkpoints / 3) & (step < lost), 8, 0)
            right = logprobs.argmax(axis=1) == gold
            lists = pa.ListArray.from_arrays(np.arange(items + 1, dtype=np.int32) * CHOICES, logprobs.ravel())
            own = {"prediction": logprobs.argmax(axis=1), "logprobs": lists, "acc": right.astype(np.float64)}
            pq.write_table(pa.table({**fixed, **own}), folder / f"{model}-{step}.parquet")


def dynamics(folder: Path, rows: pd.DataFrame, has_page: bool = False) -> dict[str, float]:
    """All that `evalrun items` shows, and its page."""
    from evalrun.reporting.item_page import render_items
    from evalrun.statistics.dynamics.distractors import ItemWords
    from evalrun.statistics.dynamics.item_dynamics import ItemSettings, Turn, item_dynamics
    from evalrun.statistics.dynamics.item_grid import read_grid
    from evalrun.statistics.dynamics.packed_items import pack

    def tables(run_id: str, task: str, columns: Sequence[str]) -> pa.Table:
        with pq.ParquetFile(folder / f"{run_id}.parquet") as file:
            return file.read(columns=[name for name in columns if name in file.schema_arrow.names])

    grid = read_grid(rows, tables, with_shares=has_page)
    assert not isinstance(grid, str), grid
    last = float(rows["step"].max())
    turns = [Turn(curve.model, np.nan, max(1.0, last // 2), last, np.nan, 1) for curve in grid.curves]
    found = item_dynamics(grid, turns, tables, None, ItemSettings(None, 0.05, 0.05, "fdr_bh", 0))
    if has_page:
        asked = [made_prompt(place) for place in range(len(grid.keys))]
        columns = {"kind": tuple(f"kind {place % 12}" for place in range(len(grid.keys)))}
        words = ItemWords((("one", "two", "three", "four"),) * len(asked), columns, tuple(asked))
        page = render_items(pack(grid, found.courses, found.items), "Made", "made", words, found.notes)
        (folder / PAGE).write_text(page)
    near = found.transitions[found.transitions["kind"] == "neighbours"]
    return {"wrong to right": near["wrong_to_right"].sum(), "right to wrong": near["right_to_wrong"].sum()}


def made_prompt(place: int) -> str:
    """Words in no order, other ones for each item."""
    random = np.random.default_rng(place)
    return " ".join(f"word{number}" for number in random.integers(0, 5000, 45))


def plain_pandas(folder: Path, rows: pd.DataFrame) -> dict[str, float]:
    """Counts of changed answers by a plain groupby."""
    frames = []
    for row in rows.itertuples():
        frame = pd.read_parquet(folder / f"{row.run_id}.parquet", columns=["doc_id", "acc"])
        frames.append(frame.assign(model=row.model, step=row.step))
    every = pd.concat(frames, ignore_index=True).astype({"model": "category"}).sort_values("step", kind="stable")
    change = every.groupby(["model", "doc_id"], observed=True, sort=False)["acc"].diff()
    return {"wrong to right": float((change > 0).sum()), "right to wrong": float((change < 0).sum())}


def _timed(work: Callable[[], dict[str, float]], answer: Any) -> None:
    """Run in a process of its own and send what it took."""
    start = time.perf_counter()
    result = work()
    seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    numbers = {name: float(value) for name, value in result.items()}
    answer.send(Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, numbers))


def spent(work: Callable[[], dict[str, float]]) -> Spent:
    """What some work takes, in a process that starts fresh; its seconds count from when that has started."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_timed, args=(work, theirs))
    process.start()
    theirs.close()
    found: Spent = mine.recv()
    process.join()
    return found


def main() -> None:
    """Make the items, follow them in both ways, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--checkpoints", type=int, default=154)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--keep", type=Path, help="copy the page to this file, to look at it")
    given = parser.parse_args()
    rows = made_rows(given.models, given.checkpoints, given.items)
    with tempfile.TemporaryDirectory(prefix="evalrun-items-") as name:
        folder = Path(name)
        write_items(folder, given.models, given.checkpoints, given.items)
        found = {
            "dynamics": spent(partial(dynamics, folder, rows)),
            "page": spent(partial(dynamics, folder, rows, has_page=True)),
            "pandas": spent(partial(plain_pandas, folder, rows)),
        }
        megabytes = (folder / PAGE).stat().st_size / 1e6
        if given.keep is not None:
            shutil.copy(folder / PAGE, given.keep)
    answers = given.items * len(rows)
    print(f"{given.items:,} items x {given.checkpoints} checkpoints x {given.models} models: {answers:,} answers")
    for way, one in found.items():
        print(f"{way:<10} {one.seconds:7.1f} s {one.processor:7.1f} s of processor {one.peak_mb:8,.0f} MB")
    ratio = found["dynamics"].seconds / found["pandas"].seconds
    same = found["dynamics"].result == found["page"].result == found["pandas"].result
    print(f"the page is a file of {megabytes:.1f} MB")
    print(
        f"dynamics takes {ratio:.2f} times as long; the counts of changed answers are {'equal' if same else 'UNLIKE'}"
    )
    if given.json is not None:
        told = {way: asdict(one) for way, one in found.items()}
        asked = {"items": given.items, "checkpoints": given.checkpoints, "models": given.models}
        given.json.write_text(
            json.dumps({**asked, **told, "page_mb": megabytes, "ratio": ratio, "same": same}, indent=1)
        )


if __name__ == "__main__":
    main()
