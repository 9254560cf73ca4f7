"""MLflow's own page on a sweep, as a person meets it: what evalrun files has to make sense there."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from evalrun.core.palette import model_colors
from evalrun.reporting.item_page import render_items
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.packed_items import PackedItems
from evalrun.tracking import Store

from .conftest import COMMAND, SIZES, Shot, report_of, study, sync_api

expect = sync_api.expect
WAIT = 20_000  # ms: MLflow’s page is large, and a machine may be busy
CURVE = {"label": "toy-s", "steps": [1, 2], "tokens": [10, 20], "of": 2, "others": [], "shares": True}
CHUNKS = {  # two items of two choices at two checkpoints
    "choices": [2, 0, 2, 0],
    "gold": [0, 0, 1, 0],
    "class-0": [0, 0],
    "rank-0": [0] * 4 + [1, 0, 0, 0],
    "age-0": [0] * 8,
    "low-0": [0] * 8,
    "high-0": [0] * 8,
    "answers-0": [0b01000100],
    "right-0": [90, 160, 100, 200],
    "others-0": [],
}
TYPED = "python -m evalrun -m 'model=glob(toy/*)' step=1,2,4,8 task=alpha,beta analysis=interaction"


@pytest.fixture(scope="module")
def address(ui: list[str]) -> str:
    return ui[0].split(": ", 1)[1].partition("/#")[0]


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One tab for all of it: MLflow's code is then loaded once."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    yield context.new_page()
    context.close()


def visit(page: Any, url: str) -> None:
    page.goto("about:blank")  # an address that differs in its hash alone would not be loaded
    page.goto(url)


def rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))})"


def checkpoint(store: Store, model: str, step: int) -> str:
    table = store.table("toy")
    return str(table[(table["model"] == model) & (table["step"] == step)]["run_id"].iloc[0])


def test_the_first_line_opens_the_curves(page: Any, ui: list[str], shot: Shot) -> None:
    assert re.fullmatch(r"toy: http://127\.0\.0\.1:\d+/#/experiments/\S+", ui[0])
    visit(page, ui[0].removeprefix("toy: "))
    charts = page.locator(".js-plotly-plot")
    expect(charts.first.locator("path.js-line").first).to_be_visible()
    shot(page, "mlflow_curves")
    for section in ("Mean over tasks", "Strong prior", "Controls"):
        expect(page.get_by_text(section, exact=True)).to_be_attached()
    colors = [rgb(color) for color in model_colors(list(SIZES.values()))]
    charts.nth(1).scroll_into_view_if_needed()
    expect(charts.nth(1).locator("path.js-line").first).to_be_visible()
    for chart in charts.all()[:2]:  # a line a model, in the colours of the report
        lines = chart.locator("path.js-line")  # two a model: one of them takes the pointer
        strokes = lines.evaluate_all("all => all.map((line) => getComputedStyle(line).stroke)")
        assert list(dict.fromkeys(strokes)) == colors
    names = page.locator("[role=row] a").all_inner_texts()
    assert [name for name in names if name.startswith("toy-")] == list(SIZES)  # smallest first
    assert page.get_by_role("link", name="Latest report").is_visible()


def test_a_checkpoints_run_tells_its_data_and_its_command(page: Any, address: str, store: Store, shot: Shot) -> None:
    at = store.run_address("toy").replace("{run}", checkpoint(store, "toy-m", 8))
    assert at.startswith("http://127.0.0.1:5000/#/")  # where `evalrun ui` is by default
    visit(page, address + at.removeprefix("http://127.0.0.1:5000"))
    expect(page.get_by_role("heading", name="toy-m step 8")).to_be_visible()
    expect(page.get_by_text(TYPED).last).to_be_attached()
    expect(page.get_by_text(re.compile(r"^(alpha|beta) \([0-9a-f]{36}\)$"))).to_be_visible()
    shot(page, "mlflow_run")
    assert TYPED.split()[3:] == ["-m", *(f"'{w}'" if "*" in w else w for w in COMMAND[1:])]
    runs = store._link.client.search_runs([store._link.experiment("toy").experiment_id])
    for run in runs:
        used = {given.dataset.name: json.loads(given.dataset.source)["uri"] for given in run.inputs.dataset_inputs}
        assert used == {"alpha": "data/alpha.jsonl", "beta": "data/beta.jsonl"}


def test_the_experiments_note_holds_the_command(page: Any, address: str, store: Store) -> None:
    note = store._link.experiment("toy-curves").tags["mlflow.note.content"]
    assert note.endswith(f"\n\nMade by\n\n    {TYPED}")
    experiment = store._link.experiment("toy").experiment_id
    visit(
        page, f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=checkpoints"
    )
    expect(page.get_by_text("8 matching runs")).to_be_visible()
    expect(page.locator("button", has_text="Datasets").first).to_be_enabled()  # there are some to filter by


def test_the_report_opens_in_the_viewer_and_its_links_lead_to_runs(
    page: Any, address: str, store: Store, tmp_path: Path, shot: Shot
) -> None:
    run = checkpoint(store, "toy-m", 8)
    made = report_of(study(models=2, tasks=2, run=run), tmp_path, store.run_address("toy"))
    filed = store.log_report("toy", {"report.html": made}, {}, {}, {})
    experiment = store._link.experiment("toy-report").experiment_id
    visit(page, f"{address}/#/experiments/{experiment}/runs/{filed}?workflowType=machine_learning")
    with page.context.expect_page() as viewer:
        page.get_by_role("link", name="Open the report").click()
    shown = viewer.value
    frame = shown.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_have_text("big: accuracy over size and training")
    expect(frame.locator(".opening h2").first).to_have_text("Task <00>")
    shot(shown, "mlflow_report")
    link = frame.locator("a.run").first
    link.click()  # the viewer lets a page open no window: it says what to do instead
    expect(frame.locator("#tip")).to_contain_text("Its address is copied")
    with page.context.expect_page() as opened:
        link.click(modifiers=["Control"])
    assert opened.value.url.startswith(
        f"{address}/#/experiments/{store._link.experiment('toy').experiment_id}/runs/{run}"
    )
    expect(opened.value.get_by_role("heading", name="toy-m step 8")).to_be_visible()
    opened.value.close()
    shown.close()


def test_a_page_of_items_opens_in_the_viewer(page: Any, address: str, store: Store, tmp_path: Path, shot: Shot) -> None:
    packed = PackedItems(
        pd.DataFrame({"doc_id": [0, 1]}),
        {"items": 2, "ids": [0, 1], "classes": ["never"], "curves": [CURVE]},
        {name: zlib.compress(bytes(content)) for name, content in CHUNKS.items()},
    )
    words = ItemWords((("yes", "no"),) * 2, {}, ("Is it?", "Was it?"))
    (tmp_path / "items.html").write_text(render_items(packed, "Of two", "toy", words, [], "../report.html"))
    made = report_of(study(models=2, tasks=2), tmp_path, "")
    linked = made.read_text().replace("<main>", '<main><p><a class="beside" href="items/of_two.html">Of two</a></p>', 1)
    made.write_text(linked)
    filed = store.log_report("toy", {"report.html": made, "items/of_two.html": tmp_path / "items.html"}, {}, {}, {})
    experiment = store._link.experiment("toy-report").experiment_id
    visit(page, f"{address}/#/experiments/{experiment}/runs/{filed}/artifacts/items/of_two.html")
    frame = page.frame_locator("iframe")
    expect(frame.locator("#status")).to_have_text("toy-s: all 2 items")
    frame.locator("#rows tr").nth(1).click()
    expect(frame.locator("#card [data-part=prompt]")).to_have_text("Was it?")
    shot(page, "mlflow_items")
    visit(page, f"{address}/#/experiments/{experiment}/runs/{filed}/artifacts/report.html")
    frame = page.frame_locator("iframe")
    frame.locator("a.beside").click()  # the viewer has nothing beside a page: where it is is said
    expect(frame.locator("#tip")).to_contain_text("items/of_two.html is in the report’s list of artifacts")
    expect(frame.locator("h1")).to_be_visible()


def test_two_checkpoints_side_by_side(page: Any, address: str, store: Store, shot: Shot) -> None:
    runs = [checkpoint(store, "toy-m", step) for step in (4, 8)]
    visit(page, f"{address}/#/compare-runs?runs={quote(json.dumps(runs))}&experiments=%5B%221%22%5D")
    expect(page.get_by_text("acc/alpha", exact=True).first).to_be_visible()
    shot(page, "mlflow_compare")
    _, _, rest = page.locator("body").inner_text().partition("\nMetrics\nShow diff only\n")
    cells = rest.partition("\nArtifacts")[0].split()
    names = list(itertools.takewhile(lambda cell: cell[0].isalpha(), cells))
    values = [float(value) for value in cells[len(names) : 3 * len(names)]]  # row by row
    table = store.table("toy").set_index(["run_id", "task"])["value"]
    for task in ("alpha", "beta"):
        at = names.index(f"acc/{task}")
        wanted = [table[run, task] for run in runs]
        assert values[2 * at : 2 * at + 2] == pytest.approx(wanted, abs=6e-4)
    parameters = page.locator("tr").filter(has_text=re.compile(r"^step"))
    assert re.findall(r"\d+", parameters.first.inner_text()) == ["4", "8"]
