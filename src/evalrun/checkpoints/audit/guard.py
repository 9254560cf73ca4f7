"""What keeps a faulty step from being scored: its weights are compared with those of other steps, before any work.

A step is refused when a weight file of it is also that of another step of the same model and seed: in the same plan,
in what an audit saved, or in the store. The suite's final step is never refused, all others of such a group are
(`steps.suspect_steps` says why). Steps that `known_faults.yaml` names are refused too. `allow_shared_weights=true`
scores them all the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from evalrun import checkpoints
from evalrun.checkpoints import ResolvedCheckpoint, headers
from evalrun.checkpoints.audit import known_faults, revisions
from evalrun.checkpoints.audit.weights import Listing, digest, spell
from evalrun.checkpoints.suites import allowed, checkpoint_of, released_steps_of, stage_begin
from evalrun.config.schema import Config
from evalrun.config.steps import suspect_steps
from evalrun.core.errors import CheckpointError
from evalrun.core.hashing import file_sha256
from evalrun.core.records import Checkpoint

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
Contents = Mapping[str, str]  # weight file -> sha256
Group = tuple[str, str, int | None, str | None]  # suite, model, seed, stage
ReadTable = Callable[[str], "pd.DataFrame"]  # by the suite's name
_REMEDY = "look with `python -m evalrun audit model=...`, or score it all the same with allow_shared_weights=true."


def refuse(config: Config, located: ResolvedCheckpoint, read: ReadTable) -> None:
    """Check one job by itself.

    Raises:
        CheckpointError: its step is not to be scored.
        TrackingError: the store cannot be read.
    """
    for error in refusals([config], [located], read).values():
        raise error


def refusals(
    configs: Sequence[Config], places: Sequence[ResolvedCheckpoint | CheckpointError], read: ReadTable
) -> dict[int, CheckpointError]:
    """Which jobs of a plan are not to be scored, and why.

    Args:
        configs: One for each job.
        places: Where each job's checkpoint is, or why it cannot be had.
        read: Gives the tidy table of a suite's earlier results, as `Store.table` does.

    Returns:
        Position of a job -> the sentence for it.

    Raises:
        TrackingError: the store cannot be read.
    """
    groups: dict[Group, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, place in enumerate(places):
        if isinstance(place, ResolvedCheckpoint):
            cell = place.cell
            groups[cell.suite, cell.model, cell.seed, cell.stage][cell.step].append(position)
    found: dict[int, CheckpointError] = {}
    read = cache(read)  # once a suite
    for positions in groups.values():
        jobs = {step: configs[these[0]] for step, these in positions.items()}
        if all(configs[position].allow_shared_weights for these in positions.values() for position in these):
            continue
        located = {
            step: place
            for step, these in positions.items()
            if isinstance(place := places[these[0]], ResolvedCheckpoint)
        }
        for step, sentence in _refused_steps(jobs, located, read).items():
            for position in positions[step]:
                if not configs[position].allow_shared_weights:
                    found[position] = CheckpointError(sentence)
    return found


def _refused_steps(
    jobs: Mapping[int, Config], located: Mapping[int, ResolvedCheckpoint], read: ReadTable
) -> dict[int, str]:
    """Step -> sentence, for the steps of one model and seed."""
    any_config, any_cell = next(iter(jobs.values())), next(iter(located.values())).cell
    begin = stage_begin(any_config).adds_steps
    released = [begin + step for step in released_steps_of(any_config).steps]
    final = released[-1]
    held = weights_of(list(located.values()))
    others = _elsewhere(any_config, any_cell, held, read(any_cell.suite), begin)
    refused: dict[int, str] = {}
    for step, place in located.items():
        sharing = _sharing(step, held, others)
        if sharing and step in suspect_steps([step, *sharing], final):
            files = " and ".join(sorted({name for names in sharing.values() for name in names}))
            which = f"the final step {final}" if set(sharing) == {final} else spell(sharing, released)
            said = f"{files} are those" if " and " in files else f"{files} is that"
            refused[step] = f"{place.cell.label} is refused, because its {said} of {which} too; {_REMEDY}"
        elif (entry := _known(place.cell)) is not None:
            refused[step] = f"{place.cell.label} is refused by a known fault: {entry.says}{entry.source}; {_REMEDY}"
    return refused


def _known(cell: Checkpoint) -> known_faults.KnownFault | None:
    if cell.revision is None:
        return None
    own = cell.step if cell.stage_step is None else cell.stage_step
    return next((entry for entry in known_faults.concerning(cell.location) if own in (entry.steps or ())), None)


def _sharing(step: int, held: Mapping[int, Contents], others: Mapping[int, Contents]) -> dict[int, list[str]]:
    """The other steps that hold a file of this one -> the file's names here."""
    mine = held.get(step, {})
    found = {}
    for other, contents in {**others, **held}.items():
        names = [name for name, content in mine.items() if content in contents.values()]
        if other != step and names:
            found[other] = names
    return found


def _elsewhere(
    config: Config, cell: Checkpoint, held: Mapping[int, Contents], rows: pd.DataFrame, begin: int
) -> dict[int, Contents]:
    """Steps outside the plan whose weights are those of a step in it, by the store or by a saved audit.

    Such a record may be old: where the other step can be looked at, what it holds now counts.

    Args:
        config: Of any of the steps.
        cell: Its checkpoint.
        held: Step -> what it holds, of those in the plan.
        rows: Earlier results of the suite.
        begin: What is added to the steps of its stage.
    """
    claims: dict[int, Contents] = {}
    if cell.revision is not None:
        saved = revisions.Saved.of(cell)
        claims = {begin + s: saved.commits[c].contents for s, c in saved.steps.items() if c in saved.commits}
    by_digest = {digest(contents): contents for contents in held.values()}
    rows = rows[rows["model"] == cell.model]
    if "stage" in rows:  # a stage may save the weights that it starts from as its own step 0
        rows = rows[rows["stage"] == (cell.stage or "")]
    rows = rows[rows["seed"].isna() if cell.seed is None else rows["seed"] == cell.seed]
    for step, weights in rows[["step", "weights"]].drop_duplicates().itertuples(index=False):
        if weights in by_digest:
            claims[int(step)] = by_digest[weights]
    wanted = {content for contents in held.values() for content in contents.values()}
    doubted = {s: contents for s, contents in claims.items() if s not in held and wanted & set(contents.values())}
    return {**doubted, **_now(config, list(doubted), begin)} if doubted else {}


def _now(config: Config, steps: Sequence[int], begin: int) -> dict[int, Contents]:
    """What steps hold at this moment, as far as they can be looked at; `begin` is added to those of their stage."""
    cells = [checkpoint_of(replace(config, step=step - begin)) for step in steps]
    try:
        if cells[0].revision is None:
            return weights_of([allowed.locate(config, cell) for cell in cells])
        there = checkpoints.revisions(cells[0].location)
    except CheckpointError:
        return {}
    return _on_hub(cells[0], {cell.step: there[str(cell.revision)] for cell in cells if cell.revision in there})


def weights_of(places: Sequence[ResolvedCheckpoint]) -> dict[int, Contents]:
    """Step -> the weight files that would be loaded, for steps of one model; nothing is downloaded.

    A hub checkpoint that neither the hub nor the local cache says anything about is left out: its digest is recorded
    once it is loaded, and the analysis compares those. So are files of placeholders (DeepSpeed's ZeRO-3), which are
    equal in all steps: loading tells what they are.
    """
    found: dict[int, Contents] = {}
    commits: dict[int, str] = {}
    for place in places:
        if place.folder is not None:
            files = checkpoints.weight_files(place.folder)
            found[place.cell.step] = {file.name: file_sha256(file) for file in files if not headers.is_hollow(file)}
        elif place.commit is not None:
            commits[place.cell.step] = place.commit
    if commits:
        found.update(_on_hub(places[0].cell, commits))
    return found


def _on_hub(cell: Checkpoint, commits: Mapping[int, str]) -> dict[int, Contents]:
    """Step -> contents of its revision, kept lists first; what cannot be listed is warned of and left out."""
    saved = revisions.Saved.of(cell)
    if cell.stage is None:  # else they are not numbered as their stage does
        saved.steps.update(commits)
    offline = checkpoints.hub_fault() is not None
    found: dict[int, Contents] = {}
    listings: dict[str, Listing | str | None] = {}
    if offline:
        listings.update({c: saved.commits.get(c) or revisions.cached(cell, c) for c in commits.values()})
    else:
        listings.update(revisions.listings(cell.location, commits.values(), saved, cell.model))
    for step, commit in commits.items():
        listing = listings[commit]
        if isinstance(listing, str):
            log.warning("the weights of %s step %d are not compared: %s", cell.model, step, listing)
        elif listing is not None:
            found[step] = listing.contents
    return found
