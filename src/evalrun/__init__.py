"""evalrun: evaluate every checkpoint on every task, track it, and find where capabilities rise, fall and return.

In a notebook: `evaluate`, `results`, `fit`, `shapes`, `falls`, `groups`, `items`, `compare`, `report`, `plot`,
`predict`, `over_loss`, `decision_accuracy`, `words`, `word_correlations`, `word_ages`, `reading_times`, `export`; see
`evalrun.api`.
"""

from typing import TYPE_CHECKING, Any

from evalrun.core.version import __version__ as __version__

if TYPE_CHECKING:
    from evalrun.api import (
        compare,
        compare_runs,
        decision_accuracy,
        evaluate,
        export,
        falls,
        fit,
        groups,
        items,
        over_loss,
        plot,
        predict,
        reading_times,
        report,
        results,
        shapes,
        word_ages,
        word_correlations,
        words,
    )

__all__ = [
    "compare",
    "compare_runs",
    "decision_accuracy",
    "evaluate",
    "export",
    "falls",
    "fit",
    "groups",
    "items",
    "over_loss",
    "plot",
    "predict",
    "reading_times",
    "report",
    "results",
    "shapes",
    "word_ages",
    "word_correlations",
    "words",
]


def __getattr__(name: str) -> Any:
    """The functions of `evalrun.api`, imported when the first of them is asked for: a command needs none."""
    if name not in __all__:
        raise AttributeError(f"module 'evalrun' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("evalrun.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
