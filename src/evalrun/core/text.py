"""Text for people: counts and lists in words, and names from outside where they are rendered."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`, `1,200 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int | None = None) -> str:
    """`a, b and c`; of more than `most` the first, and how many more there are."""
    names = list(names)
    if most is not None and len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def last_words(text: str) -> str:
    """The last three lines of what a program said, at most 400 characters, in one line without its full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-400:].rstrip(".")


def markdown_escape(text: str) -> str:
    """Text as Markdown shows it, also inside a table's cell and where HTML is let through."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + character if character in "\\|*_`[]" else character for character in " ".join(text.split()))
