"""How effects, their methods and their axis are called in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalrun.core.text import listed
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.equivalence import NONE, UNDECIDED
from evalrun.statistics.regression.interactions import INDEPENDENT, METHODS
from evalrun.statistics.regression.model_frame import EFFECTS

DOWN = "↓"  # beside a task of whose metric less is better
TURNED = f"{DOWN} less is better of the metric: signs are turned, so that plus is better in every row."
_SECOND = {"tokens": "tokens", "flops": "FLOPs"}
_GROWS = {"tokens": "training", "flops": "compute"}
_EQUAL = {"tokens": "", "flops": " at equal compute"}


def effect_name(effect: str, axis: str) -> str:
    """An effect as tables head it: the second is named by its axis."""
    return _SECOND[axis] if effect == "tokens" else effect


def effect_names(axis: str) -> list[str]:
    """The three effects as tables head them."""
    return [effect_name(effect, axis) for effect in EFFECTS]


def axis_note(axis: str) -> str:
    """What the effect of size means along this axis, where that is not what one would take it for."""
    return "" if axis == "tokens" else "Along FLOPs the effect of parameters is that of size at equal compute."


def signs(study: Findings) -> str:
    """What must be said of the signs in a table of this study's effects; empty where they are as one takes them."""
    down = not study.table["higher_is_better"].astype(bool).all()
    return " ".join(part for part in (axis_note(study.choice.axis), TURNED if down else "") if part)


def meaning(effects: Mapping[Any, Mapping[Any, Any]], alpha: float, axis: str) -> str:
    """The significant effects of a task in words, turned so that up is better.

    Args:
        effects: Effect -> its row of the headline method, as `orientation.turned` returns it.
        alpha: Level of q.
        axis: A key of `model_frame.AXES`.
    """
    if all(pd.isna(row["p"]) for row in effects.values()):
        return "Not tested: see the notes below the table."
    sign = {name: row["estimate"] > 0 for name, row in effects.items() if pd.notna(row["q"]) and row["q"] < alpha}
    better, worse = ("higher", "lower") if all(row["higher_is_better"] for row in effects.values()) else _LESS
    parts = []
    for name, what in (("parameters", f"size{_EQUAL[axis]}"), ("tokens", _GROWS[axis])):
        if name in sign:
            parts.append(f"{better if sign[name] else worse} with {what}")
    text = " and ".join(parts)
    if "interaction" in sign:
        more = f"larger models gain {'more' if sign['interaction'] else 'less'} from {_GROWS[axis]}"
        more += "" if sign["interaction"] else ", or lose more"
        text = f"{text}; {more}" if text else more
    return f"Regression: {text or _without_star(effects, alpha, axis)}."


def _without_star(effects: Mapping[Any, Mapping[Any, Any]], alpha: float, axis: str) -> str:
    """What is to be said of a task without any significant effect: shown to be small, or undecided."""
    tested = {name: row for name, row in effects.items() if row["verdict"] in (NONE, UNDECIDED)}
    small = [effect_name(str(name), axis) for name, row in tested.items() if row["verdict"] == NONE]
    if not tested:
        return f"no effect at q < {alpha:g}"
    limit = f"no effect of more than {next(iter(tested.values()))['margin']:.3g} per tenfold"
    if len(small) == len(tested):
        return limit
    if small:
        rest = [effect_name(str(name), axis) for name in tested if effect_name(str(name), axis) not in small]
        return f"{limit} of {_both(small)}; undecided for {_both(rest)}"
    return f"no effect at q < {alpha:g}, and whether there is one is undecided"


def _both(names: list[str]) -> str:
    """Effects in one phrase."""
    return listed([f"{'the ' if name == 'interaction' else ''}{name}" for name in names], 3)


_LESS = ("lower (better)", "higher (worse)")


def which_stars(study: Findings) -> str:
    """Which method the stars are of and what it takes for granted; what plain least squares beside it would star."""
    method = study.choice.methods[0]
    name = METHODS[method].name
    if method in INDEPENDENT:
        return (
            f"Stars are by {name}, which takes the checkpoints of one model as independent: where they are not, there "
            "are too many."
        )
    own = study.headline
    if not own["p"].notna().any():
        said = f"Nothing is starred: no effect could be tested by {name}"
    elif method == "cluster":
        said = f"Stars are by {name}, which are too small with few models"
    else:
        said = f"Stars are by {name}: checkpoints of one model may depend on each other, and models may be few"
    if study.beside is None:
        return f"{said}."
    if not study.beside["p"].notna().any():
        return f"{said}, nor by OLS."
    alpha = study.choice.alpha
    stars, plain = int((own["q"] < alpha).sum()), int((study.beside["q"] < alpha).sum())
    many = f"{plain} instead of {stars}" if plain != stars else "as many" if stars else "none either"
    return f"{said}. OLS, beside it, takes checkpoints as independent and would star {many}."
