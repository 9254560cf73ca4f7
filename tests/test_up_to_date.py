"""An analysis in which nothing has changed is not made again, and one in which anything has is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from evalrun import study
from evalrun.commands.table_input import config_of
from evalrun.config.schema import Config
from evalrun.core import receipt
from evalrun.core.atomic import write_file
from evalrun.core.errors import AnalysisError, TrackingError
from evalrun.core.second_process import on_two_cores
from evalrun.core.task_group import TaskGroup
from evalrun.reporting import build
from evalrun.reporting.task_sources import TaskSources
from evalrun.tracking import Store
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.database_server import DatabaseServer
from evalrun.tracking.file_state import FileState
from evalrun.tracking.sql_sources import ServerSource
from tracking.conftest import make_cell, make_result

pytestmark = pytest.mark.usefixtures("databases")

SIZES = {"small": 70_000_000, "middle": 410_000_000, "big": 1_400_000_000}
EVERYTHING = study.Selection()


def table_alone(table: pd.DataFrame, conf: object, title: str, out: Path, *_: Any, **__: Any) -> build.Analysis:
    """In place of a report: its table."""
    files = {"report.html": f"<html>{title}", "effects.csv": "", "results.csv": table.to_csv()}
    return build.Analysis({name: write_file(out / name, text) for name, text in files.items()}, {}, "", [])


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is its table here, which is what these tests look at; the test of several suites makes the real ones."""
    if "release" not in request.keywords:
        monkeypatch.setattr(build, "run_analysis", table_alone)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    settings = {"methods": ["ols"], "sensitivity": False, "tracking.root": str(tmp_path / "mlruns")}
    return config_of(settings)


@pytest.fixture
def store(config: Config, tmp_path: Path) -> Store:
    found = Store(config.tracking)
    found.check()
    deliver(found, tmp_path, [1000, 2000, 4000, 8000])
    return found


def deliver(store: Store, folder: Path, steps: list[int], suite: str = "pythia", value: float = 0.3) -> None:
    results = []
    for number, (model, size) in enumerate(SIZES.items()):
        for step in steps:
            cell = make_cell(model, step, size, suite=suite, n_params_nominal=size)
            accuracy = {"acc": value + number / 50 + (step // 1000) ** 1.3 / 100}
            given = {
                "key": f"{suite}-{model}-{step}",
                "run_key": f"run-{suite}-{model}-{step}",
                "stderrs": {"acc": 0.01},
            }
            results.append(make_result(folder / "journal", "memo_trap", cell, metrics=accuracy, **given))
    store.deliver_many(results)


def analyse(config: Config, tmp_path: Path) -> tuple[list[Path], int]:
    """The pages, and how many reports were made now."""
    client = MlflowClient(Store(config.tracking)._link.uri)
    reports = []
    for _ in range(2):
        ids = [e.experiment_id for e in client.search_experiments() if e.name.endswith("-report")]
        reports.append(len(client.search_runs(ids)) if ids else 0)
        if len(reports) == 1:
            pages = study.analyse(config, tmp_path / "analysis", EVERYTHING)
    return pages, reports[1] - reports[0]


GROUPS = {"two": TaskGroup("two", "Two", ("memo_trap", "other"))}


def edit_a_value(config: Config) -> None:
    with sqlite3.connect(Path(config.tracking.root) / "mlflow.db") as database:
        database.execute("UPDATE latest_metrics SET value = 0.123 WHERE key = 'acc/memo_trap' AND step = 1000")
    database.close()


def touch_items(tmp_path: Path) -> None:
    path = next((tmp_path / "mlruns").rglob("items/*.parquet"))
    os.utime(path, ns=(1, 1))


def test_nothing_has_changed(
    config: Config, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, made = analyse(config, tmp_path)
    assert made == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "analysis").rglob("*")}
    assert capsys.readouterr().out.endswith(f"python -m evalrun ui tracking.root={config.tracking.root}\n")
    monkeypatch.setattr(Store, "read", None)  # no result is read, and MLflow is not asked for anything
    monkeypatch.setattr(Store, "check", None)
    assert analyse(config, tmp_path) == (pages, 0)
    assert (
        capsys.readouterr().out
        == f"the report {pages[0]} is up to date: nothing has changed since the last analysis.\n"
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "analysis").rglob("*")} == before


def test_what_is_not_there_is_looked_for_in_the_same_store(config: Config, store: Store, tmp_path: Path) -> None:
    asked = study.Selection(cells=[])
    said = rf"no results .*`python -m evalrun status tracking\.root={config.tracking.root}` says what there is"
    with pytest.raises(AnalysisError, match=said):
        study.analyse(config, tmp_path / "analysis", asked)


@pytest.mark.parametrize("beside", [True, False])
def test_reports_are_made_where_none_can_be_filed(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """As with a login that may only read; nothing more is asked of a server that refused once."""
    deliver(store, tmp_path, [1000, 2000], "other")
    asked = []

    def refuse(_: Store, suite: str, *__: Any) -> None:
        asked.append(suite)
        raise TrackingError("no right to that.")

    monkeypatch.setattr(Store, "rebuild_curves", refuse)
    monkeypatch.setattr(Store, "log_report", refuse)
    pages = [tmp_path / "analysis" / suite / "report.html" for suite in ("other", "pythia")]
    said = f"no right to that. The reports are made all the same: {pages[0]}, {pages[1]}."
    for _ in range(2):  # what was not filed is not taken for up to date
        asked.clear()
        with on_two_cores() if beside else contextlib.nullcontext(), pytest.raises(TrackingError) as caught:
            study.analyse(config, tmp_path / "analysis", EVERYTHING)
        assert str(caught.value) == said
        assert all(page.is_file() for page in pages)
        assert asked == ([] if beside else ["other"])  # beside, it is another process that asks


CHANGES: dict[str, Callable[[Config, Path], object]] = {
    "another checkpoint": lambda config, tmp_path: deliver(Store(config.tracking), tmp_path, [16_000]),
    "a value that a person edits": lambda config, tmp_path: edit_a_value(config),
    "a group of tasks": lambda config, tmp_path: Store(config.tracking).groups.record("pythia", GROUPS),
    "a file of items": lambda config, tmp_path: touch_items(tmp_path),
    "a file that came out": lambda config, tmp_path: (tmp_path / "analysis/pythia/effects.csv").write_text("x"),
    "a file that is gone": lambda config, tmp_path: (tmp_path / "analysis/pythia/report.html").unlink(),
    "the receipt": lambda config, tmp_path: (tmp_path / "analysis/made.json").write_text('{"pythia": {"key": 1}}'),
    "a deleted run": lambda config, tmp_path: MlflowClient(Store(config.tracking).uri).delete_run(
        Store(config.tracking).table("pythia")["run_id"].iloc[-1]
    ),
    "a setting": lambda config, tmp_path: setattr(config.analysis, "alpha", 0.01),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_made_again(config: Config, store: Store, tmp_path: Path, change: str) -> None:
    analyse(config, tmp_path)
    CHANGES[change](config, tmp_path)
    pages, made = analyse(config, tmp_path)
    assert made == 1
    assert "<html" in pages[0].read_text()
    assert analyse(config, tmp_path) == (pages, 0)


def test_another_version_makes_it_again(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(config, tmp_path)
    monkeypatch.setattr(receipt, "_code", lambda: "the next version")
    assert analyse(config, tmp_path)[1] == 1


def test_a_report_that_was_deleted_is_filed_again(config: Config, store: Store, tmp_path: Path) -> None:
    analyse(config, tmp_path)
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia-report").experiment_id])
    client.delete_run(run.info.run_id)
    assert analyse(config, tmp_path)[1] == 1


def texts_shown(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    """A report is the choices of an item and the clusters of the task `mine`, as its file has them."""

    def choices_alone(*given: Any, words: Any, clusters: Any, **_: Any) -> build.Analysis:
        out = given[3]
        texts = words("mine", pd.DataFrame({"doc_id": [0]}))
        told = "" if clusters is None else clusters("mine").items
        cluster = "" if told is None or isinstance(told, str) else told["cluster"][0]
        seen.append(f"{' '.join(texts.choices[0])} {cluster}".rstrip() if texts.choices else texts.why)
        assert isinstance(out, Path)
        return build.Analysis({"report.html": write_file(out / "report.html", f"<html>{seen[-1]}")}, {}, "", [])

    monkeypatch.setattr(build, "run_analysis", choices_alone)


def write_task(folder: Path, wrong: str) -> None:
    (folder / "conf/task").mkdir(parents=True, exist_ok=True)
    (folder / "mine.jsonl").write_text(f'{{"q": "Is it?", "a": "yes", "b": "{wrong}"}}\n')
    (folder / "conf/task/mine.yaml").write_text(
        "task: mine\ndata: mine.jsonl\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\n"
        "doc_to_choice: '{{[a, b]}}'\ndoc_to_target: 0\n"
    )


def test_what_a_task_says_is_told_by_its_files(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    for change in (lambda: None, lambda: write_task(tmp_path, "no"), lambda: write_task(tmp_path, "never")):
        change()
        told += [TaskSources(config, None).digest("mine") for _ in range(2)]
    assert told[::2] == told[1::2]
    assert len(set(told)) == 3


@pytest.mark.release
@pytest.mark.parametrize("column", [None, "b"])
def test_texts_and_clusters_that_have_changed_make_it_again(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    texts_shown(monkeypatch, seen)
    config.analysis.items, config.analysis.cluster_by = True, column
    made = []
    for change in (lambda: None, lambda: write_task(tmp_path, "no"), lambda: write_task(tmp_path, "never")):
        change()
        made += [analyse(config, tmp_path)[1], analyse(config, tmp_path)[1]]
    assert made == [1, 0] * 3
    assert seen[0].startswith("No texts of choices: unknown task 'mine'")
    assert seen[1:] == (["yes no", "yes never"] if column is None else ["yes no no", "yes never never"])


@pytest.mark.release
def test_a_task_that_changes_while_it_is_read_is_not_missed(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path, "no")
    seen: list[str] = []
    texts_shown(monkeypatch, seen)
    kept = Store.log_report

    def log_report(self: Store, *args: object) -> str:
        write_task(tmp_path, "never")  # after its texts were read
        return kept(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "log_report", log_report)
    assert [analyse(config, tmp_path)[1] for _ in range(3)] == [1, 1, 0]
    assert seen == ["yes no", "yes never"]


@pytest.mark.release
def test_who_writes_while_it_is_made_is_not_missed(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Store.log_report

    def log_report(self: Store, *args: object) -> str:
        deliver(Store(config.tracking), tmp_path, [16_000])  # after the results were read
        return kept(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "log_report", log_report)
    analyse(config, tmp_path)
    monkeypatch.undo()
    pages, made = analyse(config, tmp_path)
    assert made == 1
    assert ",16000," in (pages[0].parent / "results.csv").read_text()
    assert analyse(config, tmp_path) == (pages, 0)


def analyse_in_two_processes(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], int]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with on_two_cores():
        return analyse(config, tmp_path)


def test_what_a_second_process_files_is_kept_without_reading_it_again(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(self: FileState, suite: str) -> str:
        raise AssertionError("the results were looked through again")

    monkeypatch.setattr(FileState, "content", look)
    pages, made = analyse_in_two_processes(config, tmp_path, monkeypatch)
    assert made == 1
    assert analyse(config, tmp_path) == (pages, 0)
    client = MlflowClient(store.uri)
    (curves,) = [e for e in client.search_experiments() if e.name == "pythia-curves"]
    assert len(client.search_runs([curves.experiment_id])) == len(SIZES)


def test_who_writes_beside_the_second_process_is_not_missed(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_before = build.run_analysis

    def run_analysis(*given: Any, **named: Any) -> build.Analysis:
        if not (tmp_path / "analysis").exists():
            deliver(Store(config.tracking), tmp_path, [16_000])  # after the results were read
        return made_before(*given, **named)

    monkeypatch.setattr(build, "run_analysis", run_analysis)
    analyse_in_two_processes(config, tmp_path, monkeypatch)
    pages, made = analyse_in_two_processes(config, tmp_path, monkeypatch)
    assert made == 1
    assert ",16000," in (pages[0].parent / "results.csv").read_text()
    assert analyse(config, tmp_path) == (pages, 0)


def test_what_a_second_process_cannot_file_is_said(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, *_: object) -> str:
        raise TrackingError("the disk is full.")

    monkeypatch.setattr(Store, "log_report", refuse)
    with pytest.raises(TrackingError, match="the disk is full"):
        analyse_in_two_processes(config, tmp_path, monkeypatch)
    assert not (tmp_path / "analysis" / "made.json").exists()


@pytest.mark.release
def test_only_the_suite_that_changed_is_made_again(
    config: Config, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyse(config, tmp_path)
    deliver(store, tmp_path, [1000, 2000, 4000], "other", 0.5)
    capsys.readouterr()
    pages, made = analyse(config, tmp_path)
    assert (len(pages), made) == (2, 1)
    said = capsys.readouterr().out
    assert f"the report {tmp_path / 'analysis/pythia/report.html'} is up to date: its results have not changed." in said
    assert analyse(config, tmp_path) == (pages, 0)
    assert f"the 2 reports are up to date ({pages[0]}, {pages[1]})" in capsys.readouterr().out
    families = tmp_path / "analysis/_families/families.csv"
    families.write_text("edited")
    assert analyse(config, tmp_path) == (pages, 0)
    assert families.read_text() != "edited"


def test_a_suite_whose_items_cannot_be_looked_at_is_made_each_time(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(store, tmp_path, [1000, 2000, 4000], "other", 0.5)
    monkeypatch.setattr(FileState, "items", lambda _, suite: None if suite == "other" else "there")
    assert [(len(pages), made) for pages, made in (analyse(config, tmp_path) for _ in range(3))] == [
        (2, 2),
        (2, 1),
        (2, 1),
    ]


def sum_by_python(self: ServerSource, row: str, rows: str, values: Sequence[object] = ()) -> str:
    """What PostgreSQL is asked for, of a file; the rows in another order each time."""
    columns = "*" if row == "t" else row.removeprefix("ROW(").removesuffix(")")
    found = list(self.ask(f"SELECT {columns} FROM {rows} ORDER BY random()", values))
    return f"{len(found)} {sum(int(hashlib.sha256(repr(one).encode()).hexdigest(), 16) for one in found)}"


@pytest.fixture
def in_a_server(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """The file is taken for a database that a server keeps."""
    begin = MlflowConnection.__init__

    def without_a_file(self: MlflowConnection, *given: Any) -> None:
        begin(self, *given)
        self.database = None

    monkeypatch.setattr(MlflowConnection, "__init__", without_a_file)
    monkeypatch.setattr(DatabaseServer, "is_read_by_sql", True)


@pytest.mark.release
@pytest.mark.usefixtures("in_a_server")
def test_nothing_has_changed_in_a_database(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerSource, "sum_of", sum_by_python)
    pages, made = analyse(config, tmp_path)
    assert made == 1
    capsys.readouterr()
    assert analyse(config, tmp_path) == (pages, 0)
    assert "is up to date: nothing has changed since the last analysis." in capsys.readouterr().out
    deliver(Store(config.tracking), tmp_path, [2000, 4000, 8000], "other", 0.5)
    pages, made = analyse(config, tmp_path)
    assert (len(pages), made) == (2, 1)
    assert "pythia/report.html is up to date: its results have not changed." in capsys.readouterr().out
    for change, again in ((edit_a_value, 1), (lambda _: touch_items(tmp_path), 1), (lambda _: None, 0)):
        change(config)
        assert analyse(config, tmp_path) == (pages, again)


@pytest.mark.usefixtures("in_a_server")
def test_a_database_without_digests_is_analysed_again(config: Config, tmp_path: Path) -> None:
    assert Store(config.tracking).state().stamp() is None
    assert [analyse(config, tmp_path)[1] for _ in range(2)] == [1, 1]
