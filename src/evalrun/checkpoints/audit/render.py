"""What an audit found, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalrun.checkpoints.audit import Audited
from evalrun.checkpoints.audit.faults import distinct

_HEAD = ("model", "steps seen", "distinct weights", "loads", "faults")


def text(found: Sequence[Audited]) -> str:
    """One line a model, then a sentence for each fault, then what was known before."""
    rows = [_HEAD, *(_row(audited) for audited in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    rows.insert(1, tuple("-" * width for width in widths))
    blocks = ["\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    unreachable = list(dict.fromkeys(a.unreachable for a in found if a.unreachable))
    blocks.append("\n".join(unreachable))
    blocks.append("\n".join(f"{a.model}: {fault.sentence}" for a in found for fault in a.faults if not fault.harmless))
    notes = [f"{a.model}: {fault.sentence}" for a in found for fault in a.faults if fault.harmless]
    blocks.append("\n".join(["changing nothing that is loaded:", *notes] if notes else []))
    known = [f"{a.model}: {entry.says}{entry.source}: {status}." for a in found for entry, status in a.known]
    blocks.append("\n".join(["known when this version was released:", *known] if known else []))
    return "\n\n".join(block for block in blocks if block)


def to_json(found: Sequence[Audited]) -> dict[str, Any]:
    """The findings of an audit as plain values, every step listed."""
    return {"faults": count(found), "models": [_model(audited) for audited in found]}


def count(found: Sequence[Audited]) -> int:
    """How many faults there are that change what is loaded."""
    return sum(not fault.harmless for audited in found for fault in audited.faults)


def _row(audited: Audited) -> tuple[str, ...]:
    published = audited.published
    if published is None:
        return (audited.model, f"0 of {len(audited.asked)}", "?", "?", "?")
    faults = sum(not fault.harmless for fault in audited.faults)
    seen = f"{len(published.listings)} of {len(audited.asked)}"
    return (audited.model, seen, str(distinct(published)), ", ".join(_formats(audited)) or "nothing", str(faults))


def _formats(audited: Audited) -> list[str]:
    listings = audited.published.listings.values() if audited.published else []
    return sorted({listing.loaded for listing in listings if listing.loaded}, reverse=True)


def _model(audited: Audited) -> dict[str, Any]:
    """One model's part of `audit --json`: plain values, steps ascending."""
    published = audited.published
    return {
        "suite": audited.suite,
        "model": audited.model,
        "location": audited.location,
        "asked": list(audited.asked),
        "seen": sorted(published.listings) if published else [],
        "distinct_weights": distinct(published) if published else None,
        "loads": _formats(audited),
        "unreachable": audited.unreachable,
        "faults": [vars(fault) for fault in audited.faults],
        "known": [{**vars(entry), "status": status} for entry, status in audited.known],
    }
