"""`suites` and `steps`: which models can be named, and which checkpoints a model has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints.suites import (
    ReleasedStep,
    ReleasedSteps,
    checkpoint_of,
    known_steps,
    local,
    location,
    released,
    released_steps_of,
)
from evalrun.checkpoints.suites.configured import ModelFiles, config_of
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.config.training_stages import in_stage, stage_names, stage_notes
from evalrun.core.errors import CheckpointError, ConfigError, EvalrunError
from evalrun.core.records import Checkpoint
from evalrun.core.text import counted
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.grid.model_configs import ModelConfigs

_STEP_COLUMNS = ("step", "tokens", "where", "here")


@dataclass(frozen=True)
class Model:
    """One config of conf/model."""

    name: str  # as in model=
    config: Config
    steps: list[int] | None  # None: not known without asking the hub
    known: str  # pinned, in the folder, listed 3 hours ago, or unknown


def command(words: Sequence[str]) -> int:
    """`suites`: what can be named with model=, by suite; asks nobody.

    Raises:
        ConfigError: words that cannot be right.
    """
    wrong = [word for word in words if word != "--json"]
    if wrong:
        raise ConfigError(f"suites does not know '{wrong[0]}': it takes --json alone; `steps model=...` tells of one.")
    with hydra_session():
        found, broken = _models()
        by_suite: dict[str, list[Model]] = {}
        for model in found:
            by_suite.setdefault(model.config.checkpoint.suite, []).append(model)
    if "--json" in words:
        print(json.dumps([_suite_json(suite, models) for suite, models in by_suite.items()], indent=1))
        return 0
    print("\n".join(_suites_text(by_suite)))
    for sentence in broken:
        print(f"  note: {sentence}")
    return 0


def steps_command(words: Sequence[str]) -> int:
    """`steps model=...`: the checkpoints of models; 1 where those of one cannot be known.

    Raises:
        ConfigError: words that cannot be right.
    """
    flags = [word for word in words if word.startswith("-")]
    with hydra_session():
        given = ov.parse([word for word in words if word not in flags])
        override_checks.check(given)
        models = [o for o in given if o.key_or_group == "model"]
        if not models:
            raise ConfigError("no model is given: steps model=pythia-70m, or steps model=local path=runs/my-model.")
        others = [o.input_line or "" for o in given if o.key_or_group not in ("model", "step", "task", "stage")]
        asked = next((o for o in given if o.key_or_group == "stage"), None)
        staged = [(name, made.config) for name in ov.choices(models[-1])
                  for made in ModelConfigs((), ModelFiles()).of_stages(name, others, asked)]  # fmt: skip
    said: list[dict[str, Any]] = []
    faults: list[EvalrunError] = []
    for name, config in staged:
        try:
            said.append(_steps_json(name, config, released_steps_of(config, "--refresh" in flags)))
        except EvalrunError as error:
            faults.append(error)
    if faults and not said:
        raise faults[0]
    print(json.dumps(said, indent=1) if "--json" in flags else "\n\n".join(_steps_text(entry) for entry in said))
    for fault in faults:
        print(f"note: {fault}")
    return 1 if faults else 0


def _models() -> tuple[list[Model], list[str]]:
    """All models that have a config, and a sentence for each config that cannot be read."""
    found, broken = [], []
    for name in ov.models():
        try:
            config = config_of(name)
            found.append(Model(name, config, *_known(config)))
        except EvalrunError as error:
            broken += ov.file_problems("model", name) or [f"conf/model/{name}.yaml: {error}"]
    return sorted(found, key=_place), broken


def _place(model: Model) -> tuple[bool, str, int, str]:
    conf = model.config.model
    return "/" in model.name, model.config.checkpoint.suite, conf.n_params or conf.n_params_nominal or 0, model.name


def _known(config: Config) -> tuple[list[int] | None, str]:
    """The released steps of a model, None where only the hub knows them, and from where they are known."""
    checkpoint = config.checkpoint
    try:
        steps = known_steps(config)
    except EvalrunError:
        return None, "not there"
    if steps is None:
        return None, "on the hub"
    if checkpoint.folder is not None and (checkpoint.steps is None or checkpoint.folder == local.AUTO):
        return steps, "in the folder"
    kept = None if isinstance(checkpoint.steps, dict) else released.kept_listing(config.model.path)
    by_hub = checkpoint.revision is not None and released_steps_of(config).origin != "pinned"
    return steps, f"listed {kept.age}" if by_hub and kept else "pinned"


def _suite_json(suite: str, models: Sequence[Model]) -> dict[str, Any]:
    """A suite and its models as plain values.

    Args:
        suite: Its name.
        models: One at least.
    """
    checkpoint = models[0].config.checkpoint
    return {
        "suite": suite,
        "source": checkpoint.source,
        "checked": checkpoint.checked,
        "where": checkpoint.revision or checkpoint.folder,
        "models": [
            {
                "model": model.name,
                "name": model.config.model.name,
                "path": model.config.model.path,
                "n_params": model.config.model.n_params,
                "n_params_nonembedding": model.config.model.n_params_nonembedding,
                "n_params_nominal": model.config.model.n_params_nominal,
                "tokens_per_step": checkpoint.tokens_per_step or model.config.model.tokens_per_step,
                "steps": model.steps,
                "steps_known": model.known,
            }
            for model in models
        ],
    }


def _suites_text(by_suite: dict[str, list[Model]]) -> Iterator[str]:
    """The table of suites, a line each, with where they are described."""
    rows = [("suite", "models", "model=", "steps", "tokens", "checked")]
    for suite, models in by_suite.items():
        rows.append(
            (suite, str(len(models)), _spelt([m.name for m in models]), _steps_said(models), _tokens_said(models),
             {True: "yes", False: "no", None: "-"}[models[0].config.checkpoint.checked])
        )  # fmt: skip
    yield from _table(rows)
    sources = {s: m[0].config.checkpoint.source for s, m in by_suite.items() if m[0].config.checkpoint.source}
    yield ""
    yield from (f"{suite}: {source}" for suite, source in sources.items())
    yield ""
    yield "a run of yours: model=local path=runs/my-model. checked: names and numbers were compared with the hub's own."
    yield "steps on the hub are asked for at the first use: python -m evalrun steps model=NAME."


def _spelt(names: Sequence[str]) -> str:
    """`olmo2/1b, 7b, 13b`."""
    folder = names[0].rpartition("/")[0]
    if folder:
        ends = [name.removeprefix(f"{folder}/") for name in names]
        return f"{folder}/{', '.join(ends) if len(ends) < 6 else f'{ends[0]}, ..., {ends[-1]}'}"
    return ", ".join(names) if len(names) < 4 else f"{names[0]}, ..., {names[-1]}"


def _steps_said(models: Sequence[Model]) -> str:
    said = dict.fromkeys(f"{len(m.steps)} {m.known}" if m.steps is not None else m.known for m in models)
    return ", ".join(said)


def _tokens_said(models: Sequence[Model]) -> str:
    checkpoint = models[0].config.checkpoint
    given = [checkpoint.tokens_per_step or model.config.model.tokens_per_step for model in models]
    known = sorted({n for n in given if n is not None})
    in_name = checkpoint.revision is not None and "{tokens" in checkpoint.revision
    parts = [" ".join(f"{n:,}" for n in known) + " a step"] if known else []
    if None in given:
        parts.append("in the name" if in_name else "not known: tokens_per_step=")
    return "; ".join(parts)


def _steps_json(name: str, config: Config, found: ReleasedSteps) -> dict[str, Any]:
    """One model's checkpoints; what is not known is null."""
    return {
        "model": name,
        "name": config.model.name,
        "suite": config.checkpoint.suite,
        "path": in_stage(config).model.path,
        "seed": config.checkpoint.seed,
        **({} if config.stage is None else {"stage": config.stage}),
        **({"stages": stage_names(config.checkpoint)} if config.checkpoint.stages and config.stage is None else {}),
        "origin": found.origin,
        "checked": config.checkpoint.checked,
        "checkpoints": [_checkpoint(config, release) for release in found.by_step.values()],
        "unfinished": [{"step": step, "why": why} for step, why in found.unfinished.items()],
        "notes": [*found.notes, *stage_notes(config)],
    }


def _checkpoint(config: Config, release: ReleasedStep) -> dict[str, Any]:
    """One released step as plain values: its tokens (null if not known), its place, whether it is here."""
    here, fault = _look(config, release)
    job = replace(config, step=release.step)
    known = replace(job.model, n_params=1, n_params_nonembedding=1)  # not shown, and counting would ask the hub
    try:
        cell: Checkpoint | None = checkpoint_of(replace(job, model=known))
    except ConfigError:  # its tokens are not known
        cell = None
    return {
        "step": release.step,
        "tokens": cell.tokens if cell else release.tokens,
        "where": release.place,
        "here": here,
        "fault": release.fault or fault,
    }


def _look(config: Config, release: ReleasedStep) -> tuple[bool, str | None]:
    """Whether a checkpoint is on this machine, whole, and why a local one would be refused all the same."""
    root, config = location(config), in_stage(config)
    model, checkpoint = config.model, config.checkpoint
    cell = Checkpoint(checkpoint.suite, model.name, 1, 1, 1, release.step, 0, checkpoint.seed, "", None)
    folder, fault = Path(root) / release.place, None
    if checkpoint.convert is not None:
        return folder.exists(), None
    if checkpoint.folder is None:
        commit = checkpoints.cached_commit(replace(cell, location=root, revision=release.place))
        if commit is None:
            return False, None
        folder = checkpoints.repository_cache(root) / "snapshots" / commit
    elif folder.exists():
        try:
            checkpoints.check_folder(folder, cell, config.trust_pickle, config.allow_unused_weights)
            return True, None
        except CheckpointError as error:
            fault = str(error)
    try:
        checkpoints.check_folder(folder, cell, trust_pickle=True, unused_weights=True)
    except CheckpointError:
        return False, fault
    return True, fault


def _steps_text(entry: dict[str, Any]) -> str:
    """The table of a model's checkpoints, from the plain values that `--json` prints."""
    listed = entry["checkpoints"]
    seed = "" if entry["seed"] is None else f" seed {entry['seed']}"
    seed += f" {entry['stage']}" if "stage" in entry else ""
    later = [f"stages after these: {', '.join(entry['stages'])} (stage=NAME, stage=all)"] if "stages" in entry else []
    unchecked = " (not compared with the hub's own)" if entry["checked"] is False else ""
    said = f"{counted(len(listed), 'checkpoint')} ({entry['origin']}), {sum(one['here'] for one in listed)} here"
    head = f"{entry['name']}{seed} ({entry['path']}): {said}{unchecked}"
    rows = [_STEP_COLUMNS]
    for one in listed:
        tokens = "unknown" if one["tokens"] is None else f"{one['tokens']:,}"
        rows.append(
            (str(one["step"]), tokens, one["where"], "refused" if one["fault"] else "yes" if one["here"] else "no")
        )
    notes = dict.fromkeys([*later, *entry["notes"], *(one["fault"] for one in listed if one["fault"])])
    return "\n".join([head, *_table(rows, right=2), *(f"  note: {note}" for note in notes)])


def _table(rows: Sequence[Sequence[str]], right: int = 0) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [word.rjust(width) if i < right else word.ljust(width) for i, (word, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        yield f"  {'  '.join(cells)}".rstrip()
