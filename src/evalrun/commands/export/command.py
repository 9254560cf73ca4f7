"""`python -m evalrun export FORMAT [TARGET]`: results of the store in the forms that other programs read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from evalrun import study
from evalrun.commands import analyze
from evalrun.commands.export.request import ExportRequest, ExportSummary, need_package
from evalrun.commands.own_words import take_own_words
from evalrun.commands.selecting_words import refuse_unselecting, unselecting_note
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError, suggest
from evalrun.core.secrets import masked
from evalrun.core.text import counted
from evalrun.tracking import Store


@dataclass(frozen=True)
class Format:
    """A form of results."""

    where: str  # module of this folder and function
    default: str  # where it goes below multirun/export, unless that is said
    package: tuple[str, str] | None = None  # the library that it needs beside evalrun's own: to import, to install
    heeds: tuple[str, ...] = ()  # of the keys of scoring, those that say where texts are found


FORMATS = {
    "tensorboard": Format("event_files:write_events", "tensorboard", ("tensorboard", "tensorboard>=2.16")),
    "wandb": Format("wandb_runs:write_runs", "wandb", ("wandb", "wandb>=0.21")),
    "lm-eval": Format("lm_eval_files:write_results", "lm-eval", heeds=("profile",)),
    "model-card": Format("model_cards:write_cards", "model-card"),
    "parquet": Format("table_file:write_parquet", "results.parquet"),
    "csv": Format("table_file:write_csv", "results.csv"),
}
_AXES = ("step", "tokens")
_OWN = {
    **analyze.WHICH,
    "x": "x=step or x=tokens",
}  # words that are read here; the others are a grid and keys of a run


@dataclass(frozen=True)
class _Words:
    """What the words of `export` ask for."""

    format: str
    target: Path | None
    own: dict[str, str]
    rest: list[str]


def command(words: Sequence[str]) -> int:
    """Export results, and say what was written.

    Raises:
        ConfigError, AnalysisError, TrackingError, StorageError: as `export`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    asked = _read_words(words)
    target, done = export(asked.format, asked.target, asked.own, asked.rest)
    new = f"{counted(len(done.written), 'file')} written, {done.kept:,} as before"
    print(f"{target}: {done.held}; {new}")
    for note in done.notes:
        print(note)
    if done.look:
        print(f"look at it: {done.look}")
    return 0


def export(name: str, target: Path | None, own: dict[str, str], rest: Sequence[str]) -> tuple[Path, ExportSummary]:
    """Export the results that words select.

    Args:
        name: Of the format.
        target: File or folder; None for the format's place below multirun/export.
        own: suite, sweep, scored and x, where they are said.
        rest: Overrides, as for `analyze`.

    Returns:
        Where it is, and what was done.

    Raises:
        ConfigError: words that cannot be right, a package that is missing, a target that holds something else.
        AnalysisError: there are no such results.
        TrackingError: the store cannot be read.
        StorageError: the target cannot be written.
    """
    import pandas as pd

    form = _format(name)
    x = own.get("x", "step")
    if x not in _AXES or (x != "step" and name != "tensorboard"):
        where = "x=tokens is for tensorboard" if x in _AXES else suggest(x, _AXES)
        raise ConfigError(f"x is '{x}', which export to {name} does not know: {where}.".replace("..", "."))
    if form.package:
        need_package(*form.package)
    with hydra_session():
        refuse_unselecting("export", rest, form.heeds)
        plan, selection = analyze.select(rest, own.get("suite"), own.get("sweep"), own.get("scored"))
    store = Store(plan.config.tracking)
    store.check_readable()
    table = pd.concat(study.tables(store, selection).values(), ignore_index=True)
    with hydra_session():
        told = [] if "scored" in own else unselecting_note(rest, table["settings"].unique())
    place = target or plan.root / "export" / (form.default + ("" if x == "step" else f"-{x}"))
    about = _about(name, x, store, plan.config, own, rest)
    module, _, function = form.where.partition(":")
    write = getattr(import_module(f"evalrun.commands.export.{module}"), function)
    done: ExportSummary = write(ExportRequest(table, store, plan.config, place, about, x))
    done.notes += told
    return place, done


def _about(name: str, x: str, store: Store, config: Config, own: dict[str, str], rest: Sequence[str]) -> dict[str, str]:
    """What the target is noted to hold, and by what another export into it is told apart."""
    chosen = [f"{key}={value}" for key, value in own.items() if key != "x"]
    chosen += [word for word in rest if not word.startswith("tracking")]
    selection = " ".join(sorted(map(masked, chosen))) or "all"
    return {"format": name, "store": store.uri, "selection": selection} | ({"x": x} if name == "tensorboard" else {})


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"there is no export to '{name}': {suggest(name, FORMATS)}")
    return FORMATS[name]


def _read_words(words: Sequence[str]) -> _Words:
    """Take the words apart: the format, where to, what is read here, and the rest.

    Raises:
        ConfigError: no format, more than one target, a word twice or without a value.
    """
    bare = [word for word in words if _is_path(word)]
    if not bare:
        raise ConfigError(f"export needs a format: {suggest('', FORMATS)}")
    _format(bare[0])
    if len(bare) > 2:
        raise ConfigError(f"export takes a format and one place, not '{bare[2]}' too: quote names that have spaces.")
    own, rest = take_own_words((word for word in words if word not in bare), _OWN)
    return _Words(bare[0], Path(bare[1]).expanduser() if bare[1:] else None, own, rest)


def _is_path(word: str) -> bool:
    """Whether a word is a format or a place, which may have a = in it (`out/lr=3`), and no key with its value."""
    key, equals, _ = word.partition("=")
    return not equals or (("/" in key or key.startswith(("~", "."))) and not key.startswith("hydra/"))
