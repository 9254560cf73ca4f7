import errno
import html.parser
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from shaping import conf_of

from evalrun.core.atomic import write_file
from evalrun.errors import AnalysisError, StorageError
from evalrun.reporting import build
from evalrun.reporting.build import run_analysis

HOSTILE = "<script>alert('x')</script> & \"$\\frac{"
EVERY_FORMAT = ("png", "pdf", "svg")
OVER_SIZE = {f"figures/{name}.svg" for name in ("scaling", "shapes_over_size")}
FILES = {
    *("report.html", "effects.csv", "effects.tex", "effects.md", "results.csv"),
    *(
        f"tables/{name}.csv"
        for name in ("methods", "pooled", "sensitivity", "diagnostics", "shapes", "shapes_over_size", "evidence")
    ),
    *(f"tables/{name}.csv" for name in ("falls", "predictions", "noise", "seeds", "intervals", "coverage")),
    *(f"tables/{name}.tex" for name in ("methods", "falls", "diagnostics", "noise", "per_ten")),
    *(f"figures/accuracy.{kind}" for kind in EVERY_FORMAT),
    "figures/shapes.svg",
    *OVER_SIZE,
}
METHODS = ["ols", "hc3", "cluster", "cr2", "wild", "quasibinomial", "gee", "mixed"]


def conf(**given):
    return conf_of(**{"methods": METHODS, "items": False, "draws": 99, **given})


class Page(html.parser.HTMLParser):
    """Collects what a browser would see."""

    VOID = ("meta", "br", "circle", "line", "rect", "polyline", "path", "use")

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.alts, self.open, self.text = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        self.alts += [values["aria-label"]] if values.get("role") == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def analysis(tidy, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run_analysis(tidy.grid(), conf(), "tiny", out, {"Tracking store": "sqlite:///mlruns/mlflow.db"})


def test_files(analysis):
    assert set(analysis.files) == FILES
    assert all(path.stat().st_size > 100 for path in analysis.files.values())
    assert analysis.files["figures/accuracy.png"].read_bytes().startswith(b"\x89PNG")
    assert analysis.files["figures/accuracy.pdf"].read_bytes().startswith(b"%PDF")
    folder = analysis.files["report.html"].parent
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == FILES | {"figures/made.json"}  # no temporary files


def test_metrics(analysis):
    counted = {"n_rows": 36, "n_tasks": 2, "n_models": 3, "n_steps": 6, "n_tests": 6, "n_notes": 0}
    assert {name: analysis.metrics[name] for name in counted} == counted
    assert analysis.metrics["n_significant"] >= 2
    assert all(type(value) is float for value in analysis.metrics.values())


def test_text(analysis):
    assert analysis.text.splitlines()[0].startswith("task")
    assert "tiny_recall" in analysis.text
    assert analysis.notes == []


def test_report_stands_alone(analysis):
    text = analysis.files["report.html"].read_text()
    page = Page(text)
    assert page.open == []
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?://|url\((?!#)|@import", text)
    assert page.tags.count("title") == 1
    words = " ".join(" ".join(page.text).split())
    for part in (
        "Findings",
        "Regression",
        "Shapes over training",
        "Notes",
        "Settings and versions",
        "How to read this",
    ):
        assert part in words
    assert "3 models (120k to 1.08M parameters) at 6 training steps (1 to 32; 4.1k to 131k tokens)" in words
    assert "2 tasks with 1,200 items" in words
    assert "sqlite:///mlruns/mlflow.db" in words
    assert "statsmodels" in words


def test_report_describes_its_figures(analysis):
    page = Page(analysis.files["report.html"].read_text())
    assert len(page.alts) == 4
    first, second, *others = page.alts
    assert first.startswith("tiny recall. It gets worse with training in all 3 models. tiny-s goes from 0.")
    assert second.startswith("tiny obey. It gets better with training in")
    assert all("against training tokens" in alt and "tiny-l" in alt for alt in others)


def test_report_ids_that_are_referred_to_are_there(analysis):
    text = analysis.files["report.html"].read_text()
    page = Page(text)
    referred = {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert referred <= set(page.ids) | {"notes"}


def test_report_links_points_and_falls_to_their_runs(tidy, tmp_path):
    table = tidy.curve([0.9, 0.8, 0.5, 0.3, 0.1], stderr=0.01).assign(run_id=[f"run{i}" for i in range(5)])
    at = "http://127.0.0.1:5000/#/experiments/1/runs/{run}?x=1"
    analysis = run_analysis(table, conf(methods=["ols"]), "tiny", tmp_path, {}, runs_at=at)
    page = Page(text := analysis.files["report.html"].read_text())
    outward = [link for link in page.links if not link.startswith("#")]
    assert outward == [at.replace("{run}", "run0"), at.replace("{run}", "run4")]  # the peak and the trough
    assert f'data-runs="{at}"' in text
    points = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [point[7] for point in points[0]["lines"][0]] == [f"run{i}" for i in range(5)]


def test_a_point_that_is_a_mean_has_no_run(tidy, tmp_path):
    table = tidy.grid(seeds=[1, 2]).assign(run_id=[str(i) for i in range(72)])
    text = (
        run_analysis(table, conf(methods=["ols"]), "tiny", tmp_path, {}, runs_at="http://x/{run}")
        .files["report.html"]
        .read_text()
    )
    (first, *_) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert {point[7] for line in json.loads(first)["lines"] for point in line} == {None}


def test_report_marks_significance_not_by_colour_alone(analysis):
    text = analysis.files["report.html"].read_text()
    assert text.count('class="q yes"') == analysis.metrics["n_significant"]
    assert 'content: " ✱"' in text


def test_report_has_both_schemes_and_prints(analysis):
    text = analysis.files["report.html"].read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text
    # Every colour of a line is a variable of the page: none is left as a fixed colour inside a figure.
    assert not re.search(r"(stroke|fill): #(?!fff)", text[text.index("<body>") :])


@pytest.mark.release
def test_figures_are_those_that_were_asked_for(tidy, tmp_path, monkeypatch):
    """A paper's figures show a page of tasks, and the notes say so; all shows every one with its evidence."""
    monkeypatch.setattr("evalrun.reporting.tasks_of_a_page.PAGE_OF_TASKS", 3)
    table = tidy.grid(models=["tiny-l"], tasks=[f"task_{i:02d}" for i in range(4)], steps=[1, 2, 4, 8])
    table["value"] = np.where(table["task"] == "task_03", 0.5, table["value"])  # the one that differs least
    found = {
        figures: run_analysis(table, conf(methods=["ols"], figures=figures), "pythia", tmp_path / figures, {})
        for figures in ("none", "paper", "all")
    }
    made = {figures: {name for name in got.files if name.startswith("figures/")} for figures, got in found.items()}
    overviews = {f"figures/{name}.{kind}" for name in ("accuracy", "shapes") for kind in EVERY_FORMAT}
    assert made["none"] == set()
    assert made["paper"] == {f"figures/accuracy.{kind}" for kind in EVERY_FORMAT} | {"figures/shapes.svg"}
    assert made["all"] == overviews | {f"figures/evidence/task_{i:02d}.png" for i in range(4)}
    drawn = {figures: found[figures].files["figures/accuracy.svg"].read_text() for figures in ("paper", "all")}
    assert drawn["paper"].count(">task ") == 3
    assert ">task 03" not in drawn["paper"]
    assert drawn["all"].count(">task ") == 4
    assert [note for note in found["paper"].notes if "3 of 4 tasks" in note]
    assert not [note for figures in ("none", "all") for note in found[figures].notes if "3 of" in note]
    for got in found.values():
        assert got.files["report.html"].read_text().count('<div class="panel"') >= 4


def test_tasks_beyond_a_page_are_folded_and_all_are_seen_at_a_glance(tidy, tmp_path, monkeypatch):
    monkeypatch.setattr("evalrun.reporting.tasks_of_a_page.PAGE_OF_TASKS", 2)
    table = tidy.grid(models=["tiny-l"], tasks=[f"task_{i}" for i in range(4)], steps=[1, 2, 4])
    table["value"] = np.where(table["task"].isin(["task_0", "task_2"]), 0.5, table["value"])  # differ least
    made = run_analysis(table.assign(n=0.0), conf(methods=["ols"], figures="none"), "x", tmp_path, {})
    text = made.files["report.html"].read_text()
    assert Page(text).open == []
    tasks = text[text.index('id="tasks"') : text.index('id="regression"')]
    before, fold = tasks.split('<details class="more">')
    assert "<summary>2 more tasks</summary>" in fold
    assert [re.findall(r"<h3>(.*?)</h3>", part) for part in (before, fold)] == [
        ["task 1", "task 3"],
        ["task 0", "task 2"],
    ]
    linked = dict(re.findall(r'<a href="#(task-\d)"><svg.*?</svg><b>(.*?)</b>', before))
    assert list(linked.values()) == [f"task {i}" for i in range(4)]
    for place, title in linked.items():  # a tile leads to the task that it shows
        assert re.search(rf'<figure id="{place}">.*?<h3>{title}</h3>', tasks, re.DOTALL)
    assert "an unknown number of items" in text  # none is known where 0 is said
    assert ",0,null" not in text


def test_what_an_earlier_analysis_made_goes_and_what_a_user_put_beside_it_stays(tidy, tmp_path, monkeypatch):
    table = tidy.grid(models=["tiny-l"], tasks=["a", "b"], steps=[1, 2, 4, 8])
    monkeypatch.setattr(build, "item_pages", lambda *_: {f"items/{task}.html": f"items of {task}" for task in "ab"})
    first = run_analysis(table, conf(methods=["ols"], sensitivity=True, figures="all"), "x", tmp_path, {})
    made = {"figures/evidence/a.png", "figures/evidence/b.png", "items/a.html", "items/b.html"}
    assert made < set(first.files)
    assert not [name for name in first.files if name.endswith("made.json")]
    users = {"tables/mine.csv", "figures/evidence/mine.png", "items/mine.html", "figures/items/mine.png"}
    changed = {"figures/evidence/b.png", "items/b.html"}
    for name in (*users, *changed):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("of the user")
    (tmp_path / "tables/expected.csv").write_text("of another analysis")
    monkeypatch.setattr(build, "item_pages", lambda *_: {})
    second = run_analysis(table, conf(methods=["ols"], sensitivity=False, figures="none"), "x", tmp_path, {})
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*second.files, *users, *changed}


def test_hostile_names_are_escaped(tidy, tmp_path):
    table = tidy.grid(tasks=["t"], models=["tiny-s", HOSTILE]).assign(title=HOSTILE, cause=HOSTILE, suite=HOSTILE)
    analysis = run_analysis(table, conf(), HOSTILE, tmp_path, {HOSTILE: HOSTILE})
    text = analysis.files["report.html"].read_text()
    page = Page(text)
    assert page.open == []
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_same_results_same_bytes(tidy, tmp_path, analysis):
    again = run_analysis(tidy.grid(), conf(), "tiny", tmp_path, {"Tracking store": "sqlite:///mlruns/mlflow.db"})
    for name, path in again.files.items():
        assert path.read_bytes() == analysis.files[name].read_bytes(), name


def test_the_report_shows_what_of_the_grid_is_missing(tidy, tmp_path):
    table = tidy.grid().query("not (model == 'tiny-m' and step in (4, 8) and task == 'tiny_obey')")
    analysis = run_analysis(table, conf(methods=["ols"]), "tiny", tmp_path, {})
    sentence = "Of 36 cells of the grid (2 tasks x 18 checkpoints) 2 have no result: “Coverage” says which."
    assert analysis.notes == [sentence]
    page = " ".join(Page(analysis.files["report.html"].read_text()).text)
    assert page.count(sentence) == 2  # findings and notes
    assert "missing: tiny-m at steps 4 and 8" in page
    cells = pd.read_csv(analysis.files["tables/coverage_cells.csv"])
    assert cells[["task", "model", "step", "state"]].to_numpy().tolist() == [
        ["tiny_obey", "tiny-m", step, "missing"] for step in (4, 8)
    ]


def test_notes_reach_the_report(tidy, tmp_path):
    analysis = run_analysis(tidy.grid(steps=[0, 1, 2, 4]), conf(), "tiny", tmp_path, {})
    assert len(analysis.notes) == 1
    assert "0 tokens have no logarithm" in analysis.files["report.html"].read_text()
    assert analysis.metrics["n_notes"] == 1
    assert len(pd.read_csv(analysis.files["results.csv"])) == 24  # the table as it came


@pytest.mark.release
@pytest.mark.parametrize(
    "given",
    [
        {"models": ["tiny-s"]},
        {"steps": [8]},
        {"models": ["tiny-s"], "steps": [8]},
        {"value": 0.5},
        {"value": 1.0, "stderr": 0.0},
        {"stderr": np.nan, "chance": np.nan, "n": np.nan},
        {"n_params_nominal": np.nan},
        {"n_params": np.nan, "n_params_nonembedding": np.nan, "flops": np.nan},
        {"seeds": [1, 2]},
        {"models": ["a", "b"]},
        {"cause": "", "title": ""},
        {"title": "任务 🙂"},
        {"higher_is_better": False},
    ],
)
def test_thin_and_odd_tables_are_reported(tidy, tmp_path, given):
    analysis = run_analysis(tidy.grid(**given), conf(), "tiny", tmp_path, {})
    optional = OVER_SIZE | {"tables/shapes_over_size.csv"}
    assert {name for name in FILES - optional if "tiny_" not in name} <= set(analysis.files)
    assert Page(analysis.files["report.html"].read_text()).open == []


def test_nothing_to_analyse(tidy, tmp_path):
    with pytest.raises(AnalysisError, match="no results"):
        run_analysis(tidy.table([]), conf(), "tiny", tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


def test_unknown_metric(tidy, tmp_path):
    with pytest.raises(AnalysisError, match="did you mean 'acc'"):
        run_analysis(tidy.grid(), conf(metric="accc"), "tiny", tmp_path, {})


def test_no_space_left(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"No space left for .*file \(3 bytes\)"):
        write_file(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_that_is_a_file(tidy, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        run_analysis(tidy.grid(), conf(), "tiny", tmp_path / "out", {})


def test_imports_stay_light():
    code = (
        "import sys, evalrun.reporting.build; "
        "heavy = {'torch', 'mlflow', 'hydra', 'omegaconf', 'lm_eval', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)), 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def test_palette_imports_nothing_heavy():
    code = "import sys, evalrun.core.palette; print(sorted({'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_with_one_checkpoint_are_reported_over_size(tidy, tmp_path):
    models = {f"m{i}": 10.0 ** (6 + i) for i in range(5)}
    rows = [
        {"model": model, "n_params_nominal": size, "n_params": size, "step": 8, "value": value, "title": "Obey"}
        for (model, size), value in zip(models.items(), [0.9, 0.75, 0.6, 0.45, 0.3], strict=True)
    ]
    made = run_analysis(tidy.table(rows), conf(methods=["ols"]), "pythia", tmp_path, {})
    assert "Shape: in the curve over size at step 8" in made.text.replace("\n  ", " ")
    assert "inverse" in made.text
    assert "too few points" not in made.text
    page = (tmp_path / "report.html").read_text()
    assert "pythia: accuracy over size</h1>" in page
    assert "Worse with size" in page
    assert "No model has more than 1 checkpoint" in page
    assert "Shapes over training" not in page
    (points, *_) = (json.loads(text) for text in re.findall(r'application/json">(.*?)</script>', page))
    assert [point[2:4] for point in points["lines"][0]][:2] == [["m0", "1M parameters"], ["m1", "10M parameters"]]
