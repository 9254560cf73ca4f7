"""The second half of the main path: MLflow -> tidy table -> statistics -> report, filed in MLflow again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.config.schema import Config
from evalrun.config.store_words import store_words
from evalrun.core.console import columns
from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.plain_names import slug
from evalrun.core.second_process import beside
from evalrun.core.secrets import command_line
from evalrun.core.stages import stage
from evalrun.core.task_group import Groups, TaskGroup
from evalrun.grid.logged_losses import losses_of_logs, state_of_logs
from evalrun.grid.selected_results import Selection as Selection
from evalrun.reporting.item_sources import clusters_of as clusters_of
from evalrun.reporting.item_sources import items_of as items_of
from evalrun.reporting.item_sources import with_items as with_items
from evalrun.reporting.item_sources import with_metric as with_metric
from evalrun.reporting.suite_remarks import came_in, other_tokenizers
from evalrun.reporting.task_sources import TaskSources
from evalrun.reporting.up_to_date import KeptReports
from evalrun.reporting.word_sources import correlates_of, state_of_lists
from evalrun.tracking import Store
from evalrun.tracking.filing import Filing
from evalrun.tracking.read_beside import read_suites

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.coverage import Cell, Place
    from evalrun.tracking.suite_table import SuiteTable


@dataclass(frozen=True)
class _Study:
    """Results of a suite that were scored in one way: what one report is of."""

    suite: str
    title: str  # of the report
    label: str  # how they were scored
    rows: pd.DataFrame
    whole: SuiteTable  # all of the suite
    groups: Groups
    out: Path  # folder of the report
    is_one_of_several: bool


def analyse(
    config: Config,
    folder: Path,
    selection: Selection,
    finals: Mapping[str, int] | None = None,
    command: str | None = None,
    failed: Sequence[str] = (),
) -> list[Path]:
    """Make a report for each suite, and one for each way of scoring where there are several; and one across them.

    Args:
        config: Which store and which analysis.
        folder: Where the files go: one folder a suite.
        selection: Which results.
        finals: Model -> its last released step, which is trusted where steps share weights.
        command: What was typed to make the selected sweep, without secrets: for the notes in MLflow.
        failed: Why jobs of the sweep have no result, a sentence each: for the report's notes.

    Returns:
        The reports.

    Raises:
        AnalysisError: nothing to analyse.
        TrackingError: the store cannot be read.
    """
    store, sources = Store(config.tracking), TaskSources(config, clusters_of(config))
    with stage("what has changed"):
        inputs = _inputs(config, store, selection, finals, command, failed)
        kept = KeptReports(folder, store.state(), inputs, sources.digest)
        pages = kept.all_of_them()
    if pages is not None:
        print(f"{_are_up_to_date(pages)}: nothing has changed since the last analysis.")
        return pages
    made = (selection.sweep, command) if selection.sweep and command else None
    reports = []
    with Filing(store) as filing:
        suites = store.suites()
        studies = list(_studies(config, store, sources, selection, folder, kept, filing, made))
        families, is_one = {one.title: one.rows for one in studies}, len({one.suite for one in studies}) < 2
        from evalrun.reporting.families_page import write_across

        page_across = partial(write_across, folder / "_families", families, config.analysis, finals)
        with beside(page_across, stays_here=is_one, can_wait=True) as read_across:
            for one in studies:
                if one.is_one_of_several:
                    print(f"{one.title}\n")
                if (page := kept.page_of(one.title, one.suite)) is not None:
                    print(f"{_are_up_to_date([page])}: its results have not changed.")
                else:
                    sources.begin()
                    context = {"Tracking store": store.uri, "Checkpoints": selection.describe(), "Scored by": one.label}
                    files, run = _report(
                        config, store, sources, filing, one, context, finals, failed, *selection.grid_of(one.suite)
                    )
                    page = files["report.html"]
                    kept.made(one.title, one.suite, page, files.values(), run, sources.read())
                reports.append(page)
            with stage("across families"):
                across = read_across()
        if across:
            print(f"across {len(families)} families, over training compute: {across[0]}")
        with stage("waiting for MLflow"):
            is_unwritten = filing.end(reports)
        with stage("what has changed"):
            kept.close(across, selection.suite is not None or suites == store.suites(), is_unwritten)
    print(f"curves and runs: {command_line(['ui', *store_words(store.conf)])}")
    return reports


def _inputs(
    config: Config,
    store: Store,
    selection: Selection,
    finals: Mapping[str, int] | None,
    command: str | None,
    failed: Sequence[str],
) -> tuple[object, ...]:
    """All that goes into reports beside the store and what `TaskSources` reads."""
    tasks = selection.task_names(), list(selection.named_groups().values())
    told = selection, tasks, sorted((finals or {}).items()), command, list(failed)
    given = state_of_logs(config.analysis.x), state_of_lists(config.analysis.word_predictors)
    return config.analysis, *given, store.uri, *told


def _with_groups(
    store: Store, selection: Selection, suite: str, whole: SuiteTable
) -> tuple[SuiteTable, dict[str, TaskGroup]]:
    """The groups of a suite, those that were named noted in the store; and the table, whose digest tells of them."""
    if store.groups.record(suite, selection.named_groups()):
        whole = store.read(suite)
    return whole, selection.groups(store.groups.of(suite))


def _studies(
    config: Config,
    store: Store,
    sources: TaskSources,
    selection: Selection,
    folder: Path,
    kept: KeptReports,
    filing: Filing,
    made: tuple[str, str] | None,
) -> Iterator[_Study]:
    """What reports are of, suite by suite; the curves of each are brought up to date meanwhile.

    Args:
        config: As for `analyse`.
        store: Where the results are.
        sources: Of the texts of items.
        selection: As for `analyse`.
        folder: As there.
        kept: Is told what was read.
        filing: Files the curves.
        made: A sweep and the command that made it.

    Raises:
        AnalysisError: nothing to analyse.
        TrackingError: the store cannot be read.
    """
    for suite, whole, table in _selected(store, selection, _import_analysis):
        from evalrun.statistics.ways_of_scoring import studies_of

        whole, groups = _with_groups(store, selection, suite, whole)
        kept.saw(suite, whole.digest)
        with stage("curves in MLflow"):
            filing.rebuild_curves(suite, made, whole)
        ways = studies_of(table)
        for label, rows in ways.items():  # results of float16 and of float32, say, are two studies
            title, out = suite, folder / slug(suite)
            if len(ways) > 1:
                title, out = f"{suite} ({label})", out / slug(label.replace(" ", "-"))
            rows = with_metric(config, store, rows, sources.words)
            yield _Study(suite, title, label, rows, whole, groups, out, len(ways) > 1)


def _are_up_to_date(pages: Sequence[Path]) -> str:
    if len(pages) == 1:
        return f"the report {pages[0]} is up to date"
    return f"the {len(pages)} reports are up to date ({', '.join(map(str, pages))})"


def tables(store: Store, selection: Selection) -> dict[str, pd.DataFrame]:
    """Suite -> its selected rows, with the columns of `columns.TABLE_COLUMNS`; suites without any are left out.

    Raises:
        ConfigError, AnalysisError: they were scored otherwise than is asked for; there are no such results.
        TrackingError: the store cannot be read.
    """
    return {suite: table for suite, _, table in _selected(store, selection)}


@stage("libraries")
def _import_analysis() -> None:
    from evalrun.reporting import build  # noqa: F401


def _selected(
    store: Store, selection: Selection, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, SuiteTable, pd.DataFrame]]:
    """Each suite with all its results and its selected rows, as `tables`; `meanwhile` as for `read_suites`.

    Raises:
        ConfigError, AnalysisError: they were scored otherwise than is asked for; there are no such results.
        TrackingError: the store cannot be read.
    """
    suites = store.suites()
    if selection.suite is not None and selection.suite not in suites:
        raise AnalysisError(
            f"no results of suite '{selection.suite}' in {store.uri}: {suggest(selection.suite, suites)}"
        )
    if not suites:
        raise AnalysisError(f"no results in {store.uri} yet: evaluate something first, for example with `make demo`.")
    wanted = [selection.suite] if selection.suite else suites
    is_empty, ways = True, set[str]()
    for suite, whole in read_suites(store, wanted, meanwhile):
        table = selection.of(all_of_sweep := whole.of(selection.sweep))
        ways |= selection.other_ways(all_of_sweep)
        if not table.empty:
            is_empty = False
            yield suite, whole, table
    if is_empty:
        selection.refuse_way(ways)
        what, status = selection.asked_for(), command_line(["status", *store_words(store.conf)])
        raise AnalysisError(f"no results of what was asked for ({what}) in {store.uri}: `{status}` says what there is.")


def _report(
    config: Config,
    store: Store,
    sources: TaskSources,
    filing: Filing,
    study: _Study,
    context: Mapping[str, str],
    finals: Mapping[str, int] | None,
    failed: Sequence[str],
    wanted: Sequence[Place] | None,
    settled: Sequence[Cell],
) -> tuple[Mapping[str, Path], Callable[[], str]]:
    """Analyse a table, file the report in MLflow and print the summary.

    Args:
        config: Settings of the analysis.
        store: Where items are read.
        sources: Where texts and clusters of items are read.
        filing: Where the report is filed.
        study: The rows to analyse.
        context: What the page says of where the rows are from: name -> words.
        finals: Model -> its last released step, where known.
        failed: Labels of checkpoints that have no result, for the page.
        wanted: The checkpoints that should be there; None where nothing says which.
        settled: What of them was not computed, because `until=` found the shape without it.

    Returns:
        Its files by name, and what gives the run that it is filed as.

    Raises:
        AnalysisError: nothing can be fitted.
        TrackingError: the store cannot be read or written.
    """
    from evalrun.reporting.build import run_analysis

    table, suite, width = study.rows, study.suite, min(100, max(80, columns(100)))
    with stage("words"):
        correlates, told = correlates_of(config, store, table)
    with items_of(config, store, table, sources.words) as items:
        found = run_analysis(
            *(table, config.analysis, study.title, study.out, {**context, **came_in(study.whole, table)}),
            *(finals, items, store.run_address(suite), width),
            failed=failed,
            remarks=other_tokenizers(study.whole, table),
            wanted=wanted,
            settled=settled,
            clusters=sources.clusters,
            words=sources.words,
            groups=study.groups,
            logged=losses_of_logs(config.analysis.x, table),
            word_correlates=correlates,
        )
    settings = {"params": config.analysis.params, "checkpoints": context["Checkpoints"], "scored": context["Scored by"]}
    with stage("the report in MLflow"):
        run = filing.log_report(suite, found.files, found.metrics, settings)
    print(found.text)
    notes = [*found.notes, *told]
    print(*notes, sep="\n", end="\n\n" if notes else "")
    print(f"report: {found.files['report.html']}")
    return found.files, run
