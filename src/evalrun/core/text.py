"""Names from outside, as text in what a browser or a Markdown viewer renders."""

from __future__ import annotations


def markdown_escape(text: str) -> str:
    """Text as Markdown shows it, also inside a table's cell and where HTML is let through."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + character if character in "\\|*_`[]" else character for character in " ".join(text.split()))
