"""One folder that holds a checkpoint, or part of one: what is missing, what its training said, what its headers say."""

from __future__ import annotations

import json
import math
import os
import zipfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints import adapter_files, beside, headers, tokenizer
from evalrun.checkpoints.contents import ADAPTER, has_own_head, is_adapter, is_flat, is_raw
from evalrun.checkpoints.folder_notes import notes
from evalrun.checkpoints.formats import found as raw_files
from evalrun.checkpoints.formats.raw import RawTensor
from evalrun.checkpoints.formats.raw_checkpoint import Reading, know
from evalrun.checkpoints.formats.renaming import named_shapes
from evalrun.checkpoints.formats.torch_pickle import DTYPES, TorchFileError
from evalrun.checkpoints.suites import released
from evalrun.checkpoints.suites.sizes import Parameters, Tensors, of_config, of_tensors
from evalrun.core.errors import CheckpointError

STATE = "trainer_state.json"
CUT_SHORT = ", so it is still being written or was cut short"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_TAIL = 64  # bytes: white space after the end
# What makes two checkpoints one architecture; each under the names that families of models use for it.
_SHAPE = (
    ("model_type",),
    ("hidden_size", "n_embd", "d_model"),
    ("num_hidden_layers", "n_layer", "num_layers"),
)


@dataclass(frozen=True)
class FolderLook:
    """What a look at a folder tells, without reading a weight."""

    is_model: bool  # something in it says that it is a checkpoint, whole or not
    unfinished: str | None  # why it is no whole checkpoint, in a few words after its name
    shape: dict[str, Any]  # of a whole one, as `shape_of` says
    has_tokenizer: bool  # and is whole


@dataclass(frozen=True)
class TrainerState:
    """What a Hugging Face Trainer wrote beside a checkpoint, or another trainer into it."""

    step: int
    tokens_seen: int  # 0 where it was not asked to count them
    flos: float  # 6 x parameters without embedding layers x tokens of the batches
    losses: dict[int, float]  # step -> training loss, of all steps logged so far
    said_by: str = STATE  # the file


def look(folder: Path) -> FolderLook:
    """Look at a folder, or remember what was seen if it is as it was."""
    return FolderLook(**notes().kept(folder, "look", lambda: asdict(_look(folder)), partial(is_flat, folder)))


def _look(folder: Path) -> FolderLook:
    why = unfinished(folder)
    whole = why is None
    return FolderLook(
        looks_like_model(folder), why, shape_of(folder) if whole else {}, whole and tokenizer.is_in(folder)
    )


def looks_like_model(folder: Path) -> bool:
    """Whether something in a folder says that it is a checkpoint, whole or not."""
    if is_raw(folder):
        return True
    names = _names(folder)
    known = {"config.json", STATE, ADAPTER, *checkpoints.SINGLE, *checkpoints.INDEXES}
    if names & known or any(name.endswith((".safetensors", "_model_states.pt")) for name in names):
        return True
    return any((folder / name / "config.json").is_file() for name in names)  # beside.no_weights says what of it


def unfinished(folder: Path) -> str | None:
    """Why a folder is no whole checkpoint, in a few words after its name; None for a whole one."""
    if is_raw(folder):
        raw = raw_files.unfinished(folder)
        return None if raw is None else raw[0] + CUT_SHORT * raw[1]
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if "config.json" not in names and ADAPTER not in names:
        why, grows = beside.no_weights(folder)
        return f"has no config.json{CUT_SHORT}" if grows else why
    said = ADAPTER if "config.json" not in names else "config.json"
    if _json(folder / said) is None:
        return f"has a {said} that cannot be read{CUT_SHORT}"
    try:
        files = checkpoints.weight_files(folder)
    except CheckpointError:
        return f"has a damaged index of its shards{CUT_SHORT}"
    if not files:
        why, grows = beside.no_weights(folder)
        return why + CUT_SHORT * grows
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        return f"lacks {len(absent)} of {len(files)} shards, the first {absent[0]}{CUT_SHORT}"
    if (pointer := beside.pointer(folder)) is not None:
        return pointer
    try:
        cut = [file.name for file in files if _is_cut(file)]
    except OSError as error:
        return f"has a {Path(error.filename).name} that cannot be read ({error.strerror})"
    cut += [name for name in _TOKENIZER if name in names and not _ends_whole(folder / name)]
    return f"has a {cut[0]} that ends too early{CUT_SHORT}" if cut else None


def state_of(folder: Path) -> TrainerState | None:
    """What the Trainer wrote; None where there is nothing, or nothing that can be read."""
    said = _json(folder / STATE)
    try:
        assert said is not None
        history = [entry for entry in said.get("log_history", []) if "loss" in entry and "step" in entry]
        return TrainerState(
            step=int(said["global_step"]),
            tokens_seen=int(said.get("num_input_tokens_seen") or 0),
            flos=float(said.get("total_flos") or 0),
            losses={int(entry["step"]): _loss(entry["loss"]) for entry in history},
        )
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _loss(said: Any) -> float:
    """A loss as it was logged; strict writers of JSON put null in place of NaN."""
    return math.nan if said is None else float(said)


def tokens_of(state: TrainerState, counted: int) -> int | None:
    """The tokens that a run had seen: as it counted them, else from its operations; None where neither says.

    `total_flos` is 6 x `counted` x tokens, padding included, added up over all devices (transformers'
    `Trainer.floating_point_ops`). Divided by 6 x `counted` it is a whole number, unless another model was counted.

    Args:
        state: Of the checkpoint.
        counted: `Parameters.counted` of the model.
    """
    if state.tokens_seen > 0:
        return state.tokens_seen
    tokens = state.flos / (6 * counted) if counted else 0.0
    whole = round(tokens)
    return whole if whole > 0 and abs(tokens - whole) <= 1e-9 * tokens + 1e-6 else None


def adapter_of(folder: Path, base: str | None) -> adapter_files.AdapterFiles | None:
    """What an adapter's folder says; None where it holds a whole model.

    Raises:
        CheckpointError: as `adapter_files.read` says.
    """
    return adapter_files.read(folder, base) if is_adapter(folder) else None


def raw_state(folder: Path, reading: Reading) -> TrainerState | None:
    """What a trainer wrote into a checkpoint of a format of its own; None where that says no step.

    Args:
        folder: The checkpoint's folder or file.
        reading: What the user says of how it is read.

    Raises:
        CheckpointError: it cannot be read, or by no rules.
    """
    raw = know(folder, reading, f"'{folder}'")
    if raw.step is None:
        return None
    return TrainerState(raw.step, raw.tokens or 0, 0, {}, raw.raw.files[0].name)


def parameters_of(folder: Path, base: str | None = None, reading: Reading | None = None) -> Parameters:
    """Count a whole checkpoint's parameters without reading its weights; an adapter's are those of the merged model.

    Args:
        folder: The checkpoint's.
        base: Of an adapter, in place of the one that it names.
        reading: Of what a trainer wrote in a format of its own.

    Raises:
        CheckpointError: neither its headers nor its config.json say; an adapter's base is not there.
    """
    if is_raw(folder):
        raw = know(folder, reading or Reading(), f"'{folder}'")
        shapes = _as_stored(named_shapes(raw.weights))
        return of_tensors(shapes, raw.config.get("tie_word_embeddings")) or of_config(
            json.dumps(dict(raw.config)), f"'{folder}'"
        )
    if (adapter := adapter_of(folder, base)) is not None:
        if adapter.revision is None:
            of_base = parameters_of(Path(adapter.base))
        else:
            of_base = released.parameters(adapter.base, adapter.revision)
        added = sum(math.prod(shape) for _, shape in _tensors(folder).values())
        return replace(of_base, counted=of_base.counted + added)  # the Trainer counts what it added, too
    config = _json(folder / "config.json") or {}
    is_quantised = "quantization_config" in config  # its files hold fewer numbers than it has parameters, and scales
    tied = config.get("tie_word_embeddings") and not has_own_head(folder)
    found = None if is_quantised else of_tensors(_tensors(folder), tied)
    return found or of_config((folder / "config.json").read_text(), f"'{folder}'")


def shape_of(folder: Path) -> dict[str, Any]:
    """What one run's checkpoints have in common: rows of the input embedding (vocab_size), and the architecture."""
    if is_raw(folder):
        return _raw_shape(folder)
    if is_adapter(folder):
        said = _json(folder / ADAPTER) or {}
        return {"peft_type": said.get("peft_type"), "base": said.get("base_model_name_or_path")}
    config = _json(folder / "config.json") or {}
    config = config.get("text_config") or config
    shape: dict[str, Any] = {}
    for names in _SHAPE:
        name = next((name for name in names if name in config), names[0])
        shape[name] = config.get(name)
    found = of_tensors(_tensors(folder), tied=True)
    return {"vocab_size": found.rows if found else config.get("vocab_size"), **shape}


def _raw_shape(folder: Path) -> dict[str, Any]:
    """What one run's checkpoints of a trainer's own format have in common."""
    try:
        raw = raw_files.look(folder)
    except TorchFileError:
        raw = None
    if raw is None:
        return {}
    largest = max(raw.tensors.values(), key=lambda one: math.prod(one.shape), default=None)
    return {"container": raw.container, "largest tensor": largest and " x ".join(map(str, largest.shape))}


def _as_stored(tensors: dict[str, RawTensor]) -> Tensors:
    return {name: (DTYPES[one.dtype][0], one.shape) for name, one in tensors.items()}


def _ends_whole(file: Path) -> bool:
    """Whether a JSON file has its end."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return stream.read().rstrip().endswith(b"}")
    except OSError:  # who loads it says so
        return True


def _is_cut(file: Path) -> bool:
    """Whether a weight file ends before its own table of contents says, or has none.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        if file.suffix == ".safetensors":
            return headers.read(file) is None
        start = stream.read(2)
    return (start == b"PK" and not zipfile.is_zipfile(file)) or not start


def _tensors(folder: Path) -> Tensors:
    """Name -> dtype and shape of what would be loaded."""
    found = headers.read_all(checkpoints.weight_files(folder))
    return {name: (stored.dtype, stored.shape) for name, stored in found.items()}


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()


def _json(file: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
