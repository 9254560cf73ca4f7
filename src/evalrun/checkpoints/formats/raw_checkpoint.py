"""A trainer's checkpoint with the rules that read it: chosen by what is found in it, or named by the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints.formats import format_rules, found, renaming
from evalrun.checkpoints.formats.format_rules import FormatRules
from evalrun.checkpoints.formats.raw import CONTAINERS, Raw
from evalrun.checkpoints.formats.torch_pickle import TorchFileError
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.hashing import file_sha256
from evalrun.core.memory import remembered


@dataclass(frozen=True)
class Reading:
    """What a user says of how checkpoints are read."""

    format: str | None = None  # checkpoint.format
    config: str | None = None  # checkpoint.config: folder or hub repository


@dataclass(frozen=True)
class RawCheckpoint:
    """A trainer's checkpoint before a weight is read."""

    place: Path
    raw: Raw
    rules: FormatRules
    values: Mapping[str, Any]  # all that the trainer says
    beside: tuple[Path, ...]  # files that some of these values are from
    config: Mapping[str, Any]  # config.json of transformers
    config_from: str  # where that is from, in words
    weights: Mapping[str, renaming.Renamed]

    @property
    def step(self) -> int | None:
        """The step that the trainer wrote; None where it wrote none."""
        return _whole(self.rules.step, self.values)

    @property
    def tokens(self) -> int | None:
        """The tokens seen by then, as the trainer's values say; None where they do not."""
        return _whole(self.rules.tokens, self.values)

    def files_digest(self) -> str:
        """A digest of the files of the weights."""
        return _digest([f"{file.name} {file_sha256(file)}" for file in (*self.raw.files, *self.raw.tables)])

    def identity(self, files: str) -> str:
        """What tells it from any other: its files, the rules that read them, its config.

        Args:
            files: `files_digest`.
        """
        beside = [f"{file.name} {file_sha256(file)}" for file in self.beside]
        config = json.dumps(self.config, sort_keys=True, default=str)
        return f"{_digest([files, *beside, self.rules.digest, config])}+format:{self.rules.name}"


def seen(place: Path, reading: Reading, where: str) -> tuple[Raw, FormatRules, dict[str, Any], tuple[Path, ...]]:
    """What lies in a place, the rules for it, all values, and the files beside the weights that some are from.

    Args:
        place: A checkpoint's folder or file.
        reading: What the user says.
        where: Names the checkpoint in a sentence.

    Raises:
        CheckpointError: damaged files, or no rules that fit.
        ConfigError: wrong rules, or a name that none has.
    """
    try:
        raw = found.look(place)
        if raw is None:
            raise CheckpointError(f"{where} is of no format that is known here.")
        if reading.format is not None:
            rules = format_rules.named(reading.format)
            if rules.container != raw.container:
                raise CheckpointError(
                    f"{where} is {CONTAINERS[raw.container]}, and checkpoint.format={rules.name} is for "
                    f"{CONTAINERS[rules.container]}: name another, or leave it out."
                )
            values, files = found.beside(place, rules.reads)
            return raw, rules, {**raw.values, **values}, tuple(files)
        return _chosen(place, raw, where)
    except TorchFileError as error:
        raise CheckpointError(f"{where} {error}: fetch or write it again.") from None


def _chosen(place: Path, raw: Raw, where: str) -> tuple[Raw, FormatRules, dict[str, Any], tuple[Path, ...]]:
    """The rules that ask for the most of what is there.

    Raises:
        CheckpointError: none fit, or two alike.
        TorchFileError: a file beside the weights is damaged.
    """
    fitting: list[tuple[FormatRules, dict[str, Any], tuple[Path, ...]]] = []
    for rules in format_rules.every():
        if rules.container != raw.container:
            continue
        if not all(any(need.fullmatch(name) for name in raw.tensors) for need in rules.needs):
            continue
        values, files = found.beside(place, rules.reads)
        values = {**raw.values, **values}
        if all(key in values and (said is None or values[key] == said) for key, said in rules.says.items()):
            fitting.append((rules, values, tuple(files)))
    if not fitting:
        first = ", ".join(list(raw.tensors)[:3])
        raise CheckpointError(
            f"{where} is {CONTAINERS[raw.container]} whose tensors ({first}, ...) no rules of conf/format are for: "
            "name some with checkpoint.format=, or write them in conf/format/NAME.yaml."
        )
    asked = [len(rules.needs) + len(rules.says) for rules, *_ in fitting]
    if len(fitting) > 1 and asked[0] == asked[1]:
        both = " and ".join(rules.name for rules, *_ in fitting[:2])
        raise CheckpointError(f"{where} fits the rules of {both} in conf/format alike: name one, checkpoint.format=.")
    return raw, *fitting[0]


def know(place: Path, reading: Reading, where: str) -> RawCheckpoint:
    """A checkpoint with its rules, config and names.

    Args:
        place: Its folder or file.
        reading: What the user says.
        where: Names it in a sentence.

    Raises:
        CheckpointError: damaged files, no rules or no config for it, a tensor that has no rule.
        ConfigError: wrong rules, or a name that none has.
    """
    raw, rules, values, files = seen(place, reading, where)
    config, whence = _config(place, reading, rules, values, where)
    return RawCheckpoint(place, raw, rules, values, files, config, whence, renaming.renamed(raw, rules, where))


def _config(
    place: Path, reading: Reading, rules: FormatRules, values: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], str]:
    """The config.json of transformers for a checkpoint, and where it is from.

    Raises:
        CheckpointError: nowhere, or it cannot be had.
    """
    name = "checkpoint.config=FOLDER or a hub repository with the config.json of its architecture"
    if reading.config is not None:
        return named_config(reading.config), reading.config
    if rules.config:
        try:
            made = {key: renaming.value(said, values) for key, said in rules.config.items()}
            return made, "the trainer's own settings"
        except KeyError as error:
            raise CheckpointError(
                f"{where} does not say {error.args[0]}, which format {rules.name} makes its config of: name {name}."
            ) from None
    near = found.config_json(place)
    if near is None:
        raise CheckpointError(f"{where} ({rules.title}) says nothing of its architecture: name {name}.")
    return near, "the config.json beside it"


@remembered
def named_config(name: str) -> dict[str, Any]:
    """The config.json that a user names.

    Raises:
        CheckpointError: there is none, or it cannot be had.
    """
    file = Path(name) / "config.json"
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            file = Path(hf_hub_download(name, "config.json"))
        except Exception as error:  # no network comes in many classes
            raise CheckpointError(
                f"checkpoint.config is '{name}', which is no folder here, and the hub does not give its config.json "
                f"({first_line(error)}): name a folder with one."
            ) from None
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        raise CheckpointError(f"checkpoint.config is '{name}', which has no config.json that can be read.") from None
    if not isinstance(said, dict) or not isinstance(said.get("model_type"), str):
        raise CheckpointError(f"'{file}' names no model_type of transformers: name another with checkpoint.config=.")
    return said


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _whole(text: str | None, values: Mapping[str, Any]) -> int | None:
    if text is None:
        return None
    try:
        return int(renaming.value(text, values))
    except (KeyError, TypeError, ValueError):
        return None
