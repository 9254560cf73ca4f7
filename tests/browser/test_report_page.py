"""The report as a reader has it: in both schemes, on paper, on a phone, with a keyboard, without a network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Shot, report_of, study, watched

# How many texts are seen, and those whose contrast is less than 4.5 (WCAG 2.2, success criterion 1.4.3).
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = c.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = rgba(getComputedStyle(node).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255, 255];
  };
  const poor = [];
  let seen = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest("script")) continue;
    const style = getComputedStyle(node);
    const ink = rgba(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    seen += 1;
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${node.localName} "${walk.currentNode.data.trim().slice(0, 40)}"`);
  }
  return [seen, poor];
}"""


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report."""
    with watched(browser, report.as_uri(), 1200) as opened:
        yield opened


def test_it_is_light_and_opens_with_a_fall_beside_a_rise(page: Any, report: Path, shot: Shot) -> None:
    assert report.stat().st_size < 2_000_000
    shot(page, "report")
    told = page.locator(".opening figure")
    assert told.locator("h2").all_inner_texts() == ["Task <00>", "Task <01>"]
    assert told.locator("figcaption").all_inner_texts() == [
        "It gets worse with training in all 8 models.",
        "It gets better with training in all 8 models.",
    ]
    falls, rises = (figure.bounding_box() for figure in told.all())
    assert falls["y"] == rises["y"]
    assert falls["y"] + falls["height"] < 900  # both are on the first screen
    for figure in told.all():  # every line is named where it ends, in order
        names = [text for text in figure.locator("svg text").all_text_contents() if text.startswith("big-")]
        assert names == [f"big-{size}b" for size in range(1, 9)]
    heads = page.locator("h1, h2, h3").evaluate_all("all => all.map((head) => Number(head.localName[1]))")
    assert heads[0] == 1
    assert all(later - before <= 1 for before, later in itertools.pairwise(heads))  # no level is left out
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("svg:visible").evaluate_all(
        "all => all.filter((svg) => !svg.closest('[aria-hidden=true], [role=img]')).length"
    ) == 0  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Any, scheme: str, shot: Shot) -> None:
    page.emulate_media(color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach((fold) => { fold.open = true; })")
    seen, poor = page.evaluate(CONTRASTS)
    assert seen > 500
    assert poor == []
    shot(page, f"report_{scheme}")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    lines = page.locator(".opening figure:first-child path[style*='--s']")
    strokes = set(lines.evaluate_all("all => all.map((line) => getComputedStyle(line).stroke)")) - {"none"}
    assert len(strokes) == 8


def test_on_paper(page: Any, tmp_path: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRASTS)[1] == []
    assert not page.locator("nav").is_visible()
    assert not page.locator("summary").is_visible()  # nobody can open it there
    assert set(page.locator("figure").evaluate_all("all => all.map((f) => getComputedStyle(f).breakInside)")) == {
        "avoid"
    }
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") < 20


def test_a_page_of_many_tasks_folds_those_beyond_the_first(browser: Any, tmp_path: Path, shot: Shot) -> None:
    made = report_of(study(models=3, tasks=30, steps=5), tmp_path, "")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(made.as_uri())
    fold = page.locator("details.more")
    assert page.locator(".tiles a").count() == 30
    assert page.locator("figure:visible h3").count() == 24
    hidden = fold.locator("h3").first.text_content()
    link = page.locator(".tiles a").filter(has=page.get_by_text(hidden, exact=True))
    link.focus()
    shot(page, "report_tiles")
    page.keyboard.press("Enter")
    assert fold.evaluate("fold => fold.open")
    assert fold.get_by_role("heading", name=hidden).is_visible()
    assert 0 <= fold.locator("figure").first.bounding_box()["y"] < 900
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert not fold.evaluate("fold => fold.open")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRASTS)[1] == []
    page.emulate_media(media="print")
    assert page.locator(".tiles a").first.is_visible()  # what is folded is still seen
    assert not fold.is_visible()
    page.set_viewport_size({"width": 400, "height": 800})
    page.emulate_media(media="screen")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.close()


def test_on_a_phone(page: Any, shot: Shot) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    falls, rises = (figure.bounding_box() for figure in page.locator(".opening figure").all())
    assert rises["y"] > falls["y"] + falls["height"]
    letters = page.locator(".opening svg text").evaluate_all(
        "all => all.map((text) => text.getBoundingClientRect().height)"
    )
    assert min(letters) >= 9  # pixels, of a line of text
    ends = page.locator(".opening svg text").evaluate_all(
        "all => all.map((text) => text.getBoundingClientRect().right)"
    )
    assert max(ends) <= 400
    clips = page.locator(".opening svg").evaluate_all("all => all.map((svg) => getComputedStyle(svg).overflow)")
    assert set(clips) == {"visible"}  # the names' larger letters may go beyond the drawing
    assert min(page.locator("td.words").evaluate_all("all => all.map((cell) => cell.offsetWidth)")) >= 200
    shot(page, "report_phone")


def test_by_finger(page: Any) -> None:
    """The first tap at a point says its numbers, and they stay; the second opens the run."""
    panel = page.locator(".panel").first
    panel.evaluate("() => { window.open = (href) => { window.opened = href; }; }")
    across, down, _, tokens = json.loads(panel.locator("script").text_content())["lines"][0][0][:4]
    tap = """(panel, [across, down]) => {
      const svg = panel.querySelector("svg"), box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      const where = {clientX: box.left + across * scale, clientY: box.top + down * scale};
      const at = {...where, bubbles: true, pointerType: "touch"};
      for (const kind of ["pointerdown", "pointerup", "pointerleave"]) panel.dispatchEvent(new PointerEvent(kind, at));
      panel.dispatchEvent(new MouseEvent("click", at));
      return window.opened ?? null;
    }"""
    assert panel.evaluate(tap, [across, down]) is None
    assert f"({tokens})" in page.locator("#tip").inner_text()
    assert "/runs/" in panel.evaluate(tap, [across, down])


def test_by_keyboard(page: Any, shot: Shot) -> None:
    tip = page.locator("#tip")
    panel = page.locator(".opening .panel").first
    page.keyboard.press("Tab")
    assert panel.evaluate("(panel) => panel === document.activeElement")
    assert tip.inner_text().startswith("Task <00>: big-8b\nstep 128000 (256B tokens)\n0.")
    assert tip.inner_text().endswith(" ± 0.01 (1,200 items)")
    page.keyboard.press("ArrowLeft")
    assert "step 64000 (128B tokens)" in tip.inner_text()
    page.keyboard.press("ArrowDown")
    assert "big-7b\nstep 64000" in tip.inner_text()
    shot(page, "report_keyboard")
    opened: list[str] = []
    page.context.route("http://127.0.0.1:5000/**", lambda route: route.fulfill(body="a run"))
    page.context.on("page", lambda other: opened.append(other.url))
    with page.expect_popup() as other:
        page.keyboard.press("Enter")
    assert other.value.url == "http://127.0.0.1:5000/#/experiments/1/runs/run6x6?x=1"
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_by_mouse(page: Any) -> None:
    drawing = page.locator("#tasks .panel svg").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    points = page.locator("#tasks .panel script").first.evaluate("(script) => JSON.parse(script.textContent)")
    across, down, place, *_ = points["lines"][0][3]
    scale = box["width"] / points["w"]
    page.mouse.move(box["x"] + across * scale, box["y"] + down * scale)
    assert f"{place} " in page.locator("#tip").inner_text()
    button = page.locator(".legend button").nth(2)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("main").get_attribute("data-focus") == "2"
