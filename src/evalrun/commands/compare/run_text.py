"""A comparison of runs for people, and for scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalrun.core.text import listed

if TYPE_CHECKING:
    from pathlib import Path

    from evalrun.commands.compare.over_training import ComparedRuns

_WIDTH = 100
_TITLE = 28


def runs_text(compared: ComparedRuns, page: Path | None) -> str:
    """A line a task, a sentence a task, then what must be known.

    Args:
        compared: Two groups of runs.
        page: The report, if there is one.
    """
    from evalrun.statistics.training_runs.run_sentences import claim_of, look_sentence, methods_of, run_sentences

    found = compared.found
    rows = found.tasks.to_dict("records")
    width = max(4, min(_TITLE, max(len(str(row["title"])) for row in rows)))
    level = f"{100 * (1 - found.bands.settings.alpha):g} %"
    lines = [f"A  {compared.labels[0]}", f"B  {compared.labels[1]}", f"scored by {compared.settings}"]
    if compared.others:
        lines.append(f"seeds differ as those of {listed([one.name for one in compared.others], 6)}")
    first = found.points.groupby("task", sort=False)["point"].max().max() + 1
    lines.append(f"matched by {compared.axis}, at {first} points")
    heading = f"B - A [{level} band]"
    lines += ["", f"{'task':<{width}} {'A':>6}  {'B':>6}  {heading:<25} {'d_z':>6} {'p':>6} {'from':>8}  B is"]
    lines += [_line(row, width) for row in rows]
    said = [*run_sentences(found), claim_of(found.bands), look_sentence(found), *methods_of(found), *compared.notes]
    lines += ["", *(part for sentence in said if sentence for part in _wrapped(sentence))]
    return "\n".join([*lines, *([] if page is None else [f"report: {page}"])])


def _line(row: Mapping[Any, Any], width: int) -> str:
    """One task's line of the table, its title so wide."""
    from evalrun.statistics.training_runs.run_sentences import signed_number
    from evalrun.statistics.training_runs.run_tables import NEITHER

    title = str(row["title"])
    title = title if len(title) <= width else f"{title[: width - 3]}..."
    change = f"{signed_number(row['difference'])} [{signed_number(row['low'])}, {signed_number(row['high'])}]"
    a, b = (signed_number(row[name]).lstrip("+") for name in ("a", "b"))
    since = "-" if row["decided_step"] != row["decided_step"] else f"{row['decided_step']:.0f}"
    effect = signed_number(row["effect"])
    p = "-" if row["p"] != row["p"] else "<.001" if row["p"] < 0.0005 else f"{row['p']:.3f}"
    verdict = "neither" if row["verdict"] == NEITHER else row["verdict"]
    return f"{title:<{width}} {a:>6}  {b:>6}  {change:<25} {effect:>6} {p:>6} {since:>8}  {verdict}"


def runs_json(compared: ComparedRuns, files: Mapping[str, Path]) -> dict[str, Any]:
    """One object; keys stay, what is not known is null.

    Args:
        compared: Two groups of runs.
        files: What was written, by name.
    """
    from evalrun.statistics.training_runs.run_sentences import claim_of, plain_records, run_sentences

    found = compared.found
    sides = {
        name: [{"suite": one.suite, "model": one.model, "seed": one.seed} for one in runs]
        for name, runs in (("a", compared.first), ("b", compared.second), ("seeds_from", compared.others))
    }
    about = {
        "settings": compared.settings,
        "at": found.at,
        "axis": compared.axis,
        "alpha": found.bands.settings.alpha,
        "allows_for": found.bands.kind,
        "df": found.bands.df,
        "critical": found.bands.critical if found.bands.critical < float("inf") else None,
        "claim": claim_of(found.bands),
    }
    tasks = [
        {**row, "sentence": said} for row, said in zip(plain_records(found.tasks), run_sentences(found), strict=True)
    ]
    tables = {"tasks": tasks, "points": plain_records(found.points), "looks": plain_records(found.looks)}
    return {**sides, **about, **tables, "notes": compared.notes, "files": {k: str(v) for k, v in files.items()}}


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
