"""Columns renamed that Jinja cannot name: `process_docs: !function evalrun.task_columns.plain_names` in a task file."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Any

_TAKEN = {"true", "false", "none", "recursive", "self", "loop", "range", "dict", "lipsum", "cycler", "joiner"}


def plain_names(documents: Any) -> Any:
    """The same documents with every column that Jinja cannot name under its name in `plain`.

    Args:
        documents: A `datasets.Dataset`.
    """
    names = plain(documents.column_names)
    return documents.rename_columns({old: new for old, new in names.items() if old != new})


def plain(columns: Iterable[str]) -> dict[str, str]:
    """Column -> its name in templates, itself where that is possible: `a b`, `a.b`, `a-b` become a_b, a_b_2, a_b_3."""
    names = list(columns)
    found = {name: name for name in names if _is_plain(name)}
    for name in names:
        if name not in found:
            base = re.sub(r"\W", "_", name)
            base = base if _is_plain(base) else f"column_{base}"
            tries = (base if number == 1 else f"{base}_{number}" for number in range(1, len(names) + 2))
            found[name] = next(one for one in tries if one not in found.values())
    return found


def _is_plain(column: str) -> bool:
    return column.isidentifier() and not keyword.iskeyword(column) and column.lower() not in _TAKEN
