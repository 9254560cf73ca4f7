"""`python -m evalrun gate CHECKPOINT`: the words, the files, the exit code."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.commands.gate.references import find_sides
from evalrun.commands.own_words import take_own_words
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core.atomic import obstacle
from evalrun.core.errors import ConfigError
from evalrun.core.scored_ways import HOW_SCORED
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.tasks import task_file
from evalrun.tracking import Store

PASSED, NO_VERDICT, FAILED = 0, 1, 3
_HOW = "write MODEL@STEP, MODEL@final, or MODEL for its newest checkpoint that has results"
_OWN = {  # words that are read here, and what is to stand in them
    "suite": "name a suite, or leave it out",
    "scored": HOW_SCORED,
    "junit": "name a file, such as junit=gate.xml",
    "markdown": "name a file, such as markdown=gate.md",
}


@dataclass(frozen=True)
class _GateRequest:
    """What the words of `gate` ask for."""

    name: str
    own: dict[str, str]
    tasks: list[str] | None  # None: all of the references and of the gate
    config: Config


def command(words: Sequence[str]) -> int:
    """Hold a checkpoint against a gate, print the verdict and write what CI shows.

    Returns:
        0 it passed; 3 it did not: a breach, or what is undecided where the gate says that this fails; 1 there is no
        breach, and something has no verdict.

    Raises:
        ConfigError: words that cannot be right, or results that must not be compared.
        AnalysisError: there are no results.
        TrackingError: the store cannot be read.
        StorageError: a file cannot be written.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    asked = _ask([word for word in words if word != "--json"])
    store = Store(asked.config.tracking)
    store.check_readable()
    suite, scored = asked.own.get("suite"), asked.own.get("scored")
    sides = find_sides(asked.name, asked.config.gate, suite, store, asked.tasks, scored)
    # Here, because they take a second to be imported, and a wrong name should be said before that.
    from evalrun.commands.gate import ci_files, render
    from evalrun.commands.gate.results import gate_results
    from evalrun.commands.gate.verdicts import UNKNOWN

    found = gate_results(asked.config, sides, asked.tasks, store)
    print(json.dumps(render.to_json(found), indent=1) if "--json" in words else render.text(found), flush=True)
    ci_files.write_ci_files(found, asked.own.get("junit"), asked.own.get("markdown"))
    if not found.failing:
        return PASSED
    return FAILED if any(check.verdict != UNKNOWN for check in found.failing) else NO_VERDICT


def _ask(words: Sequence[str]) -> _GateRequest:
    """Read the words of `gate`.

    Raises:
        ConfigError: no name or several, a word twice or empty, or an override that does not concern a gate.
    """
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        given = f"not {len(names)}" if names else "and none is given"
        raise ConfigError(f"gate takes one checkpoint, {given}: {_HOW}; what it is held against is against=MODEL@STEP.")
    own, others = take_own_words(words, _OWN)
    for key, value in own.items():
        if key in ("junit", "markdown") and Path(value).expanduser().is_dir():
            raise ConfigError(f"{key} is '{value}', which is a folder: {_OWN[key]}.")
        if key != "suite" and (why := obstacle(Path(value).expanduser())) is not None:
            raise ConfigError(
                f"{key} is '{value}', which cannot be written ({why}): {_OWN[key]}, in a folder of yours."
            )
    rest = [f"gate.{word}" if word.startswith("against=") else word for word in others if "=" in word]
    with hydra_session():
        overrides = ov.parse(rest)
        override_checks.check(overrides)
        keys = {o.key_or_group for o in overrides}
        if misplaced := sorted(keys & {"model", "step", "experiment"}):
            raise ConfigError(f"gate takes no {misplaced[0]}=: {_HOW}.")
        config = to_config(compose(["model=pythia-70m", "step=0", *ov.for_hydra(overrides)]))
        chosen = bool(keys & {"task", "tasks"})
        files = task_file.resolve(config.tasks, trust_code=True) if chosen else []  # for their names alone
    return _GateRequest(names[0], own, [file.name for file in files] if chosen else None, config)
