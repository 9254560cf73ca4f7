"""`audit`: what is wrong in published checkpoints."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from evalrun.checkpoints import audit
from evalrun.checkpoints.audit import render
from evalrun.config.compose import hydra_session
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov

_UNKNOWN_TOKENS = "model.tokens_per_step=0"  # of a run that does not say them: nothing here is counted in tokens


def command(words: Sequence[str]) -> int:
    """`audit`: what is wrong in published checkpoints; exit code 0 nothing, 1 faults or nothing could be seen."""
    flags, overrides = ov.split_flags(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with hydra_session():
        given = ov.parse(overrides)
        if not any(o.key_or_group == "step" for o in given):
            given += ov.parse(["step=all"])
        if not any(o.key_or_group.endswith("tokens_per_step") for o in given):
            given += ov.parse([_UNKNOWN_TOKENS])
        override_checks.check(given)
        found = audit.run([job.config for job in planning.plan(tuple(ov.for_hydra(given))).jobs])
    print(json.dumps(render.to_json(found), indent=1) if "--json" in flags else render.text(found))
    return 1 if render.count(found) or any(audited.unreachable for audited in found) else 0
