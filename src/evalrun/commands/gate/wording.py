"""A gate's verdicts in words, the same in the terminal, for CI and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

from evalrun.commands.compare.render import number
from evalrun.commands.gate.results import GateResult
from evalrun.commands.gate.verdicts import BREACH, PASSES, UNDECIDED, UNKNOWN, BrokenItem, GateCheck
from evalrun.config.gate_thresholds import AT_LEAST, AT_MOST, IMPROVE, MARGIN
from evalrun.core.text import counted
from evalrun.statistics.power import POWER

_ASKED = {MARGIN: "worse by at most {}", IMPROVE: "better by {}", AT_LEAST: "at least {}", AT_MOST: "at most {}"}


def asked(check: GateCheck) -> str:
    """What is asked: `worse by at most 0.05`."""
    return _ASKED[check.threshold.kind].format(f"{check.threshold.value:g}")


def interval(check: GateCheck) -> str:
    """`[-0.061, -0.012]`; empty where there is none."""
    sign = "+" if check.is_of_change else ""
    if math.isnan(check.bounds.low + check.bounds.high):
        return ""
    return f"[{number(check.bounds.low, sign)}, {number(check.bounds.high, sign)}]"


def sentence(check: GateCheck) -> str:
    """What was found of one thing that is asked, with its interval."""
    found, name = check.bounds, f"{check.task} ({check.metric})" if check.metric else check.task
    if check.verdict == UNKNOWN:
        return f"{name} has no verdict: {check.why}."
    if not check.is_of_change:
        said = f"{name} is {number(found.estimate)} {interval(check)}"
    else:
        moved = "fell" if found.estimate < 0 else "rose" if found.estimate > 0 else "went"
        where = f" ({check.reference.label})" if check.reference is not None else ""
        said = f"{name} {moved} from {number(found.before)}{where} to {number(found.after)}"
        said += f": {number(found.estimate, '+')} {interval(check)}"
    outcome = {
        PASSES: f"{asked(check)}, as asked",
        BREACH: f"{asked(check)} is asked, and it is shown not to be",
        UNDECIDED: f"{asked(check)} is asked, which the data neither show nor rule out",
    }[check.verdict]
    return f"{said} on {counted(found.n, 'item')}{_changed(check)}; {outcome}."


def _changed(check: GateCheck) -> str:
    """How many items changed each way."""
    if not check.is_of_change or math.isnan(check.bounds.fell):
        return ""
    return f", of which {check.bounds.fell:.0f} fell and {check.bounds.rose:.0f} rose"


def item_line(item: BrokenItem) -> str:
    """`item 12: 1 to 0, "Paris" to "Lyon": The capital of France is`."""
    moved = ""
    if item.answer_before or item.answer_after:
        moved = f', answer "{item.answer_before}" to "{item.answer_after}"'
    said = f"item {item.doc_id}: {item.before:g} to {item.after:g}{moved}"
    return f"{said}: {item.prompt}" if item.prompt else said


def headline(result: GateResult) -> str:
    """The last word: whether it passed, and what did not."""
    counts = {kind: sum(check.verdict == kind for check in result.checks) for kind in (BREACH, UNDECIDED, UNKNOWN)}
    said = [
        f"{counts[BREACH]} breached" if counts[BREACH] else "",
        f"{counts[UNDECIDED]} undecided, which {'fails' if result.gate.undecided == 'fail' else 'passes'} here "
        f"(gate.undecided={result.gate.undecided})"
        if counts[UNDECIDED]
        else "",
        f"{counts[UNKNOWN]} without a verdict" if counts[UNKNOWN] else "",
    ]
    told = "; ".join(part for part in said if part)
    checks = counted(len(result.checks), "check")
    if not result.failing:
        return f"PASSED: {checks}{f', {told}' if told else ', all shown'}."
    return f"FAILED: of {checks} {told}."


def power_lines(result: GateResult) -> Iterator[str]:
    """What the gate could not have seen."""
    known = [check for check in result.checks if not math.isnan(check.smallest_shown + check.smallest_margin)]
    if not known:
        return
    shown = ", ".join(f"{check.task} {number(check.smallest_shown)}" for check in known)
    yield f"Not seen: with {POWER:.0%} power a breach shows only where a task is worse by more than this: {shown}."
    narrow = [check for check in known if check.smallest_margin > 1.01 * check.threshold.value]
    if narrow:
        needed = ", ".join(f"{check.task} {number(check.smallest_margin)}" for check in narrow)
        yield (
            f"Too few items for the margin: an unchanged checkpoint passes with {POWER:.0%} probability only with a "
            f"margin of {needed}."
        )


def how(result: GateResult) -> str:
    """What the intervals are, and what may be wrong with which probability."""
    alpha = f"{100 * result.gate.alpha:g} %"
    methods = ", ".join(dict.fromkeys(check.bounds.method for check in result.checks if check.bounds.method))
    return (
        f"It passes wrongly, though a task exceeds what is allowed, with at most {alpha} probability; it calls a "
        f"breach what is none with at most {alpha} over all {counted(len(result.checks), 'check')}. "
        f"By {methods or 'nothing'}."
    )
