"""What the note of a run or an experiment says of where its results are from."""

from __future__ import annotations

import json
from collections.abc import Mapping

from evalrun.core.text import markdown_escape
from evalrun.tracking import layout


def made_by(tags: Mapping[str, str]) -> str:
    """What a note says of the command that made the results; nothing where none is known."""
    command = tags.get(layout.COMMAND)
    # Four spaces make a line code in Markdown, whatever it holds.
    return "\n\nMade by\n" + "".join(f"\n    {line}" for line in command.splitlines()) if command else ""


def came_in(bundle: Mapping[str, str] | None) -> str:
    """What a note says of results that came in a bundle; nothing of one's own."""
    return "" if bundle is None else f", from bundle {markdown_escape(bundle['name'])} ({bundle['digest'][:12]})"


def bundle_of(tags: Mapping[str, str]) -> str:
    """The bundle that a run's results came in, in a few words; empty where no tag says so, or none that can be read."""
    try:
        bundle = json.loads(tags[layout.BUNDLE])
        return f"{bundle['name']} ({bundle['digest'][:12]}), made {bundle['made']}"
    except (ValueError, KeyError, TypeError):
        return ""
