"""What an adapter's folder says of it: its kind, and the base model that it was trained on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints.contents import ADAPTER
from evalrun.core.errors import CheckpointError

_KINDS = {"LORA": "LoRA", "IA3": "IA3"}  # DoRA is a kind of LoRA
# Settings that change the base model itself, or make its layers depend on the text: the base could not be kept.
_CHANGES = (
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
)
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_MERGE = "merge it into its base with merge_and_unload() and save that in a folder of its own"


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter, before its weights are read."""

    kind: str  # LoRA, DoRA, IA3
    base: str  # folder, or repository of the hub
    revision: str | None  # of the repository; None for a folder


def read(folder: Path, base: str | None) -> AdapterFiles:
    """What adapter_config.json says.

    Args:
        folder: The adapter's.
        base: In place of the base that it names; None: that one.

    Raises:
        CheckpointError: it cannot be read, is of a kind that is not put on a base here, or names no base that is one.
    """
    said, where = _said(folder), f"the adapter in '{folder}'"
    kind = str(said.get("peft_type"))
    if kind not in _KINDS:
        raise CheckpointError(f"{where} is of the kind {kind}, and LoRA, DoRA and IA3 are read as adapters: {_MERGE}.")
    odd = [key for key in _CHANGES if said.get(key)]
    odd += ["bias"] * (said.get("bias", "none") != "none")
    odd += ["init_lora_weights"] * (said.get("init_lora_weights") not in _PLAIN_STARTS)
    if odd:
        raise CheckpointError(
            f"{where} has {odd[0]}: {json.dumps(said[odd[0]])}, which changes more of its base than layers: {_MERGE}."
        )
    named = base or said.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise CheckpointError(f"{where} names no base model: say which with base=, a folder or a hub repository.")
    of = "base=" if base else f"its {ADAPTER}"
    if not Path(named).is_dir() and not _REPOSITORY.fullmatch(named):
        raise CheckpointError(
            f"{where} needs its base '{named}' ({of}), which is not there: say where it is with base=."
        )
    if Path(named).is_dir() and not (Path(named) / "config.json").is_file():
        raise CheckpointError(
            f"{where} needs its base '{named}' ({of}), which is no whole model, for it has no config.json: name "
            "another with base=."
        )
    revision = None if base else said.get("revision")
    here = Path(named).is_dir()
    return AdapterFiles("DoRA" if said.get("use_dora") else _KINDS[kind], named, None if here else revision or "main")


def base_folder(location: str, base: str | None) -> str | None:
    """Where an adapter's base is, if that is a folder, without a word about what is wrong; None of a whole model.

    Args:
        location: Of the adapter.
        base: In place of the base that it names.
    """
    try:
        said = json.loads((Path(location) / ADAPTER).read_bytes())
    except (OSError, ValueError):
        return None
    named = base or (said.get("base_model_name_or_path") if isinstance(said, dict) else None)
    return named if isinstance(named, str) and Path(named).is_dir() else None


def _said(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads((folder / ADAPTER).read_text())
        if isinstance(said, dict):
            return said
    except (OSError, ValueError):
        pass
    raise CheckpointError(f"'{folder / ADAPTER}' cannot be read as JSON: write the adapter again.")
