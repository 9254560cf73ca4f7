"""Draw what a terminal shows as an SVG: `python examples/terminal_picture.py out.svg TITLE < shown.txt`.

The input may have a terminal's colours; the picture loads nothing from elsewhere. Those in docs/images are of real
sweeps in tmux:

    tmux new-session -d -s demo -x 110 -y 40; tmux send-keys -t demo 'python -m evalrun -m experiment=demo' Enter
    tmux capture-pane -t demo -e -p | python examples/terminal_picture.py docs/images/live.svg 'experiment=demo'
"""

from __future__ import annotations

import io
import sys
from html import escape
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_COLORS = [(29, 32, 38), (255, 123, 114), (86, 201, 141), (255, 184, 107), (110, 168, 254), (204, 153, 255)]
_COLORS += [(92, 200, 214), (212, 215, 221)]
THEME = TerminalTheme((29, 32, 38), (212, 215, 221), _COLORS, [(139, 147, 161), *_COLORS[1:]])
STYLES = {"WARNING": "red", "DROP": "yellow"}  # what `evalrun watch` marks in words
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>TITLE</title>
<style>
text {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; }}
.title {{ font-size: 15px; fill: #8b93a1; }}
{styles}
</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" rx="10" fill="#1d2026"/>
<text class="title" x="22" y="27">TITLE</text>
<g transform="translate(10, 40)">
{backgrounds}
<g>{matrix}</g>
</g>
</svg>
"""


def draw(shown: str, title: str) -> str:
    """The picture of some lines."""
    rows = [Text.from_ansi(line) for line in shown.rstrip().splitlines()]
    for row in rows:
        for word, style in STYLES.items():
            if row.plain.startswith(word) or row.plain.endswith(word):
                row.stylize(style)
    width = min(120, max(row.cell_len for row in rows) + 2)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for row in rows:
        console.print(Padding(row, (0, 1)))
    name = escape(title).replace("{", "{{").replace("}", "}}")
    return console.export_svg(theme=THEME, code_format=FRAME.replace("TITLE", name), unique_id="t")


if __name__ == "__main__":
    target, title = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    target.write_text(draw(sys.stdin.read(), title))
