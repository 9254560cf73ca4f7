"""Make the pictures of the documentation again: `make pictures`.

    python tests/browser/pictures.py DEMO [STUDY]

DEMO is a folder where `make demo` has run; STUDY one where `evalrun analyze experiment=paper analysis.figures=all`
has, if its pictures are wanted too.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
FIGURES = {"accuracy": "paper", "shapes": "shapes", "evidence/memo_trap": "evidence"}
PORT = 5690
WIDE, HIGH = 1280, 800


def save(name: str, content: bytes, width: int = WIDE) -> None:
    """Write a picture small: at most so many pixels wide, in 128 colours."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    path = IMAGES / f"{name}.png"
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def ui(folder: Path) -> Iterator[str]:
    """`evalrun ui` there: the address of the curves."""
    words = [sys.executable, "-u", "-m", "evalrun", "ui", "--port", str(PORT)]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        for line in process.stdout:
            if "Uvicorn running" in line:
                break
        yield first.strip().split(": ", 1)[1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server and its worker
        process.wait(30)


def newest(folder: Path, suite: str) -> Path:
    """The folder of the suite's newest analysis."""
    return max(folder.glob(f"multirun/analysis/*/{suite}"), key=lambda path: path.stat().st_mtime)


def of_report(browser: Any, report: Path) -> None:
    """The first screen of the report in both schemes."""
    for scheme, name in (("light", "report"), ("dark", "report_dark")):
        page = browser.new_page(viewport={"width": WIDE, "height": 700}, color_scheme=scheme)
        page.goto(report.as_uri())
        save(name, page.screenshot())
        page.close()


def of_items(browser: Any, page: Path) -> None:
    """The first screen of a task's items."""
    opened = browser.new_page(viewport={"width": WIDE, "height": 700})
    opened.goto(page.as_uri())
    opened.wait_for_selector("body[data-ready]")
    save("item_page", opened.screenshot())
    opened.close()


def of_mlflow(browser: Any, folder: Path) -> None:
    """The curves, and two checkpoints compared."""
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    table = store.table("tiny")
    largest = table[table["n_params"] == table["n_params"].max()]
    runs = [str(largest[largest["step"] == step]["run_id"].iloc[0]) for step in (256, 1024)]
    with ui(folder) as curves:
        page = browser.new_page(viewport={"width": 1600, "height": 1100})
        page.goto(curves)
        page.locator("path.js-line").first.wait_for()
        close = page.locator("button[aria-label=Close]")  # MLflow's own assistant beside the page
        if close.count():
            close.first.click()
        page.wait_for_timeout(3000)
        save("mlflow", page.screenshot())
        (experiment,) = re.findall(r"experiments/(\d+)/", store.run_address("tiny"))
        chosen = f"runs={json.dumps(runs)}&experiments={json.dumps([experiment])}"
        page.goto("about:blank")
        page.goto(f"{curves.partition('#')[0]}#/compare-runs?{chosen}")
        page.get_by_text("acc/mean", exact=True).first.wait_for()
        page.get_by_text("Show diff only").nth(0).evaluate("switched => switched.scrollIntoView()")
        page.wait_for_timeout(1000)
        save("mlflow_compare", page.screenshot())


def main(demo: Path, study: Path | None = None) -> None:
    """Make all of them."""
    save("demo", (newest(demo, "tiny") / "figures" / "accuracy.png").read_bytes())
    answers = newest(demo, "tiny") / "figures" / "items" / "tiny_obey_quote.png"
    if answers.exists():  # of an analysis that reads items: analysis=referee
        save("items", answers.read_bytes())
    with sync_playwright() as playwright:
        chromium = Path("/usr/bin/chromium")
        own = {"executable_path": str(chromium)} if chromium.exists() else {}
        browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-gpu"], **own)
        of_report(browser, newest(demo, "tiny") / "report.html")
        items = newest(demo, "tiny") / "items" / "tiny_obey_quote.html"
        if items.exists():
            of_items(browser, items)
        of_mlflow(browser, demo)
        browser.close()
    if study is not None:
        for figure, name in FIGURES.items():
            save(name, (newest(study, "pythia") / "figures" / f"{figure}.png").read_bytes())


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:]))
