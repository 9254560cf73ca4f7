"""Which two checkpoints are meant, and which of their runs may be compared."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from evalrun.commands.compare.named_by_folder import in_folder
from evalrun.config.schema import model_dirname
from evalrun.core.asked_words import without_asked
from evalrun.core.columns import FIRST_STAGE
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.records import Checkpoint
from evalrun.core.scored_ways import to_choose, ways_meant
from evalrun.core.text import listed
from evalrun.tracking import RunEntry, Store

HOW = "write MODEL@STEP, such as pythia-1b@64000, pythia-1b@final or mine@sft:final, or an MLflow run id"
_NAME = re.compile(r"(?P<model>[^@]+)@(?:(?P<stage>[^:]+):)?(?P<step>\d+|final|last)")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ComparedCheckpoint:
    """A checkpoint that has results, and its runs: several where it was scored in several ways."""

    suite: str
    model: str
    seed: int | None
    step: int
    runs: tuple[RunEntry, ...]

    @property
    def cell(self) -> Checkpoint:
        """The checkpoint as its runs say it."""
        assert self.runs[0].checkpoint is not None  # asked of runs of `Store.past` alone, which have one
        return self.runs[0].checkpoint

    @property
    def label(self) -> str:
        """`pythia-70m step 2000`, with the seed where there are several."""
        return self.cell.label

    @property
    def owner(self) -> str:
        """The model that MODEL@STEP names; of a side branch that is the one it left."""
        return self.cell.trunk or self.model

    @property
    def own_step(self) -> int:
        """Its step as its stage counts it."""
        return self.step if self.cell.stage_step is None else self.cell.stage_step


def names_checkpoint(word: str) -> bool:
    """Whether a word names a checkpoint or an MLflow run of one, and not a training run."""
    return "@" in word or _RUN_ID.fullmatch(word) is not None


def find(
    names: tuple[str, str],
    suite: str | None,
    store: Store,
    tasks: Sequence[str] | None = None,
    scored: str | None = None,
) -> tuple[ComparedCheckpoint, ComparedCheckpoint]:
    """The two checkpoints of these names, each with only the runs that were scored as the other's were.

    Args:
        names: `MODEL@STEP`, with `-seedN` after the model where it has several; step `final` or `last` is the last
            that has results. Or an MLflow run id.
        suite: Where to look; None for everywhere.
        store: What has the results.
        tasks: As for `with_results`.
        scored: As for `scored_by`.

    Raises:
        ConfigError: there is no such checkpoint, the name means several, or the two were scored differently.
        AnalysisError: there are no results at all.
    """
    there = with_results(suite, store, tasks)
    before, after = (scored_by(named_checkpoint(name, there), scored) for name in names)
    return asked_otherwise(before, after) or scored_alike(before, after)


def _with_tasks(one: ComparedCheckpoint, tasks: Sequence[str] | None) -> ComparedCheckpoint:
    """A checkpoint with the runs alone that hold one of some tasks; with all where none does."""
    runs = tuple(run for run in one.runs if tasks is None or set(tasks) & set(run.tasks))
    return replace(one, runs=runs or one.runs)


def with_results(suite: str | None, store: Store, tasks: Sequence[str] | None = None) -> list[ComparedCheckpoint]:
    """Every checkpoint that has results.

    Args:
        suite: Where to look; None for everywhere.
        store: What has the results.
        tasks: Those that are asked about; None for all. How others were scored does not matter.

    Raises:
        ConfigError: there is no such suite.
        AnalysisError: there are no results at all.
    """
    suites = store.suites()
    if not suites:
        raise AnalysisError(f"no results in {store.uri} yet: evaluate something first, for example with `make demo`.")
    if suite is not None and suite not in suites:
        raise ConfigError(f"no results of suite '{suite}' in {store.uri}: {suggest(suite, suites)}")
    places: dict[tuple[str, str, int | None, int], list[RunEntry]] = defaultdict(list)
    for name in suites if suite is None else [suite]:
        for run in store.past(name):
            if run.tasks:
                places[name, run.model, run.seed, run.step].append(run)
    return [_with_tasks(ComparedCheckpoint(*place, tuple(runs)), tasks) for place, runs in places.items()]


def _of_model(name: str, there: Sequence[ComparedCheckpoint]) -> list[ComparedCheckpoint]:
    return [one for one in there if name in (one.owner, model_dirname(one.owner, one.seed))]


def named_checkpoint(name: str, there: Sequence[ComparedCheckpoint]) -> ComparedCheckpoint:
    """The checkpoint that a name means: a run's id, or MODEL@STEP with a number or `final`.

    Raises:
        ConfigError: it means none of those that have results, or several; with what can be written instead.
    """
    for one in there:
        for run in one.runs:
            if run.run_id == name:
                return replace(one, runs=(run,))
    if _RUN_ID.fullmatch(name):
        raise ConfigError(f"no checkpoint's run has the id '{name}': {HOW}.")
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"'{name}' names no checkpoint: {HOW}.")
    model, step = match["model"], match["step"]
    # `tiny/s` is what model= takes, and runs/mine what path= takes; results are named tiny-s and mine.
    mine = _of_model(model, there) or _of_model(model.replace("/", "-"), there)
    if not mine:
        last = model.rsplit("/", 1)[-1]
        mine = in_folder(model, f"{last}{name[len(model) :]}", _of_model(last, there), lambda one: one.runs)
    if not mine:
        raise ConfigError(f"no results of '{model}': {suggest(model.replace('/', '-'), {one.owner for one in there})}")
    mine = _of_stage(mine, model, match["stage"])
    suites = sorted({one.suite for one in mine})
    if len(suites) > 1:
        raise ConfigError(f"'{model}' is in the suites {listed(suites)}: add suite=NAME.")
    named = step if match["stage"] is None else f"{match['stage']}:{step}"
    seeds = sorted({f"{model_dirname(one.owner, one.seed)}@{named}" for one in mine})
    if len(seeds) > 1:
        raise ConfigError(f"'{model}' was trained with several seeds: write one of {', '.join(seeds)}.")
    steps = sorted(one.own_step for one in mine)
    wanted = int(step) if step.isdigit() else steps[-1]
    if wanted not in steps:
        close = sorted(sorted(steps, key=lambda other: abs(other - wanted))[:6])
        raise ConfigError(f"no results of {model} at step {wanted}: the nearest are {listed(map(str, close))}.")
    return next(one for one in mine if one.own_step == wanted)


def _of_stage(mine: Sequence[ComparedCheckpoint], model: str, stage: str | None) -> list[ComparedCheckpoint]:
    """Those of one stage; of pretraining where none is named.

    Args:
        mine: Of one model.
        model: Its name, for the message.
        stage: Which.

    Raises:
        ConfigError: it has no results; with the stages that have.
    """
    found = [one for one in mine if (one.cell.stage or FIRST_STAGE) == (stage or FIRST_STAGE)]
    if not found:
        names = {one.cell.stage or FIRST_STAGE for one in mine}
        raise ConfigError(f"no results of stage '{stage or FIRST_STAGE}' of {model}: {suggest(stage or '', names)}")
    return found


def scored_by(one: ComparedCheckpoint, wanted: str | None) -> ComparedCheckpoint:
    """A checkpoint with the runs alone that were scored in the wanted way; with all where none is wanted.

    Raises:
        ConfigError: it was not scored in that way; with those that there are.
    """
    if wanted is None:
        return one
    ways = {run.settings for run in one.runs}
    meant = ways_meant(ways, wanted)
    if not meant:
        raise ConfigError(f"scored='{wanted}' is no way in which {one.label} was scored: {suggest(wanted, ways)}")
    return replace(one, runs=tuple(run for run in one.runs if run.settings in meant))


def asked_otherwise(
    before: ComparedCheckpoint, after: ComparedCheckpoint
) -> tuple[ComparedCheckpoint, ComparedCheckpoint] | None:
    """Two checkpoints that differ in how they were asked alone, as a base model and a chat model by its template.

    Returns:
        None where they share a way, or where it is not one way of each that fits the other's.
    """
    sides = (before, after)
    labels = [sorted({run.settings for run in side.runs}) for side in sides]
    if set(labels[0]) & set(labels[1]):
        return None
    fitting = [pair for pair in itertools.product(*labels) if len({without_asked(one) for one in pair}) == 1]
    if len(fitting) != 1:
        return None
    found = [
        replace(side, runs=tuple(run for run in side.runs if run.settings == label))
        for side, label in zip(sides, fitting[0], strict=True)
    ]
    return found[0], found[1]


def scored_alike(
    before: ComparedCheckpoint, after: ComparedCheckpoint
) -> tuple[ComparedCheckpoint, ComparedCheckpoint]:
    """Both checkpoints, with the runs alone that were scored in the one way which they share.

    Raises:
        ConfigError: they share no way or several, or are the same run.
    """
    sides = (before, after)
    labels = [{run.settings for run in side.runs} for side in sides]
    common = sorted(labels[0] & labels[1])
    if not common:
        _refuse_several_pairs(labels)
        said = [f"{side.label} by {listed(sorted(names))}" for side, names in zip(sides, labels, strict=True)]
        raise ConfigError(f"scored differently, {said[0]}, {said[1]}: such results cannot be compared.")
    if len(common) > 1:
        raise ConfigError(
            f"both were scored in {len(common)} ways: {to_choose(common)}, or tasks of one way with task=."
        )
    alike = [replace(side, runs=tuple(run for run in side.runs if run.settings == common[0])) for side in sides]
    if alike[0].runs == alike[1].runs:
        raise ConfigError(f"both names mean {before.label}: name two checkpoints.")
    return alike[0], alike[1]


def _refuse_several_pairs(labels: Sequence[set[str]]) -> None:
    """Refuse two sides that share no way, and of which several differ in how they were asked alone.

    Raises:
        ConfigError: with the words that choose.
    """
    fitting = [[way for way in own if ways_meant(other, way)] for own, other in (labels, labels[::-1])]
    apart = {without_asked(way) for way in fitting[0]}
    if apart:  # of one such way, the side that was asked in several is what is to be chosen of
        ways = apart if len(apart) > 1 else max(fitting, key=len)
        raise ConfigError(f"both were scored in {len(ways)} ways: {to_choose(ways)}.")


def tokenizers_apart(before: ComparedCheckpoint, after: ComparedCheckpoint) -> Iterator[str]:
    """What is to be known where two checkpoints of one training run have different tokenizers."""
    runs = {(one.suite, one.model, one.seed) for one in (before, after)}
    known = {run.tokenizer for one in (before, after) for run in one.runs} - {""}
    if len(runs) == 1 and len(known) > 1:
        yield f"{before.label} and {after.label} have different tokenizers: a difference may be the tokenizer's."
