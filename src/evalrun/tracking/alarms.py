"""An alarm on a checkpoint's run: that a task fell, as a tag for programs and in the run's note for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evalrun.core.text import markdown_escape
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection


def flag(link: MlflowConnection, run_id: str, sentences: Sequence[str], details: Sequence[Mapping[str, Any]]) -> None:
    """Put an alarm on a checkpoint's run: the tag `evalrun.alarm` and a part of its note; none takes it off."""
    tags = link.client.get_run(run_id).data.tags
    text = _fitting(sentences, details) if sentences else None
    if tags.get(layout.ALARM) == text:
        return
    note = tags.get(layout.NOTE, "").partition(layout.ALARM_NOTE)[0]
    if text is None:
        link.client.delete_tag(run_id, layout.ALARM)
    else:
        link.client.set_tag(run_id, layout.ALARM, text)
        note += section({layout.ALARM: text})
    link.client.set_tag(run_id, layout.NOTE, note[: layout.TAG_LIMIT])


def section(tags: Mapping[str, str]) -> str:
    """What an alarm adds to its run's note; nothing where there is none."""
    if layout.ALARM not in tags:
        return ""
    said = json.loads(tags[layout.ALARM])["warnings"]
    return layout.ALARM_NOTE + "".join(f"\n- {markdown_escape(sentence)}" for sentence in said)


def _fitting(sentences: Sequence[str], details: Sequence[Mapping[str, Any]]) -> str:
    """JSON that fits a tag: of very many drops the last are left out, and counted."""
    kept = len(sentences)
    while True:
        left_out = len(sentences) - kept
        text = json.dumps(
            {"warnings": list(sentences[:kept]), "drops": list(details[:kept]), "left_out": left_out},
            separators=(",", ":"),
        )
        if len(text) <= layout.TAG_LIMIT or not kept:
            return text
        kept -= 1
