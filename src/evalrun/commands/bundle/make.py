"""`bundle FOLDER`: the reports, the table, records, items and configs of results in the store, in one place."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.analyze import WHICH, reports_folder, select
from evalrun.commands.bundle import bundle_files
from evalrun.commands.bundle.bundle_files import Manifest
from evalrun.commands.own_words import take_own_words
from evalrun.commands.selecting_words import refuse_unselecting
from evalrun.config.compose import hydra_session
from evalrun.core import garbage
from evalrun.core.atomic import draft_beside
from evalrun.core.errors import ConfigError, StorageError
from evalrun.core.plain_names import slug
from evalrun.core.progress_line import watched
from evalrun.core.records import TaskResult
from evalrun.core.second_process import on_two_cores
from evalrun.core.secrets import command_line
from evalrun.core.stages import stage
from evalrun.core.text import counted
from evalrun.core.version import __version__
from evalrun.grid import planning
from evalrun.journal import result_files
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.tracking.filed_results import FiledRun

WITHOUT_ITEMS = "--without-items"
_ZIP = ".zip"


def command(words: Sequence[str]) -> int:
    """`bundle`: 0 all is in it; 1 the store has results without a record, which were named.

    Raises:
        ConfigError: no place is named, one that holds something else, or words that cannot be right.
        AnalysisError: there is nothing to put into it.
        StorageError: it cannot be written.
    """
    places = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(places) != 1:
        raise ConfigError(
            f"bundle takes one folder or .zip to make, not {len(places)}: python -m evalrun bundle shared.zip."
        )
    target = Path(places[0])
    if (target.exists() or target.is_symlink()) and not bundle_files.is_bundle(target):
        raise ConfigError(f"'{target}' is there and no bundle: name another place, or move it away.")
    own, rest = take_own_words((word for word in words if "=" in word), WHICH)
    with watched("bundle"), garbage.rarer_search(), on_two_cores(), hydra_session():
        return _make(target, words, rest, own)


def _make(target: Path, words: Sequence[str], rest: Sequence[str], own: Mapping[str, str]) -> int:
    """Make the reports where they are not up to date, and then the bundle, beside its place until it is whole."""
    refuse_unselecting("bundle", rest)
    plan, selection = select(rest, own.get("suite"), own.get("sweep"), own.get("scored"))
    folder = reports_folder(plan, selection)
    with contextlib.redirect_stdout(io.StringIO()):
        pages = study.analyse(plan.config, folder, selection, planning.final_steps())
    store = Store(plan.config.tracking)
    tables = study.tables(store, selection)
    has_items = WITHOUT_ITEMS not in words
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    draft = draft_beside(target.absolute())
    inside = draft / (target.name.removesuffix(_ZIP) or "bundle")
    try:
        with stage("writing the bundle"):
            inside.mkdir(parents=True)
            reports = _copy_reports(folder, pages, inside)
            lacking, places = _write_runs(store, tables, inside, has_items)
            manifest = Manifest(
                name=inside.name,
                made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                version=__version__,
                command=command_line(["bundle", *words]),
                results={suite: len(_results_in(table)) for suite, table in tables.items()},
                items=has_items,
                groups={suite: [asdict(one) for one in store.groups.of(suite).values()] for suite in tables},
            )
            _write_words(inside, tables, manifest, reports)
            digest = bundle_files.digest_of(inside)
            _put(inside, target)
    except OSError as error:
        raise StorageError(f"the bundle '{target}' cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _say(target, tables, reports, digest, places)
    for sentence in lacking:
        print(f"left out: {sentence}")
    return 1 if lacking else 0


def _results_in(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop_duplicates(["run_id", "task"])[["run_id", "task"]]


def _copy_reports(folder: Path, pages: Sequence[Path], inside: Path) -> list[str]:
    """Copy the reports, each with what lies beside it; returns the pages' names below the bundle."""
    copied = []
    across = folder / "_families" / "report.html"
    for page in [*pages, *([across] if across.is_file() else [])]:
        below = Path(bundle_files.REPORT) / page.parent.relative_to(folder)
        shutil.copytree(page.parent, inside / below, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        copied.append((below / page.name).as_posix())
    return copied


def _write_runs(
    store: Store, tables: Mapping[str, pd.DataFrame], inside: Path, has_items: bool
) -> tuple[list[str], list[str]]:
    """Write the selected results of each run.

    Args:
        store: Where they are.
        tables: Suite -> selected rows.
        inside: The bundle.
        has_items: Whether items go with them.

    Returns:
        A sentence for each run of which the store has no record of something, and the folders of this machine that
        the records name.
    """
    lacking: list[str] = []
    places: set[str] = set()
    for suite, table in tables.items():
        wanted = _results_in(table).groupby("run_id")["task"].agg(set).to_dict()
        entries = [entry for entry in store.past(suite) if entry.run_id in wanted]
        for run in store.whole_runs(entries):
            tasks = wanted[run.entry.run_id]
            for result in _write_run(run, tasks, inside / bundle_files.RUNS / slug(suite), has_items):
                places |= _named_folders(result)
            missing = sorted(tasks & set(run.lacking))
            if missing:
                said = run.entry.checkpoint.label if run.entry.checkpoint is not None else run.entry.run_id
                lacking.append(f"{said}: the store has no record of {', '.join(missing)}.")
    return lacking, sorted(places)


def _write_run(run: FiledRun, tasks: set[str], parent: Path, has_items: bool) -> Iterator[TaskResult]:
    """Write one run's results as a journal has them; yields each."""
    for result, items in run.results:
        if result.task not in tasks:
            continue
        cell = result.cell
        model = cell.model if cell.seed is None else f"{cell.model}-seed{cell.seed}"
        folder = parent / slug(model) / f"step{cell.step}-{result.run_key[:12]}"
        (folder / result_files.FOLDER).mkdir(parents=True, exist_ok=True)
        if has_items and items is not None:
            shutil.copyfile(items, result_files.items_path(folder, result))
        result_files.write_record(folder, result)
        if run.config_yaml is not None:
            result_files.write_config(folder, result.run_key, run.config_yaml)
        yield result


def _named_folders(result: TaskResult) -> set[str]:
    """The folders of this machine that a record names."""
    named = [result.settings.get("folder"), result.cell.tokenizer]
    named += [result.cell.location] if result.cell.revision is None else []
    return {str(place) for place in named if place and os.path.isabs(str(place))}


def _write_words(inside: Path, tables: Mapping[str, pd.DataFrame], manifest: Manifest, reports: Sequence[str]) -> None:
    """The table, the page, what a person reads first, the manifest, and last the sums of all."""
    import pandas as pd

    from evalrun.reporting.bundle_page import bundle_page
    from evalrun.reporting.csv_text import csv_text

    counts = {suite: (len(_results_in(rows)), rows["run_id"].nunique()) for suite, rows in tables.items()}
    (inside / bundle_files.TABLE).write_text(csv_text(pd.concat(tables.values(), ignore_index=True)))
    (inside / bundle_files.PAGE).write_text(bundle_page(manifest.name, manifest.made, counts, reports, manifest.items))
    (inside / bundle_files.README).write_text(_readme(manifest))
    (inside / bundle_files.MANIFEST).write_text(manifest.to_json())
    (inside / bundle_files.SUMS).write_text(bundle_files.sums_text(inside))


def _readme(manifest: Manifest) -> str:
    """What README.txt says to a person who has never heard of evalrun."""
    items = "with per-item results" if manifest.items else "without per-item results"
    results = f"{sum(manifest.results.values()):,} results"
    return f"""{manifest.name}: {results} {items}, made {manifest.made} by evalrun {manifest.version}

Open index.html in a browser: it leads to the reports, which need no network. results.csv is the table of all results.
runs/ has a folder a checkpoint: what was scored and how (JSON), the answers to each item (Parquet), the config (YAML).

Whether a file was changed since:   sha256sum --check --quiet SHA256SUMS
The same, and the numbers too:      python -m evalrun verify .
Into a store of your own:           python -m evalrun ingest .
"""


def _put(inside: Path, target: Path) -> None:
    """Put the finished bundle in its place; an earlier one is there until then."""
    place = target.absolute()
    ready = inside
    if target.suffix.lower() == _ZIP:
        ready = inside.parent / "ready.zip"
        with zipfile.ZipFile(ready, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in [*bundle_files.files_of(inside), bundle_files.SUMS]:
                archive.write(inside / name, f"{inside.name}/{name}")
    if place.is_dir():
        place.rename(inside.parent / "before")
    ready.rename(place)


def _say(
    target: Path, tables: Mapping[str, pd.DataFrame], reports: Sequence[str], digest: str, places: Sequence[str]
) -> None:
    """Print what is in it, how large it is, what it tells of this machine, and its digest."""
    for suite, rows in tables.items():
        checkpoints = counted(rows["run_id"].nunique(), "checkpoint")
        print(f"{suite}: {counted(len(_results_in(rows)), 'result')} of {checkpoints}")
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"bundle: {target} ({size / 1e6:.1f} MB), with {counted(len(reports), 'report')}")
    if places:
        print(f"it names {counted(len(places), 'folder')} of this machine, such as '{places[0]}'")
    print(f"say its digest where you say its address: {command_line(['verify', str(target), digest])}")
