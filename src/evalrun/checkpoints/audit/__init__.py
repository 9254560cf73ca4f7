"""What is wrong in published checkpoints, found before anyone trusts a curve.

`run` compares all steps of models by the sha256 of their weight files; `refusals` and `refuse` keep a sweep or a single
run from scoring a step whose weights are another step's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints.audit import known_faults as known
from evalrun.checkpoints.audit import revisions
from evalrun.checkpoints.audit.faults import Fault, Published, find
from evalrun.checkpoints.audit.guard import refusals, refuse
from evalrun.checkpoints.audit.weights import Listing, of_folder
from evalrun.checkpoints.suites import allowed, checkpoint_of, known_steps, location, released_steps_of, step_called
from evalrun.checkpoints.tensor_values import suspect
from evalrun.config.schema import Config, model_dirname
from evalrun.config.training_stages import in_stage
from evalrun.core import console
from evalrun.core.errors import CheckpointError

__all__ = ["Audited", "refusals", "refuse", "run"]


@dataclass(frozen=True)
class Audited:
    """What an audit found about one model and seed."""

    suite: str
    model: str  # with its seed where there is one
    location: str  # hub repository or local folder
    asked: tuple[int, ...]  # steps
    published: Published | None  # None where nothing could be seen
    unreachable: str | None  # why not
    faults: list[Fault]
    known: list[tuple[known.KnownFault, str]]  # entries that concern the model, and whether this audit confirms them


def run(configs: Sequence[Config]) -> list[Audited]:
    """Audit the checkpoints of a plan, model by model.

    Args:
        configs: One for each checkpoint; those of one model and seed are compared with each other.

    Returns:
        One entry a model and seed, in the order of the plan.
    """
    models: dict[tuple[str, str, int | None, str, str | None], dict[int, Config]] = {}
    for config in configs:
        key = (config.checkpoint.suite, config.model.name, config.checkpoint.seed, config.model.path, config.stage)
        models.setdefault(key, {})[config.step] = config
    return [_audit(steps) for steps in models.values()]


def _audit(configs: dict[int, Config]) -> Audited:
    """Compare one model's checkpoints with what is published; a hub or folder that cannot be read is told, not raised.

    Args:
        configs: Step -> its config; all of one model and seed, one at least.
    """
    first = next(iter(configs.values()))
    cell = checkpoint_of(first)
    place = cell.location if cell.revision else location(first)
    published, unreachable = None, None
    try:
        published = _on_hub(configs) if cell.revision else _in_folders(configs)
    except CheckpointError as error:
        unreachable = str(error)
    faults = find(published) if published else []
    seen = set(published.listings) if published else set()
    released = set(known_steps(first) or ())
    entries = known.concerning(cell.location) if cell.revision else []
    return Audited(
        suite=cell.suite,
        model=model_dirname(cell.trunk or cell.model, cell.seed) + ("" if cell.stage is None else f" {cell.stage}"),
        location=place,
        asked=tuple(sorted(configs)),
        published=published,
        unreachable=unreachable,
        faults=faults,
        known=[(entry, entry.status(faults, seen, released)) for entry in entries],
    )


def _on_hub(configs: dict[int, Config]) -> Published:
    """Compare revisions by what the hub says of their files."""
    cells = {step: checkpoint_of(config) for step, config in configs.items()}
    first = next(iter(configs.values()))
    cell = cells[first.step]
    there = checkpoints.revisions(cell.location)
    commits = {step: there[str(c.revision)] for step, c in cells.items() if str(c.revision) in there}
    saved = revisions.Saved.of(cell)
    saved.steps.update(commits)
    mains = [there["main"]] if "main" in there else []
    listed = revisions.listings(cell.location, [*commits.values(), *mains], saved, cell.model)
    saved.write(cell.location)
    main = listed[mains[0]] if mains else None
    return Published(
        listings={step: entry for step, c in commits.items() if isinstance(entry := listed[c], Listing)},
        absent=tuple(step for step in cells if step not in commits),
        unread={step: entry for step, c in commits.items() if isinstance(entry := listed[c], str)},
        extra=_unreleased(there, first),
        main=main if isinstance(main, Listing) else None,
    )


def _in_folders(configs: dict[int, Config]) -> Published:
    """Compare the folders of a local model by reading their files.

    Raises:
        CheckpointError: the model's folder is not there.
    """
    first = next(iter(configs.values()))
    root = Path(location(first))
    if not root.is_dir():
        hint = "train the embedded suite with `python -m evalrun tiny`" if first.checkpoint.suite == "tiny" else ""
        raise CheckpointError(f"folder '{root}' of {first.model.name} is not there; {hint or 'check model.path'}.")
    listings, unread, absent = {}, {}, []
    unsound: dict[int, tuple[str, ...]] = {}
    dead: dict[int, tuple[str, ...]] = {}
    with console.bar(len(configs), first.model.name, "checkpoint") as bar:
        for step, config in configs.items():
            is_converted = config.checkpoint.convert is not None
            folder = allowed.locate(config).folder if is_converted else Path(checkpoint_of(config).location)
            try:
                if folder is not None and folder.is_dir():
                    listings[step] = of_folder(folder)
                    found = suspect(folder, list(listings[step].contents))
                    unsound |= {step: found.not_finite} if found.not_finite else {}
                    dead |= {step: found.zero} if found.zero else {}
                elif is_converted:
                    unread[step] = "it is not converted yet"
                else:
                    absent.append(step)
            except OSError as error:
                unread[step] = error.strerror or type(error).__name__
            bar.update()
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    return Published(listings, tuple(absent), unread, _unreleased(names, first), unsound=unsound, dead=dead)


def _unreleased(names: Iterable[str], config: Config) -> tuple[str, ...]:
    """Names that follow the pattern of a step and whose number the config does not release, by number."""
    released = set(released_steps_of(config).steps)
    own = in_stage(config)
    every = replace(own.checkpoint, steps=None)
    numbers = {step: name for name in names if (step := step_called(own.model, every, name)) is not None}
    return tuple(name for number, name in sorted(numbers.items()) if number not in released)
