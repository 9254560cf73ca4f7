"""Jinja's `int` and `float` make 0 of what is no number, without a word: here it is said, with the row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_READ = re.compile(r"\b(int|float)\b")
_TEMPLATES = ("doc_to_text", "doc_to_choice", "doc_to_target")


def problem(task: Any, document: Mapping[str, Any]) -> str | None:
    """What a template reads as a number though it is none, as the end of a sentence that begins with the row.

    A filter with a number of its own to fall back on, `int(0)`, says what is meant, and is left alone.

    Args:
        task: lm-eval's task object.
        document: The row.
    """
    for key in _TEMPLATES:
        template = getattr(task.config, key)
        if not isinstance(template, str) or template in document or not _READ.search(template):
            continue
        try:
            _strict(template).render(**document)
        except _NoNumberError as error:
            return (
                f"has {error.value!r} where {key} asks for a number by `{error.name}`, which would make 0 of it: mend "
                f"the row, or write {error.name}(0) where 0 is meant"
            )
        except Exception:  # told where the template is rendered
            continue
    return None


class _NoNumberError(Exception):
    def __init__(self, value: Any, name: str) -> None:
        super().__init__(value, name)
        self.value, self.name = value, name


@lru_cache(maxsize=64)
def _strict(template: str) -> Any:
    """The template with filters that take numbers alone."""
    from lm_eval.utils import env

    strict = env.overlay()
    strict.filters = env.filters | {name: _filter(name, env.filters[name]) for name in ("int", "float")}
    return type(env).from_string(strict, template)  # lm-eval's own may be a cache of its templates


def _filter(name: str, lenient: Any) -> Any:
    def read(value: Any, *given: Any, **named: Any) -> Any:
        if not (given or "default" in named) and not _is_number(value, named.get("base", 10), name):
            raise _NoNumberError(value, name)
        return lenient(value, *given, **named)

    return read


def _is_number(value: Any, base: int, name: str) -> bool:
    try:
        if isinstance(value, str) and base != 10:
            int(value, base)
            return True
        number = float(value)
        return name == "float" or math.isfinite(number)
    except (TypeError, ValueError, OverflowError):
        return False
