"""Which checkpoint a result is of: model arguments against the configs of conf/model and conf/checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from evalrun.checkpoints.suites import checkpoint_of, known_steps, step_called
from evalrun.checkpoints.suites.configured import ModelFiles, config_of
from evalrun.commands.ingest.model_args import ModelArgs
from evalrun.config.schema import CheckpointConf, Config, ModelConf
from evalrun.config.step_names import needs_list
from evalrun.config.steps import released_steps
from evalrun.core.errors import EvalrunError, suggest
from evalrun.core.records import Checkpoint
from evalrun.grid import overrides as ov

_SEED = "{seed}"
_MAIN = "main"  # the revision of a repository that is read when none is named


class UnknownModelError(Exception):
    """The arguments name no checkpoint of ours, or more than one."""


@dataclass(frozen=True)
class _Match:
    """How well a name fits a model's path: 3 whole, 2 its last part alone, 1 a folder of that name."""

    fit: int
    seed: int | None


@dataclass(frozen=True)
class ModelEntry:
    """One model of conf/model with its suite's checkpoints."""

    model: ModelConf
    checkpoint: CheckpointConf

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], re.Pattern[str] | None]]:
        """What the model's whole path and its aliases look like, and their last parts where these say as much."""
        found = []
        for path in (str(PurePosixPath(self.model.path)), *self.model.aliases):
            last = path.rpartition("/")[2]
            found.append((_pattern(path), _pattern(last) if (_SEED in path) == (_SEED in last) else None))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What the model is called: its path, its name, its aliases."""
        return self.model.path, self.model.name, *self.model.aliases

    def match(self, name: str, seed: int | None) -> _Match | None:
        """Whether a hub repository, folder or plain name is this model; the seed is what is known of it already."""
        found = [fit for path, last in self._patterns if (fit := self._match(name, seed, path, last))]
        return max(found, key=lambda match: match.fit, default=None)

    def _match(self, name: str, seed: int | None, path: re.Pattern[str], last: re.Pattern[str] | None) -> _Match | None:
        """Whether a name is the model by one of the names that it has.

        Args:
            name: Repository, folder or plain name.
            seed: What is known of it already.
            path: What the whole name looks like.
            last: What its last part looks like; None where that does not say the seed.
        """
        # `other/pythia-70m` may be anybody's repository; what can only be a folder is taken by its name.
        is_folder = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
        name = name.removeprefix("./")
        if self.checkpoint.folder is not None and name.startswith("/"):
            path = re.compile(f"(?:.*/)?{path.pattern}")
        if found := path.fullmatch(name):
            return _Match(3, _seed(found))
        if (seed is not None or _SEED not in self.model.path) and name == self.model.name:
            return _Match(2, seed)
        end = name.rpartition("/")[2]
        found = last.fullmatch(end) if last else None
        if found and ("/" not in name or is_folder):
            return _Match(1 if "/" in name else 2, _seed(found))
        return None

    def cell(self, step: int, seed: int | None) -> Checkpoint:
        """The model's checkpoint at a step."""
        checkpoint = self.checkpoint if seed is None else replace(self.checkpoint, seed=seed)
        try:
            return checkpoint_of(Config(model=self.model, checkpoint=checkpoint, step=step))
        except EvalrunError as error:  # what the hub would have to say
            raise UnknownModelError(f"cannot be placed: {str(error).rstrip('.')}") from None

    @property
    def config(self) -> Config:
        """The config of a job of this model, its step aside."""
        return Config(model=self.model, checkpoint=self.checkpoint)

    @property
    def example(self) -> str:
        """What a step is called."""
        pattern = self.checkpoint.revision or self.checkpoint.folder or ""
        if isinstance(self.checkpoint.steps, dict):
            return str(next(reversed(self.checkpoint.steps.values()), pattern))
        steps = self.checkpoint.steps if isinstance(self.checkpoint.steps, list) else None
        if not steps or needs_list(pattern):
            return pattern
        return pattern.format(step=released_steps(steps)[-1], seed=self.checkpoint.seed)

    def step_called(self, place: str) -> int | None:
        """The step whose revision or folder has this name."""
        return step_called(self.model, self.checkpoint, place)


_Named = tuple[str, str | None, int | None]  # a model's name, suite and seed, as far as a file says them
_Fit = tuple[_Match, ModelEntry, str | None]  # how well a name fits, which model, the end that may name a step


class Models:
    """All models of the conf folders, asked for the checkpoint that some arguments name.

    Args:
        known: The models; None for all that are configured, read inside a `compose.hydra_session`.
    """

    def __init__(self, known: Iterable[ModelEntry] | None = None) -> None:
        self.known = list(_configured() if known is None else known)
        self._asked: dict[ModelArgs, Checkpoint | UnknownModelError] = {}
        self._named: dict[_Named, list[_Fit]] = {}

    def cell(self, args: ModelArgs) -> Checkpoint:
        """The checkpoint.

        Raises:
            UnknownModelError: with the reason why it is none of ours.
        """
        answer = self._asked.get(args)
        if answer is None:
            try:
                answer = self._find(args)
            except UnknownModelError as error:
                answer = error
            self._asked[args] = answer
        if isinstance(answer, UnknownModelError):
            raise answer
        return answer

    def _find(self, args: ModelArgs) -> Checkpoint:
        """The checkpoint that arguments of lm-eval name, by the configured models whose path fits best.

        Raises:
            UnknownModelError: none, or several; the tail of a sentence about the file.
        """
        if not args.pretrained:
            raise UnknownModelError("names no model (no pretrained=... in config.model_args)")
        if args.adapter is not None:
            raise UnknownModelError(f"is of a checkpoint with {args.adapter}, which no model config describes")
        name = args.pretrained.rstrip("/")
        named = name, args.suite, args.seed  # the same for all checkpoints of a model: which it is is asked once
        if (best := self._named.get(named)) is None:
            best = self._named[named] = self._best(*named)
        if not best:
            listed = suggest(name, {known.model.path for known in self.known}, show=4)
            same = (
                f"if it is one of them under another name, say rename.{name}=PATH; a training run of your own, "
                "evaluated as model=local in another store, comes as a bundle made there"
            )
            raise UnknownModelError(f"model '{args.pretrained}' is the path of no conf/model ({same}): {listed}")
        cells = {_cell(args, *fit) for fit in best}
        if len(cells) > 1:
            suites = ", ".join(sorted(f"{cell.suite} {cell.model}" for cell in cells))
            raise UnknownModelError(f"model '{args.pretrained}' is several of ours ({suites})")
        return cells.pop()

    def _best(self, name: str, suite: str | None, seed: int | None) -> list[_Fit]:
        """The configured models whose path fits a name best; a model twice where its end may name a step's folder."""
        fits = [
            (match, known, place)
            for known in self.known
            if suite in (None, known.checkpoint.suite)
            for parent, place in _splits(name, known)
            if (match := known.match(parent, seed))
        ]
        return [fit for fit in fits if fit[0].fit == max(match.fit for match, _, _ in fits)]


def _cell(args: ModelArgs, match: _Match, known: ModelEntry, place: str | None) -> Checkpoint:
    """The checkpoint of one model: its seed, and its step by the place, the revision or a step that is given.

    Args:
        args: What the file says.
        match: How the model's path fits, and the seed that its name holds.
        known: The model.
        place: The end of the path that may name a step's folder; None without one.

    Raises:
        UnknownModelError: the seed or the step is not said, or the step was never released.
    """
    seed = args.seed if match.seed is None else match.seed
    if _SEED not in known.model.path:
        seed = None  # the suite's own, mostly none
    elif seed is None:
        raise UnknownModelError(f"model '{args.pretrained}' is one of several seeds, and nothing says which")
    where = place or args.revision
    if args.step is not None and where is None:
        released = known_steps(known.config)
        if released is not None and args.step not in released:
            raise UnknownModelError(f"step {args.step} was never released of {known.model.name}")
        return known.cell(args.step, seed)
    step = known.step_called(where or _MAIN)  # of a model of which one checkpoint was released, main is that one
    if step is None and where in (None, _MAIN):
        example = known.example
        raise UnknownModelError(f"'{args.pretrained}' comes without a revision that says its step, such as {example}")
    if step is None and args.read_as_number and place is None:
        raise UnknownModelError(
            f"its revision was filed as {where}, which lm-eval made of a name that looks like a number: write the name "
            f'into config.model_args.revision of the file, in quotes, such as "{known.example}"'
        )
    if step is None:
        raise UnknownModelError(
            f"revision '{where}' is no released step of {known.model.name}, such as {known.example}"
        )
    return known.cell(step, seed)


def _splits(name: str, known: ModelEntry) -> list[tuple[str, str | None]]:
    """A name as it is, and without the folder of a step at its end."""
    depth = 1 + (known.checkpoint.revision or known.checkpoint.folder or "").count("/")
    parts = name.split("/")
    parent, place = "/".join(parts[:-depth]), "/".join(parts[-depth:])
    return [(parent, place), (name, None)] if parent and known.step_called(place) is not None else [(name, None)]


def _pattern(path: str) -> re.Pattern[str]:
    first, *others = (re.escape(part) for part in path.split(_SEED))
    if not others:
        return re.compile(first)
    return re.compile(first + r"(?P<seed>\d+)" + "(?P=seed)".join(others))


def _seed(found: re.Match[str]) -> int | None:
    seed = found.groupdict().get("seed")
    return None if seed is None else int(seed)


def _configured() -> list[ModelEntry]:
    files = ModelFiles()
    configs = [config_of(name, files) for name in ov.models()]
    return [ModelEntry(config.model, config.checkpoint) for config in configs]
