"""The faults that were known when this version was released: `known_faults.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from evalrun.checkpoints.audit.faults import Fault

FILE = Path(__file__).with_name("known_faults.yaml")
CONFIRMED, UNSEEN, UNCHECKED = "confirmed", "not seen by this audit", "not checked"


@dataclass(frozen=True)
class KnownFault:
    """One entry of the file, which explains the keys."""

    repository: str
    kind: str
    format: str | None
    steps: tuple[int, ...] | None
    says: str
    sources: tuple[str, ...]

    @property
    def source(self) -> str:
        """Where it was reported, in brackets after its sentence; empty where no report is known."""
        return f" ({', '.join(self.sources)})" if self.sources else ""

    def status(self, faults: list[Fault], seen: set[int], released: set[int]) -> str:
        """Whether an audit that saw these steps found it again.

        Args:
            faults: What the audit found.
            seen: The steps that it could compare.
            released: All steps of the model.
        """
        for fault in faults:
            same_kind = fault.kind in ("shared_weights", "shared_shards")
            same_format = self.format in (None, fault.format)
            if same_kind and same_format and (self.steps is None or set(self.steps) & set(fault.steps)):
                return CONFIRMED
        if not seen:
            return f"{UNCHECKED}: the hub was out of reach"
        if not seen >= (released if self.steps is None else set(self.steps)):
            return f"{UNCHECKED}: it concerns steps that this audit was not asked for or could not read"
        return UNSEEN


@lru_cache(maxsize=1)
def entries() -> tuple[KnownFault, ...]:
    """All entries."""
    return tuple(
        KnownFault(**{**entry, "steps": entry["steps"] and tuple(entry["steps"]), "sources": tuple(entry["sources"])})
        for entry in yaml.safe_load(FILE.read_text())
    )


def concerning(repository: str) -> list[KnownFault]:
    """Those of a hub repository."""
    return [entry for entry in entries() if entry.repository == repository]
