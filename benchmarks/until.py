"""What `order=bisect until=settled` saves, and whether shapes and falls are those of the full sweep.

    python benchmarks/until.py suite models/tiny       # runs both sweeps of the embedded suite, in folders of their own
    python benchmarks/until.py published all_results.tsv    # replays the rounds on known values
    python benchmarks/until.py made                    # the same on made curves, with the noise of shape_confusion.py

`suite` gives the ratio of scoring time, as the journals have it, and of results; the others that of results alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from evalrun.commands.table_input import config_of
from evalrun.config.schema import AnalysisConf
from evalrun.grid.step_order import levels
from evalrun.progress.rounds import next_steps
from evalrun.statistics.findings import judge_curves
from evalrun.statistics.shapes.settling import curves_so_far
from shape_confusion import CLASSES, make_table

CURVE = ["task", "model", "seed"]
_SAMPLED = 8  # differences that are listed


def replay(rows: pd.DataFrame, conf: AnalysisConf, first: int = 2) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rounds of `until=settled` on results that are known.

    Args:
        rows: Of `table.Prepared.table`, of all steps.
        conf: Settings of the analysis.
        first: Levels that every curve gets.

    Returns:
        The rows that were asked for, and their shapes and falls.
    """
    rows = rows.reset_index(drop=True)
    places = {name: dict(zip(own["step"].astype(int), own.index, strict=True))
              for name, own in rows.groupby(["task", "model"])}  # fmt: skip
    asked = {at for own in places.values() for level in levels([*own])[:first] for at in map(own.__getitem__, level)}
    while True:
        known = rows.loc[sorted(asked)]
        decision, shapes, falls = judge_curves(known, conf)
        more: set[int] = set()
        for curve in curves_so_far(decision, shapes):
            own = next(places[key] for key in places if (str(key[0]), str(key[1])) == (curve.task, curve.model))
            more |= {own[step] for step in next_steps(curve, [*own])}
        if more <= asked:
            return known, shapes, falls
        asked |= more


def told(full: pd.DataFrame, some: pd.DataFrame, column: str) -> str:
    """How many curves agree in a column, and which do not."""
    both = full.merge(some, on=CURVE, suffixes=("", "_some"))
    unlike = both[both[column] != both[f"{column}_some"]]
    lines = [f"{column}: {len(both) - len(unlike)} of {len(full)} curves alike"]
    lines += [
        f"  {row['task']} in {row['model']}: {row[column]} in full, {row[f'{column}_some']} until settled"
        for row in unlike.head(_SAMPLED).to_dict("records")
    ]
    return "\n".join([*lines, *([f"  and {len(unlike) - _SAMPLED} more"] if len(unlike) > _SAMPLED else [])])


def replayed(rows: pd.DataFrame, conf: AnalysisConf) -> None:
    """Print what the rounds ask for of a table, and what they find."""
    _, shapes, falls = judge_curves(rows, conf)
    known, some_shapes, some_falls = replay(rows, conf)
    print(f"{len(known)} of {len(rows)} results: {len(known) / len(rows):.1%}")
    print(told(shapes, some_shapes, "label"), told(falls, some_falls, "falls"), sep="\n")


def published(file: Path) -> pd.DataFrame:
    """The study's accuracies as rows of an analysis; its tasks' sizes follow from the standard errors."""
    given = pd.read_csv(file, sep="\t")
    step = given["ModelRevision"].str.removeprefix("step").astype(int)
    size = given["ModelName"].str.rpartition("-")[2]
    n_params = size.str[:-1].astype(float) * size.str[-1].map({"m": 1e6, "b": 1e9})
    value, stderr = given["Accuracy"], given["Accuracy_SE"]
    rows = pd.DataFrame({
        "task": given["Task"], "title": given["Task"], "model": given["ModelName"], "n_params": n_params,
        "seed": np.nan, "step": step, "tokens": step * 2_097_152, "value": value, "stderr": stderr,
        "n": (value * (1 - value) / stderr**2 + 1).round(), "higher_is_better": True,
    })  # fmt: skip
    return rows.sort_values(["task", "n_params", "step"], ignore_index=True)


def made(conf: AnalysisConf, tasks: int, seed: int) -> None:
    """Print shares of made curves, one class after another and all mixed."""
    for kinds in (*((kind,) for kind in CLASSES), CLASSES):
        for points in (8, 16, 32):
            table, _ = make_table(np.random.default_rng(seed), 1000, points, tasks, kinds)
            table["task"], table["model"] = table["task"].astype(str), table["model"].astype(str)
            shapes = judge_curves(table, conf)[1].set_index(CURVE[:2])["label"]
            known, some, _ = replay(table, conf)
            alike = (some.set_index(CURVE[:2])["label"].reindex(shapes.index) == shapes).mean()
            name = kinds[0] if len(kinds) == 1 else "mixed"
            print(f"{name:<14} {points:>3} steps: {len(known) / len(table):6.1%} of results, labels alike {alike:6.1%}")


def suite(models: Path, words: list[str]) -> None:
    """Run both sweeps of the embedded suite in folders of their own, and print what the second saved."""
    with tempfile.TemporaryDirectory() as folder:
        full = _swept(Path(folder) / "full", models, words)
        some = _swept(Path(folder) / "settled", models, [*words, "order=bisect", "until=settled"])
    print(f"scoring: {some[0]['seconds'].sum():.1f} of {full[0]['seconds'].sum():.1f} s"
          f" = {some[0]['seconds'].sum() / full[0]['seconds'].sum():.1%}")  # fmt: skip
    # The clock of a busy machine is not its work: what the same results took in the full sweep is a fairer ratio.
    same = full[0].loc[full[0].index.isin(some[0].index), "seconds"].sum()
    print(f"the same results in the full sweep's own seconds: {same / full[0]['seconds'].sum():.1%}")
    print(f"results: {len(some[0])} of {len(full[0])} = {len(some[0]) / len(full[0]):.1%}")
    steps = [len(one[0].reset_index()[["model", "step"]].drop_duplicates()) for one in (some, full)]
    print(f"checkpoints loaded: {steps[0]} of {steps[1]} = {steps[0] / steps[1]:.1%}")
    print(told(full[1], some[1], "label"), told(full[2], some[2], "falls"), sep="\n")
    for column in ("peak_step", "trough_step"):
        real = full[2][full[2]["falls"]]
        print(told(real, some[2], column))


def _swept(folder: Path, models: Path, words: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A sweep of the suite: seconds by task, model, seed and step; its shapes and falls."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "tiny").symlink_to(models.absolute())
    command = [sys.executable, "-m", "evalrun", "-m", "experiment=demo", *words]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    records = [json.loads(path.read_text()) for path in folder.glob("multirun/tiny/*/*/results/*.json")]
    cells = [{**{name: one["cell"][name] for name in ("model", "seed", "step")}, "task": one["task"],
              "seconds": one["seconds"]} for one in records]  # fmt: skip
    (tables,) = folder.glob("multirun/analysis/*/tiny/tables")
    keys = ["task", "model", "seed", "step"]
    return pd.DataFrame(cells).set_index(keys), *(pd.read_csv(tables / f"{name}.csv") for name in ("shapes", "falls"))


def main() -> None:
    """Read the words, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("suite", "published", "made"))
    parser.add_argument("path", type=Path, nargs="?", help="the suite's folder, or all_results.tsv")
    parser.add_argument("--tasks", type=int, default=40, help="tasks of eight curves that are made of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", nargs="*", default=[], help="more words of both sweeps")
    given = parser.parse_args()
    if given.what != "made" and given.path is None:
        parser.error(f"{given.what} needs a path")
    if given.what == "suite":
        suite(given.path, given.words)
        return
    conf = config_of({}).analysis
    if given.what == "published":
        replayed(published(given.path), conf)
    else:
        made(conf, given.tasks, given.seed)


if __name__ == "__main__":
    main()
