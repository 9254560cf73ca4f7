"""The page of a task's items as a reader has it: sorted, filtered, searched, opened, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.made_items import MadeStore, items_frame, table_rows
from evalrun.reporting.item_page import render_items
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_dynamics import ItemSettings, item_dynamics
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.dynamics.packed_items import pack

from .conftest import Shot, watched
from .test_report_page import CONTRASTS

ITEMS, STEPS, MODELS = 700, 24, ("small", "middle", "large")
EVIL = "</script><script>document.body.dataset.evil = 'yes'</script><b>bold</b> & <!-- "
KINDS = ("animals", "plants", "minerals")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The page of a task of 700 items, and what it is made from."""
    random = np.random.default_rng(1)
    gold, hard = random.integers(0, 4, ITEMS), random.random(ITEMS)
    frames, runs = {}, []
    for size, model in enumerate(MODELS):
        for step in range(STEPS):
            logprobs = random.normal(-20, 2, (ITEMS, 4))
            logprobs[np.arange(ITEMS), gold] += np.where(step >= hard * (30 - 4 * size) - 2, 9, 0)
            frames[f"{model}-{step}", "made"] = items_frame(logprobs, gold)
            runs.append((f"{model}-{step}", model, 2**step))
    store = MadeStore(frames)
    grid = read_grid(table_rows(runs, [0.5] * len(runs)), tables_of(store), with_shares=True)
    assert not isinstance(grid, str)
    found = item_dynamics(grid, [], tables_of(store), None, ItemSettings(None, 0.05, 0.05, "fdr_bh", 0))
    prompts = tuple(f"{EVIL}the answer to number {place} is?" for place in range(ITEMS))
    columns = {
        "kind": tuple(KINDS[place % 3] for place in range(ITEMS)),
        "name": tuple(f"name {place // 4}" for place in range(ITEMS)),
    }
    words = ItemWords((("red", EVIL, "blue", "green"),) * ITEMS, columns, prompts)
    page = tmp_path_factory.mktemp("page") / "made.html"
    packed = pack(grid, found.courses, found.items)
    page.write_text(render_items(packed, "Made <items>", "toy", words, [], "../report.html"))
    large = found.items[found.items["model"] == "large"].reset_index(drop=True)
    return SimpleNamespace(page=page, store=store, grid=grid, gold=gold, large=large, found=found.items)


@pytest.fixture
def page(browser: Any, made: SimpleNamespace) -> Iterator[Any]:
    """The page, unpacked."""
    with watched(browser, made.page.as_uri(), 1300) as opened:
        opened.wait_for_selector("body[data-ready]")
        yield opened


def cells(page: Any, place: int) -> list[str]:
    """A column of the table as it stands."""
    return list(page.locator(f"#rows tr > :nth-child({place})").all_inner_texts())


def test_it_opens_with_the_largest_model_in_the_order_of_learning(page: Any, made: SimpleNamespace, shot: Shot) -> None:
    assert page.locator("h1").inner_text() == "Made <items>"
    assert page.locator("#status").inner_text() == "large: all 700 items"
    assert page.locator("#range").inner_text() == "1 to 50 of 700"
    assert page.evaluate("document.body.dataset.evil") is None
    classes = cells(page, 3)
    assert classes[0] == "always right"
    assert all(re.fullmatch(r"… \d+ is\?", text) for text in cells(page, 2))  # what all begin with is left out
    # Dark below where items are learned, light above: from the upper right to the lower left of the map.
    corners = page.evaluate("""() => {
      const map = document.getElementById("map"), paint = map.getContext("2d", {willReadFrequently: true});
      const all = paint.getImageData(0, 0, map.width, map.height).data;
      const at = (x, y) => [...all.slice(4 * (y * map.width + x), 4 * (y * map.width + x) + 4)];
      return [at(map.width - 1, 0), at(0, map.height - 1), map.width, map.height];
    }""")
    assert corners == [[11, 92, 138, 255], [239, 224, 204, 255], STEPS, ITEMS]
    shot(page, "items")


def test_it_sorts_by_every_column(page: Any, made: SimpleNamespace) -> None:
    head = page.locator("th[data-key=right]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    wanted = np.sort(np.round(100 * made.large["right"]).to_numpy())
    assert [float(text.removesuffix(" %")) for text in cells(page, 5)] == wanted[:50].tolist()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("th[aria-sort=ascending]").count() == 0
    assert [float(text.removesuffix(" %")) for text in cells(page, 5)] == wanted[::-1][:50].tolist()
    page.locator("th[data-key=item] button").click()
    assert cells(page, 1) == [str(place) for place in range(50)]
    page.locator("th[data-key=end] button").click()
    right = [curve.right[-1] for curve in made.grid.curves]
    assert cells(page, 6)[0] == f"{int(np.sum(right, axis=0).min())} of 3"
    page.locator("#column").select_option("name")
    page.locator("th[data-key=column] button").click()
    assert cells(page, 7)[3:5] == ["name 0", "name 1"]  # numbers in words count as numbers
    page.locator("th[data-key=class] button").click()
    assert set(cells(page, 3)) == {"always right"}


def test_it_filters_and_searches(page: Any, made: SimpleNamespace) -> None:
    code = page.locator("#class option", has_text="learned for good").get_attribute("value")
    page.locator("#class").select_option(code)
    learned = made.large["class"] == "learned for good"
    assert page.locator("#status").inner_text() == f"large: {learned.sum()} of 700 items"
    assert set(cells(page, 3)) == {"learned for good"}
    page.locator("#column").select_option("kind")
    page.locator("#value").select_option(label="plants")
    plants = learned & (made.large["doc_id"] % 3 == 1)
    assert page.locator("#status").inner_text() == f"large: {plants.sum()} of 700 items"
    assert set(cells(page, 7)) == {"plants"}
    page.locator("#model").select_option(label="small")  # another model's classes
    small = made.found[made.found["model"] == "small"].reset_index(drop=True)
    some = (small["class"] == "learned for good") & (small["doc_id"] % 3 == 1)
    assert page.locator("#status").inner_text() == f"small: {some.sum()} of 700 items"
    page.locator("#clear").click()
    assert page.locator("#status").inner_text() == "small: all 700 items"
    page.locator("#column").select_option("name")
    page.locator("#value").fill("Name 17")  # of many values, what they contain
    assert page.locator("#status").inner_text() == "small: 24 of 700 items"  # name 17 and 170 to 174
    page.locator("#find").fill("NUMBER 17")
    page.wait_for_function("document.getElementById('status').textContent.includes(': 0 of')")
    page.locator("#value").fill("")
    assert page.locator("#status").inner_text() == "small: 11 of 700 items"
    assert sorted(map(int, cells(page, 1))) == [17, *range(170, 180)]
    page.locator("#find").fill("nowhere")
    page.wait_for_selector("#nothing:not([hidden])")
    assert page.locator("#range").inner_text() == "none"


def test_the_map_shows_where_an_item_of_the_table_lies(page: Any) -> None:
    here = page.locator("#here")
    assert not here.is_visible()
    page.get_by_role("button", name="Next page").click()
    page.locator("#rows tr").nth(20).hover()
    assert float(here.evaluate("here => here.style.top").removesuffix("%")) == pytest.approx(10)  # the 71st of 700
    page.locator("h1").hover()
    assert not here.is_visible()


def test_it_pages(page: Any) -> None:
    page.get_by_role("button", name="Last page").click()
    assert page.locator("#range").inner_text() == "651 to 700 of 700"
    assert page.get_by_role("button", name="Next page").is_disabled()
    page.get_by_role("button", name="Previous page").click()
    assert page.locator("#range").inner_text() == "601 to 650 of 700"
    mark = page.locator("#mark").evaluate("mark => [mark.style.top, mark.style.height]")
    assert [float(text.removesuffix("%")) for text in mark] == pytest.approx([600 / 7, 50 / 7], abs=0.01)
    page.get_by_role("button", name="First page").click()
    assert page.locator("#range").inner_text() == "1 to 50 of 700"


def test_a_click_shows_an_item_in_every_model(page: Any, made: SimpleNamespace, shot: Shot) -> None:
    page.locator("#find").fill("number 123 ")
    page.wait_for_function("document.querySelectorAll('#rows tr').length === 1")
    page.locator("#rows tr").click()
    card = page.locator("#card")
    assert card.get_by_role("heading", level=2).inner_text() == "Item 123"
    assert card.locator("[data-part=prompt]").inner_text() == f"{EVIL}the answer to number 123 is?"
    texts = card.locator(".choices .text").all_text_contents()
    assert texts == ["red", EVIL, "blue", "green"]
    assert card.locator(".choices li.gold .text").text_content() == texts[made.gold[123]]
    assert card.locator(".choices li .label").all_inner_texts() == ["right"]
    assert card.locator("dd").all_inner_texts() == ["animals", "name 30"]
    assert page.evaluate("document.body.dataset.evil") is None
    assert page.locator("#card b:not(.label)").count() == 0  # what is written in bold is no HTML
    figures = card.locator("figure")
    assert figures.locator("h3").all_inner_texts() == list(MODELS)
    for place, model in enumerate(MODELS):
        ends = []
        for step in (0, STEPS - 1):
            logprobs = made.store.frames[f"{model}-{step}", "made"]["logprobs"].iloc[123]
            share = np.exp(logprobs - logprobs.max())
            ends.append(float((share / share.sum())[made.gold[123]]))
        said = figures.nth(place).locator("svg").get_attribute("aria-label")
        found = re.search(r"from (\d\.\d\d) to (\d\.\d\d)", said)
        assert found is not None
        assert [float(one) for one in found.groups()] == pytest.approx(ends, abs=0.01)
        assert figures.nth(place).locator("path.line").count() == 4
        one = made.found[(made.found["model"] == model) & (made.found["doc_id"] == 123)].iloc[0]
        assert figures.nth(place).locator("figcaption").inner_text().startswith(one["class"])
        assert said.startswith(f"{model}: {one['class']}")
    shot(page, "items_card")
    card.get_by_role("button", name="Close").click()
    assert not card.is_visible()


def test_lines_are_the_probabilities(page: Any, made: SimpleNamespace) -> None:
    """All four lines of a model, read back from the drawing."""
    page.evaluate("location.hash = '#item=7'")
    page.reload()
    page.wait_for_selector("#card[open]")
    assert page.locator("#card h2").inner_text() == "Item 7"  # the address names it
    paths = page.locator("#card figure").last.locator("path.line")
    drawn = paths.evaluate_all("all => all.map((path) => [path.getAttribute('d'), path.classList.contains('gold')])")
    rows = [made.store.frames[f"large-{step}", "made"]["logprobs"].iloc[7] for step in range(STEPS)]
    p = np.exp(np.stack(rows))
    p /= p.sum(axis=1, keepdims=True)
    lines = {is_gold: [] for _, is_gold in drawn}
    for path, is_gold in drawn:
        lines[is_gold].append([1 - (float(y) - 6) / 80 for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)])
    gold = made.gold[7]
    np.testing.assert_allclose(lines[True], [p[:, gold]], atol=0.006)
    np.testing.assert_allclose(lines[False], np.delete(p, gold, axis=1).T, atol=0.015)


def test_by_keyboard(page: Any, shot: Shot) -> None:
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("number 6")
    page.wait_for_function("document.getElementById('status').textContent.includes(' of 700')")
    page.keyboard.press("Escape")
    assert page.locator("#status").inner_text() == "large: all 700 items"
    names = []
    for _ in range(10):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert names[:9] == ["shade", "map", "Item", "Prompt", "Class", "Age", "Right", "At the end", names[8]]
    assert page.evaluate("document.activeElement.closest('.pages') !== null")  # all rows are one stop
    page.keyboard.press("Shift+Tab")
    first = page.evaluate("document.activeElement.dataset.item")
    page.keyboard.press("ArrowDown")
    second = page.evaluate("document.activeElement.dataset.item")
    assert first != second
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    shot(page, "items_keyboard")
    page.keyboard.press("Enter")
    assert page.locator("#card h2").inner_text() == f"Item {second}"
    assert page.evaluate("location.hash") == f"#item={second}"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#card h2").inner_text() == f"Item {first}"
    page.keyboard.press("Escape")
    assert not page.locator("#card").is_visible()
    page.wait_for_function(f"document.activeElement.dataset.item === '{first}'")
    page.keyboard.press("PageDown")
    assert page.locator("#range").inner_text() == "51 to 100 of 700"
    page.keyboard.press("ArrowUp")
    assert page.locator("#range").inner_text() == "1 to 50 of 700"
    page.locator("#map").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert re.fullmatch(
        rf"item {second}: right, probability \d\.\d\d\nlarge, step 4194304 \(4\.19T tokens\)",
        page.locator("#tip").inner_text(),
    )
    page.keyboard.press("Enter")
    assert page.locator("#card h2").inner_text() == f"Item {second}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Any, scheme: str, shot: Shot) -> None:
    page.emulate_media(color_scheme=scheme)
    seen, poor = page.evaluate(CONTRASTS)
    assert seen > 250
    assert poor == []
    page.locator("#rows tr").first.click()
    assert page.evaluate(CONTRASTS)[1] == []
    shot(page, f"items_{scheme}")
    ground = page.evaluate("getComputedStyle(document.getElementById('card')).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]


def test_on_paper_and_on_a_phone(page: Any, tmp_path: Path, shot: Shot) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#model").is_visible()
    assert not page.get_by_role("button", name="Next page").is_visible()
    page.pdf(path=tmp_path / "items.pdf")
    assert (tmp_path / "items.pdf").read_bytes().count(b"/Type /Page\n") < 6
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.locator("#rows tr").first.click()
    assert page.locator("#card").bounding_box()["width"] <= 400
    shot(page, "items_phone")
    page.emulate_media(media="print")
    assert not page.locator("h1").is_visible()  # the open item alone is printed
    assert page.locator("#card").is_visible()


def test_in_a_sandboxed_frame_as_viewers_have_it(browser: Any, made: SimpleNamespace) -> None:
    outside = made.page.with_name("viewer.html")
    outside.write_text('<iframe sandbox="allow-scripts" src="made.html" width="1200" height="700"></iframe>')
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(outside.as_uri())
    frame = opened.frame_locator("iframe")
    frame.locator("body[data-ready]").wait_for()
    assert not frame.locator("#back").is_visible()  # there is nothing beside it
    frame.locator("#rows tr").first.click()
    assert frame.locator("#card figure").count() == 3
    opened.close()
    assert wrong == []


def test_answers_without_choices_or_texts(browser: Any, tmp_path: Path) -> None:
    """A task of free answers, of one seed each, without its data."""
    random = np.random.default_rng(2)
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    runs = [(f"m-{step}", "m", 2**step) for step in range(6)]
    for run, _, _ in runs:
        ids = [f"d{place}" for place in range(40)]
        frame = {"doc_id": range(40), "doc_hash": ids, "prompt_hash": ids, "filter": "none"}
        frames[run, "made"] = pd.DataFrame({**frame, "exact_match": random.integers(0, 2, 40).astype(float)})
    rows = table_rows(runs, [0.5] * len(runs), metric="exact_match", chance=np.nan)
    grid = read_grid(rows, tables_of(MadeStore(frames)), with_shares=True)
    assert not isinstance(grid, str)
    found = item_dynamics(grid, [], tables_of(MadeStore(frames)), None, ItemSettings(None, 0.05, 0.05, "fdr_bh", 0))
    path = tmp_path / "free.html"
    path.write_text(render_items(pack(grid, found.courses, found.items), "Free", "toy", None, []))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    assert not page.locator("#shade").is_visible()
    assert not page.locator("#find").is_visible()
    assert page.locator("#back").count() == 0
    page.locator("#rows tr").first.click()
    assert page.locator("#card rect").count() == 6
    assert page.locator("#card path.line").count() == 0
    page.close()


def test_one_item_at_one_checkpoint(browser: Any, tmp_path: Path) -> None:
    frame = items_frame(np.log([[0.25, 0.75]]), np.array([1]))
    store = MadeStore({("m", "made"): frame})
    grid = read_grid(table_rows([("m", "m", 8)], [1.0]), tables_of(store), with_shares=True)
    assert not isinstance(grid, str)
    found = item_dynamics(grid, [], tables_of(store), None, ItemSettings(None, 0.05, 0.05, "fdr_bh", 0))
    path = tmp_path / "one.html"
    path.write_text(render_items(pack(grid, found.courses, found.items), "One", "toy", None, []))
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.locator("#map").click()
    assert "from 0.75 to 0.75" in page.locator("#card svg").get_attribute("aria-label")
    assert page.locator("#card .choices .text").all_text_contents() == ["choice 1", "choice 2"]
    page.close()
    assert wrong == []


def test_a_damaged_page_says_so(browser: Any, made: SimpleNamespace, tmp_path: Path) -> None:
    whole = made.page.read_text()
    start = whole.index('data-name="class-0">') + len('data-name="class-0">')
    path = tmp_path / "damaged.html"
    path.write_text(whole[:start] + "AAAA" + whole[start + 4 :])
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_text("the file may be damaged").wait_for()
    page.close()
