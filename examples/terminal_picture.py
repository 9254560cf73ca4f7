"""Draw what a command printed as an SVG: `python examples/terminal_picture.py out.svg TITLE < printed.txt`."""

from __future__ import annotations

import sys
import textwrap
from html import escape
from pathlib import Path

WIDTH, LINE, LEFT, TOP = 1010, 19, 18, 44
COLORS = {"WARNING": "#ff7b72", "DROP": "#ffb86b", "": "#d4d7dd"}


def draw(lines: list[str], title: str) -> str:
    """The picture."""
    rows = [part for line in lines for part in textwrap.wrap(line, 116, subsequent_indent="        ") or [""]]
    height = TOP + LINE * len(rows) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#1d2026"/>',
        f'<text x="{LEFT}" y="24" font-family="monospace" font-size="13" fill="#8b93a1">{escape(title)}</text>',
    ]
    color = COLORS[""]
    for number, row in enumerate(rows):
        if not row.startswith("        "):  # what is wrapped keeps the colour of its line
            color = next(shade for word, shade in COLORS.items() if row.startswith(word) or row.endswith(word))
        parts.append(
            f'<text x="{LEFT}" y="{TOP + LINE * (number + 1) - 5}" font-family="monospace" font-size="13.5" '
            f'xml:space="preserve" fill="{color}">{escape(row)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    target, title = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    target.write_text(draw(sys.stdin.read().splitlines(), title))
