"""`verify BUNDLE [DIGEST]`: whether it is whole, unchanged, and says what its own items say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalrun.commands.bundle import bundle_files
from evalrun.commands.bundle.bundle_files import Manifest
from evalrun.core.errors import ConfigError
from evalrun.core.progress_line import watched
from evalrun.core.records import TaskResult
from evalrun.core.stages import stage
from evalrun.core.text import counted
from evalrun.journal import result_files

_SHOWN = 20  # problems; more are counted


def command(words: Sequence[str]) -> int:
    """`verify`: 0 it is what it was and its numbers are its items'; 1 it is not.

    Raises:
        ConfigError: no bundle is named.
    """
    if not 1 <= len(words) <= 2 or any("=" in word and not Path(word).exists() for word in words):
        raise ConfigError("verify takes a bundle and, where you have it, its digest: python -m evalrun verify FOLDER.")
    path = Path(words[0])
    wanted = words[1].lower() if len(words) == 2 else None
    if wanted is not None and (len(wanted) < 12 or set(wanted) - set("0123456789abcdef")):
        raise ConfigError(f"'{words[1]}' is no digest: 12 to 64 characters of 0-9 and a-f, as `bundle` printed it.")
    with watched("verify"), bundle_files.opened(path) as folder:
        manifest, digest = Manifest.read(folder), bundle_files.digest_of(folder)
        problems = [] if wanted is None or digest.startswith(wanted) else [f"its digest is {digest}, not '{wanted}'."]
        with stage("reading files"):
            problems += bundle_files.altered(folder)
        with stage("computing metrics from items"):
            results, again, more = _results_are_their_items(folder, manifest)
        problems += more
    for sentence in problems[:_SHOWN]:
        print(f"evalrun: {path}: {sentence}", file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"evalrun: {path}: {len(problems) - _SHOWN:,} more.", file=sys.stderr)
    if problems:
        return 1
    print(f"{path}: made {manifest.made} by evalrun {manifest.version}, digest {digest}")
    repeated = f"{counted(again, 'metric')} computed again from items"
    print(f"{counted(results, 'result')}, whole and unchanged; {repeated}: equal")
    if wanted is None:
        print("that it is the one which was published, only a digest from elsewhere can tell: verify BUNDLE DIGEST")
    return 0


def records(folder: Path) -> Iterator[tuple[Path, TaskResult | None]]:
    """The records of an open bundle, each with its file; None for one that cannot be read."""
    for path in sorted((folder / bundle_files.RUNS).rglob(f"{result_files.FOLDER}/*.json")):
        yield path, result_files.record_of(path)


def _results_are_their_items(folder: Path, manifest: Manifest) -> tuple[int, int, list[str]]:
    """How many results there are, how many metrics were computed again from items, and what differs."""
    import pandas as pd

    from evalrun.statistics.items.values import item_values

    count, again, problems = 0, 0, []
    table = _values(folder)
    for path, result in records(folder):
        name = path.relative_to(folder).as_posix()
        if result is None:
            problems.append(f"{name} is no record of a result.")
            continue
        count += 1
        job = path.parents[1]
        problems += [
            f"{name}: {metric} is {value:.10g}, and {bundle_files.TABLE} says {table[result.key, metric]:.10g}."
            for metric, value in result.metrics.items()
            if (result.key, metric) in table and abs(table[result.key, metric] - value) > 1e-9 * max(1, abs(value))
        ]
        items = result_files.items_path(job, result)
        if not items.is_file():
            continue
        if not result_files.is_whole(job, result):
            problems.append(f"{name}: its items are not those that it was computed from.")
            continue
        metric = result.primary_metric
        try:
            found = item_values(pd.read_parquet(items), metric)
        except (OSError, ValueError) as error:
            problems.append(f"{items.name} cannot be read ({error}).")
            continue
        if found is None or metric not in result.metrics:
            continue
        again += 1
        if not found.average_to(result.metrics[metric]):
            mean = found.values.mean()
            problems.append(f"{name}: {metric} is {result.metrics[metric]:.6g}, and its items say {mean:.6g}.")
    said = sum(manifest.results.values())
    if count < said:
        problems.append(f"{bundle_files.MANIFEST} names {counted(said, 'result')}, and {count:,} are there.")
    return count, again, problems


def _values(folder: Path) -> dict[tuple[str, str], float]:
    """What results.csv says of each result: key and metric -> value; nothing where it cannot be read."""
    import pandas as pd

    try:
        rows = pd.read_csv(folder / bundle_files.TABLE, usecols=["task_key", "metric", "value"])
    except (OSError, ValueError):
        return {}
    return dict(zip(zip(rows["task_key"], rows["metric"], strict=True), rows["value"], strict=True))
