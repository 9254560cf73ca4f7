"""Nulls and NaN that a template would make the words "None" and "nan", in whatever way it asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_PARTS = (("prompt", "doc_to_text"), ("target", "doc_to_target"), ("choices", "doc_to_choice"))


def problem(task: Any, document: Mapping[str, Any]) -> str | None:
    """Which gap of a row would be written out, as the end of a sentence that begins with the row.

    One that a template only asks about (`{% if context %}`), or has another text for, is left alone.

    Args:
        task: lm-eval's task object.
        document: The row.
    """
    if not _has_gap(document):
        return None
    marked = {name: _marked(value, name) for name, value in document.items()}
    for part, key in _PARTS:
        template = getattr(task.config, key)
        if not isinstance(template, str):
            continue
        named = [template] if template in document else []
        if named and part != "choices" and isinstance(marked[template], _Gap):
            return _said(template, part)
        try:
            if not named:
                _template(template).render(**marked)
        except _WrittenError as error:
            return _said(error.name, part)
        except Exception:  # told where the template is rendered
            continue
    return next(_among_choices(task.config.doc_to_choice, document), None)


def _said(name: str, part: str) -> str:
    return f"has nothing in '{name}', which the {part} name{'s' * (part != 'choices')}"


def _among_choices(template: Any, document: Mapping[str, Any]) -> Iterator[str]:
    """Nulls in a list of choices, unless the template picks among them."""
    if not isinstance(template, str) or "reject" in template:
        return
    words = [template] if template in document else template.replace("{", " ").replace("}", " ").split()
    for column in words:
        if isinstance(held := document.get(column), list) and None in held:
            yield f"has null among '{column}', which the choices name"


class _WrittenError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Gap:
    """A null that is as false as any, and equal to another, but that cannot be written."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        raise _WrittenError(self.name)

    def __repr__(self) -> str:  # in a list of choices, which are looked at as they are
        return "None"

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Gap)

    def __hash__(self) -> int:
        return hash(None)


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _has_gap(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return _is_gap(value) or any(map(_has_gap, inner))


def _marked(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _marked(one, f"{name}.{key}") for key, one in value.items()}
    if isinstance(value, list):
        return [_marked(one, name) for one in value]
    return _Gap(name) if _is_gap(value) else value


@lru_cache(maxsize=64)
def _template(template: str) -> Any:
    from lm_eval.utils import env

    asking = env.overlay()
    asking.tests = env.tests | {"none": lambda value: value is None or isinstance(value, _Gap)}
    return type(env).from_string(asking, template)  # lm-eval's own may be a cache of its templates
