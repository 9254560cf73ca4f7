"""The page of a task's items: one HTML file, to sort, filter and search them, with a card for each."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evalrun.core.plain_names import slug
from evalrun.core.text import counted
from evalrun.reporting.dynamics_words import tokens_text
from evalrun.reporting.heat_map_figure import KNOWN, WRONG
from evalrun.reporting.page_templates import page_template
from evalrun.statistics.dynamics.distractors import ItemWords, Words
from evalrun.statistics.dynamics.packed_items import PackedItems
from evalrun.statistics.findings import Findings

FOLDER = "items"  # of the pages, below the report
# Of wrong choices, beside the right one's blue: for all common kinds of colour vision (after Okabe & Ito 2008).
_CHOICES = ["#d55e00", "#b3588c", "#b98500", "#00805d", "#7d4a1e", "#6b7280"]
_DARK_CHOICES = ["#ff9557", "#e6a5c8", "#f2c14e", "#4fd1a5", "#d0a27a", "#a9b2bc"]
_LEFT_OUT = "Prompts and choices are left out (analysis.item_pages says whether they are shown)."


def page_name(task: str) -> str:
    """Where a task's page lies, below the report's folder."""
    return f"{FOLDER}/{slug(task)}.html"


def item_pages(study: Findings, words: Words | None) -> dict[str, str]:
    """A page for each task whose answers are packed: path below the report's folder -> HTML.

    Args:
        study: What was found.
        words: Gives the texts of a task's items; None to leave them out.
    """
    pages = {}
    for one in study.dynamics.tasks:
        if one.packed is None:
            continue
        own = None if words is None else words(one.task, one.packed.keys)
        pages[page_name(one.task)] = render_items(one.packed, one.title, study.suite, own, one.notes, "../report.html")
    return pages


def render_items(
    packed: PackedItems, title: str, suite: str, words: ItemWords | None, notes: Sequence[str], back: str = ""
) -> str:
    """The page's HTML: nothing is loaded from elsewhere, and what items say is shown as text.

    Args:
        packed: All answers to the task.
        title: The task's, for people.
        suite: Of the models.
        words: Texts of the items in their order, or why there are none; None to leave them out.
        notes: What else is to be known.
        back: Address of the report, from the page; empty for none.
    """
    texts: dict[str, Any] = {"prompts": [], "choices": [], "columns": {}}
    why = _LEFT_OUT if words is None else words.why.replace("No texts of choices", "No prompts and choices", 1)
    if words is not None and not words.why:
        texts = {"prompts": words.prompts, "choices": words.choices, "columns": dict(words.columns)}
    chunks = {"about": _deflated(packed.about), "texts": _deflated(texts), **packed.chunks}
    return page_template("item_page.html.j2").render(
        title=title,
        suite=suite,
        lede=_lede(packed.about),
        said=[why] if why else [],
        thinned=", ".join(_thinned(packed.about["curves"])),
        notes=list(notes),
        back=back,
        chunks={name: Markup(base64.b64encode(content).decode()) for name, content in chunks.items()},
        wrong=WRONG,
        known=KNOWN,
        choices=_CHOICES,
        dark_choices=_DARK_CHOICES,
        light=[],
        dark=[],
    )


def _deflated(value: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _lede(about: Mapping[str, Any]) -> str:
    """`300 items, 4 models at up to 11 checkpoints (8.19k to 2.1M tokens).`"""
    curves = about["curves"]
    tokens = [float(count) for curve in curves for count in curve["tokens"]]
    checkpoints = max(curve["of"] for curve in curves)
    span = f"{tokens_text(min(tokens))} to {tokens_text(max(tokens))} tokens"
    return (
        f"{counted(about['items'], 'item')}, {counted(len(curves), 'training run')} at up to "
        f"{counted(checkpoints, 'checkpoint')} ({span})."
    )


def _thinned(curves: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is shown at fewer checkpoints than there are."""
    longest = max(curves, key=lambda curve: int(curve["of"]))
    if len(longest["steps"]) < longest["of"]:
        yield f"of {longest['of']} checkpoints {len(longest['steps'])} are shown"
    if longest["others"] and len(longest["others"]) < len(longest["steps"]):
        yield f"those of wrong choices stand at {len(longest['others'])} of {len(longest['steps'])} checkpoints"
