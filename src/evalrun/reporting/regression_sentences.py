"""What the regressions find, as sentences: which effects stand, by which methods, and on what that rests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.reporting.effect_words import effect_name, which_stars
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.comparison import error_ratios, reach_of
from evalrun.statistics.regression.interactions import EFFECTS, INDEPENDENT, METHODS

_ENORMOUS = 10.0  # a t that no effect among a handful of models will reach
_MOST = 6  # tasks that a sentence names


def significant(study: Findings, method: str, correction: str | None = None) -> pd.DataFrame:
    """The rows of a method that are significant after a correction (the first, unless told otherwise)."""
    rows = study.effects[study.effects["method"] == method]
    return rows[rows[f"q_{correction or study.choice.corrections[0]}"] < study.choice.alpha]


def regression(study: Findings) -> Iterator[str]:
    """How many effects are significant, by the headline method and by the others, and which slopes mislead."""
    method, alpha = study.choice.methods[0], study.choice.alpha
    tested, found = study.headline[study.headline["p"].notna()], significant(study, method)
    if tested.empty:
        yield f"No effect could be tested by {METHODS[method].name}; the notes below the table say why."
    else:
        split = ", ".join(f"{_named(name, study)} {int((found['effect'] == name).sum())}" for name in EFFECTS)
        of = f"{len(found)} of {counted(len(tested), 'effect')} {'is' if len(found) == 1 else 'are'}"
        yield f"By {METHODS[method].name} {of} significant at q < {alpha:g}: {split}."
    others = study.choice.methods[1:]
    rows = {name: study.effects[(study.effects["method"] == name) & study.effects["p"].notna()] for name in others}
    told = [f"{len(significant(study, name))} of {len(own)} by {METHODS[name].name}" for name, own in rows.items()
            if len(own)]  # fmt: skip
    if told:
        yield f"By the other methods: {listed(told, 9)}."
    if unfitted := [METHODS[name].name for name, own in rows.items() if own.empty]:
        yield f"No effect could be tested by {listed(unfitted, 9)}: “Which effects stand” says why."
    if len(tested) or told:
        yield which_stars(study)
    if len(found) and told:
        yield from _stand(study, len(found))
    yield from stories(study)


def _named(effect: str, study: Findings) -> str:
    return effect_name(effect, study.choice.axis)


def _stand(study: Findings, found: int) -> Iterator[str]:
    """How many of the headline's significant effects every method confirms that could have, and which."""
    tests = study.effects.groupby("method")["p"].count()
    fitted = [name for name in study.choice.methods if tests[name]]
    reach = {name: reach_of(study.effects, name, found, study.choice) for name in fitted}
    able = [name for name in fitted if reach[name].least_q < study.choice.alpha]
    stand = _standing(study, able)
    titles = [f"{title} ({', '.join(effects)})" for title, effects in stand.items()]
    count = sum(len(effects) for effects in stand.values())
    unable = [name for name in fitted if name not in able]
    how = f"significant by every method that could {'find it so' if unable else 'be fitted'}"
    if not count:
        yield f"{'It is not' if found == 1 else f'None of the {found} is'} {how}."
    else:
        some = f"{count} of the {found} {'is' if count == 1 else 'are'}"
        many = "It is" if found == 1 else f"All {found} are" if count == found else some
        yield f"{many} {how}: {listed(titles, 12)}."
    models = int(study.effects["clusters"].max())
    for name in unable:
        yield (
            f"{_capital(METHODS[name].name)} is not among them: however strong an effect is, with "
            f"{counted(models, 'model')} no p of it is below {reach[name].least_p:.2g}, and so no q below "
            f"{study.choice.alpha:g}."
        )
    hard = [name for name in able if reach[name].needed_t > _ENORMOUS]
    if hard:
        top = max(hard, key=lambda name: reach[name].needed_t)
        yield (
            f"{counted(models, 'model').capitalize()} {'is' if models == 1 else 'are'} few: to be significant alone "
            f"among all tests, |t| must exceed up to {reach[top].needed_t:.0f} by {METHODS[top].name} "
            f"({reach[top].df:.2g} degrees of freedom). So the lack of a star says little against an effect."
        )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _standing(study: Findings, methods: Sequence[str]) -> dict[str, list[str]]:
    """Title -> effects with a star that each of these methods finds significant too, with one sign."""
    stand: dict[str, list[str]] = {}
    own = study.effects[study.effects["method"].isin(list(methods))]
    starred = set(own.index[(own["method"] == study.choice.methods[0]) & (own["q"] < study.choice.alpha)])
    for (_, effect), rows in own.groupby(["task", "effect"], sort=False):
        if starred.isdisjoint(rows.index):  # what the headline could not test is none of its effects
            continue
        fitted = rows[rows["p"].notna()]
        one_sign = fitted["estimate"].gt(0).nunique() == 1
        if len(fitted) and one_sign and (fitted["q"] < study.choice.alpha).all():
            stand.setdefault(str(rows["title"].iloc[0]), []).append(_named(str(effect), study))
    return stand


def stories(study: Findings) -> list[str]:
    """A sentence for each task whose slope over training and whose curves tell two stories."""
    found = study.two_stories
    told = [_story(row, study) for row in found.head(_MOST).to_dict("records")]
    rest = len(found) - len(told)
    return told + ([f"So it is in {counted(rest, 'more task')}: tables/two_stories.csv."] if rest > 0 else [])


def _story(row: dict[Any, Any], study: Findings) -> str:
    """`NeQA: shape and slope tell two stories. ...`, with the slopes before and after the turn.

    Args:
        row: Of `two_stories.two_stories`.
        study: Axis of the regression.
    """
    up = 1.0 if row["higher_is_better"] else -1.0
    axis = effect_name("tokens", study.choice.axis)
    per = f"per tenfold {axis}"
    said = (
        f"{row['title']}: shape and slope tell two stories. The slope over {axis} is "
        f"significant (t = {up * row['t']:+.2f} by {METHODS[row['method']].name}), but {row['curves']} of "
        f"{counted(row['of'], 'curve')} {'is' if row['curves'] == 1 else 'are'} {row['label']}"
    )
    if pd.notna(row["before"]):
        sides = [f"{up * row[side]:+.3g}{_interval(row, side, up)} {per}" for side in ("before", "after")]
        said += f": {sides[0]} up to the turn, {sides[1]} from it on (the mean of these curves)"
    return said + (f"; lower {row['title']} is better, and signs are turned." if up < 0 else ".")


def _interval(row: dict[Any, Any], side: str, up: float) -> str:
    low, high = sorted((up * row[f"{side}_low"], up * row[f"{side}_high"]))
    return "" if np.isnan(low) else f" ({low:+.3g} to {high:+.3g})"


def assumptions(study: Findings) -> Iterator[str]:
    """Where assumptions fail and what follows, in one sentence each."""
    found = study.diagnostics
    dependent = found[(found["autocorrelation_p"] < study.choice.alpha) & (found["autocorrelation"] > 0)]
    if len(dependent):
        top = dependent.sort_values("autocorrelation").iloc[-1]
        headline = study.choice.methods[0]
        allowed = f"{'not ' if headline in INDEPENDENT else ''}allowed for by {METHODS[headline].name}"
        yield (
            f"In {len(dependent)} of {counted(len(found), 'task')} neighbouring checkpoints of a model miss the plane "
            f"together (residual autocorrelation up to {top['autocorrelation']:.2f}, {top['title']}; each beyond "
            f"chance, p < {study.choice.alpha:g}): they are not independent, which is {allowed}."
        )
    yield from _errors(study)
    curved = found[found["curved"].astype(bool)]
    if len(curved):
        titles = listed([str(title) for title in curved["title"]], 6)
        yield (
            f"{counted(len(curved), 'task')} {'wants' if len(curved) == 1 else 'want'} a curve rather than a plane "
            f"(AIC better by more than 10 with squares): {titles}."
        )
    moved = found[found["influence_flips"].astype(bool)]
    if len(moved) and study.sensitivity.empty:  # which says it of every model, and after the correction
        named = [f"{row['title']} without {row['influence_model']}" for row in moved.to_dict("records")]
        yield (
            f"In {counted(len(moved), 'task')} the uncorrected p of an effect crosses {study.choice.alpha:g} when one "
            f"model is left out: {listed(named, 6)}."
        )


def _errors(study: Findings) -> Iterator[str]:
    """How large the errors clustered by model are beside those of OLS, and what is lost with them."""
    ratios = error_ratios(study.effects, study.choice.alpha)
    if ratios.empty:
        return
    name, ratio = METHODS[str(ratios["method"].iloc[0])].name, ratios["ratio"]
    larger, smaller = int((ratio > 1).sum()), int((ratio <= 1).sum())
    sure, cautious = "OLS is too sure", "OLS is too cautious, or the models are too few to tell"
    told = f"larger for {larger}, where {sure}, and smaller for {smaller}, where {cautious}"
    if not larger or not smaller:
        told = f"all {'larger' if larger else 'smaller'}: {sure if larger else cautious}"
    if len(ratios) == 1:
        yield f"The standard error clustered by model ({name}) is {ratio.iloc[0]:.2f} times that of OLS."
    else:
        yield (
            f"Standard errors clustered by model ({name}) are {ratio.min():.2f} to {ratio.max():.2f} times those of "
            f"OLS (median {ratio.median():.2f}, {counted(len(ratios), 'effect')}): {told}."
        )
    lost = ratios[ratios["lost"]].sort_values("ratio", ascending=False, kind="stable")
    if len(lost):
        stars = int((ratios["ols_q"] < study.choice.alpha).sum())
        named = [
            f"{row['title']} ({_named(row['effect'], study)}, {row['ratio']:.2f})" for row in lost.to_dict("records")
        ]
        yield (
            f"Of {counted(stars, 'effect')} that {'is' if stars == 1 else 'are'} significant by OLS, {len(lost)} "
            f"{'is' if len(lost) == 1 else 'are'} not by {name}, which have fewer degrees of freedom and, where the "
            f"ratio in brackets is above 1, are larger: {listed(named, 12)}."
        )
