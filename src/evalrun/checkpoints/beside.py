"""A folder that holds more than one model, or what another program left: said, because loading would not say it.

transformers applies an adapter on top of a whole model that is beside it, reads `model.safetensors` where there are
newer shards, and takes the old weights where a save into the folder was cut short.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from evalrun.checkpoints import headers
from evalrun.checkpoints.contents import ADAPTER, ADAPTER_WEIGHTS, INDEXES, SINGLE, shards_of, weight_map

_DRAFT = re.compile(r"\.tmp\w{6}")  # what safetensors writes first, and renames when it is whole
_SHARD = re.compile(r"(?:model|pytorch_model)-\d+-of-\d+\.(?:safetensors|bin)")
# Training states that are no checkpoint of transformers: the name, whose it is, what makes a checkpoint of it.
_STATES = (
    (r"pytorch_model_fsdp_\d+", "FSDP's sharded state", "run `accelerate merge-weights` on it"),
    (r"pytorch_model_fsdp\.bin", "FSDP's state", "rename it to pytorch_model.bin if it holds a plain state dict"),
    (
        r"(?:bf16_|fp16_)?zero_pp_rank_\d+_mp_rank_\d+_\w+_states\.pt",
        "DeepSpeed's shards of ZeRO 3",
        "run the zero_to_fp32.py beside the folder with --safe_serialization, or name it with checkpoint.convert=",
    ),
    (r"global_step\d+", "DeepSpeed's sharded state", "run the zero_to_fp32.py beside it with --safe_serialization"),
    (r".*\.(?:ckpt|pth?)", "another trainer's state", "load it there and call save_pretrained"),
)
_POINTER = b"version https://git-lfs"
_MAY_POINT = re.compile(r".*\.(?:safetensors|bin)|tokenizer.*", re.DOTALL)
_LARGEST_POINTER = 1024  # bytes: the format's own limit
_TOGETHER_S = 60  # between files of one save or one copy
_AVERAGE = re.compile(r"(?:^|[-_.])(?:ema|swa|averaged?)(?:[-_.]|$)", re.IGNORECASE)
_NO_STATE = re.compile(r"(?:optimizer|scheduler|scaler|rng_state|training_args|random_states).*")


def second_model(folder: Path, files: list[Path]) -> tuple[str, str] | None:
    """What lies beside the weights that loading would read: its name, and the sentence about it after the place.

    Args:
        folder: The checkpoint's.
        files: The weight files that loading would read.
    """
    if (folder / ADAPTER).is_file() and files[0].name not in ADAPTER_WEIGHTS:
        return ADAPTER, (
            f"holds a whole model and beside it an adapter ({ADAPTER}), which transformers would apply on top: move "
            "the adapter's files to a folder of their own if it is merged already, or score the whole model alone with "
            "allow_unused_weights=true."
        )
    draft = next((name for name in sorted(os.listdir(folder)) if _DRAFT.fullmatch(name)), None)
    if draft is not None:
        return draft, (
            f"holds {draft}, which a save that was cut short left there (or one goes on now), so its {files[0].name} "
            f"may be older than its config.json: save it again, or delete {draft} if you know that it is whole, or say "
            "allow_unused_weights=true."
        )
    if (twice := _differs(files)) is not None:
        name, one, other = twice
        return other, (
            f"has two of {name}, one in {one} and another in {other}, and transformers reads the last: take away the "
            "shard that is not this checkpoint's, or score it as transformers reads it with allow_unused_weights=true."
        )
    if (odd := _of_two_saves(folder, files)) is not None:
        return odd
    if len(files) == 1 and (index := _other_shards(folder, files[0])) is not None:
        return index, (
            f"holds two models, {files[0].name} and the shards of {index}, and transformers reads the first: move away "
            "the one that is not this checkpoint, or score the first with allow_unused_weights=true."
        )
    return None


def _differs(files: list[Path]) -> tuple[str, str, str] | None:
    """A tensor that two shards of one checkpoint hold, and hold differently: its name and theirs."""
    held: dict[str, headers.Stored] = {}
    for file in files if len(files) > 1 else ():
        for name, stored in (headers.read(file) or {}).items():
            first = held.setdefault(name, stored)
            if first is not stored and not headers.equal(first, stored):
                return name, first.file.name, file.name
    return None


def _of_two_saves(folder: Path, files: list[Path]) -> tuple[str, str] | None:
    """Shards that cannot be of one save, as `second_model` says it.

    A save writes config.json first, then its shards, one after the other, and their index last. One that was cut short
    in a folder with an older checkpoint leaves shards on both sides of config.json.
    """
    if len(files) < 2:
        return None
    index = next((name for name in INDEXES if (folder / name).is_file()), INDEXES[0])
    held = {file.name: headers.read(file) for file in files}
    everywhere = set().union(*(tensors or () for tensors in held.values()))
    for name, shard in sorted(weight_map(folder / index).items()):
        tensors = held.get(shard)
        if tensors is not None and name not in everywhere:
            return shard, (
                f"has {name} in {shard} by its {index}, and no shard holds it: its shards are of another save than "
                "their index; save it again."
            )
    begun = (folder / "config.json").stat().st_mtime
    old = [file.name for file in files if file.stat().st_mtime < begun - _TOGETHER_S]
    new = [file.name for file in files if file.stat().st_mtime >= begun]
    if not old or not new:
        return None
    return old[0], (
        f"has shards of two saves: {new[0]} is newer than its config.json and {old[0]} was there before, as a save "
        "that was cut short leaves them; save it again, or say allow_unused_weights=true if they belong together."
    )


def _other_shards(folder: Path, single: Path) -> str | None:
    """The index beside a single file whose shards are there and hold anything else."""
    index = dict(zip(SINGLE, INDEXES, strict=True)).get(single.name)
    if index is None or not (folder / index).is_file():
        return None
    shards = [folder / name for name in shards_of(folder / index) if name != single.name]
    there = [shard for shard in shards if shard.is_file()]
    if not there:
        return None  # an index alone names nothing that could be read
    one, many = headers.read(single), headers.read_all(there)
    if one is None or len(there) < len(shards) or one.keys() != many.keys():
        return index
    return None if all(headers.equal(stored, many[name]) for name, stored in one.items()) else index


def pointer(folder: Path) -> str | None:
    """What says that a weight or tokenizer file is a pointer only, of a clone without `git lfs pull`."""
    with os.scandir(folder) as entries:
        small = [entry for entry in entries if _MAY_POINT.fullmatch(entry.name) and _size(entry) <= _LARGEST_POINTER]
    for entry in sorted(small, key=lambda entry: entry.name):
        with contextlib.suppress(OSError), open(entry.path, "rb") as stream:  # what cannot be read is named elsewhere
            if stream.read(len(_POINTER)) == _POINTER:
                return (
                    f"has a {entry.name} that is a Git LFS pointer, not the file: run `git lfs pull` in its repository"
                )
    return None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing
        return 0


def newer_pickle(files: list[Path]) -> str | None:
    """A pickle beside a single file of weights that was written later, and is passed over: the end of a sentence."""
    pickle = files[0].parent / SINGLE[1]
    if len(files) > 1 or files[0].name != SINGLE[0] or not pickle.is_file():
        return None
    if pickle.stat().st_mtime <= files[0].stat().st_mtime + _TOGETHER_S:
        return None
    return (
        f"holds {SINGLE[0]} and a {SINGLE[1]} that was written later: {SINGLE[0]} is what is read; move it away if the "
        "other is this checkpoint."
    )


def emptied(files: list[Path]) -> str | None:
    """Zeros in place of numbers, as a copy that was cut short leaves them: the end of a sentence."""
    ours = [file for file in files if file.suffix == ".safetensors"]
    if files[0].name in ADAPTER_WEIGHTS:  # an adapter begins with zeros
        return None
    if zero := [name for file in ours for name in headers.zeros(file)]:
        more = f" and {len(zero) - 1} more" if zero[1:] else ""
        found = f"holds zeros alone in {zero[0]}{more}: a layer may begin so"
    elif cut := [(file, name) for file in ours if (name := headers.zero_tail(file)) is not None]:
        found = f"holds {cut[0][0].name}, which ends in zeros from amid {cut[0][1]} on: a padded vocabulary may end so"
    else:
        return None
    return f"{found}, and a copy that was cut short leaves such: compare it with its source."


def unread(folder: Path, files: list[Path]) -> str | None:
    """Weights beside a model's that are not read, as copies with averaged weights are: the end of a sentence."""
    read = {file.name for file in files} | {shard for index in INDEXES for shard in shards_of(folder / index)}
    others = [name for name in sorted(os.listdir(folder)) if name not in read and _is_other(folder, name)]
    if not others:
        return None
    more = f" and {len(others) - 1} more" if others[1:] else ""
    return (
        f"holds other weights too, {others[0]}{more}: {files[0].name} is what is read; to score the others give them a "
        "folder of their own."
    )


def _is_other(folder: Path, name: str) -> bool:
    """Whether an entry is weights that transformers does not ask for: a file, or a folder with an average."""
    if (folder / name).is_dir():
        return bool(_AVERAGE.search(name)) and any((folder / name / file).is_file() for file in (*SINGLE, *INDEXES))
    return name.endswith(".safetensors") and name not in (*SINGLE, *ADAPTER_WEIGHTS) and not _NO_STATE.fullmatch(name)


def no_weights(folder: Path) -> tuple[str, bool]:
    """Why a folder has nothing to load, after its name, and whether that may be because it is still being written."""
    names = sorted(entry.name for entry in folder.iterdir())
    if ADAPTER in names:
        return (f"has {ADAPTER} and neither {' nor '.join(ADAPTER_WEIGHTS)}, so its adapter has no weights"), True
    if any(_DRAFT.fullmatch(name) for name in names):
        return "has no weights, only the beginning of a save", True
    if shards := [name for name in names if _SHARD.fullmatch(name)]:
        index = INDEXES[0] if shards[0].endswith(".safetensors") else INDEXES[1]
        return f"has shards such as {shards[0]} and no {index} that names them", True
    if not {*SINGLE, *INDEXES}.isdisjoint(names):  # it is config.json that lacks
        return "has no weights", True
    if below := [name for name in names if any((folder / name / file).is_file() for file in (*SINGLE, *INDEXES))]:
        place = folder.parent.name and f"{folder.name}/{below[0]}"
        return (
            f"has no weights itself, but below it in {' and '.join(below)}: say which with "
            f"'checkpoint.steps={{STEP: {place}}}'"
        ), False
    if others := [name for name in names if _is_other(folder, name)]:
        return (
            f"has no weights under a name that transformers reads, only {others[0]}: rename it to {SINGLE[0]} if it is "
            "the model"
        ), False
    for name in names:
        for pattern, whose, remedy in () if _NO_STATE.fullmatch(name) else _STATES:
            if re.fullmatch(pattern, name):
                return f"has no weights that transformers reads, only {whose} ({name}): {remedy}", False
    if state := next((name for name in names if name.startswith("optimizer")), None):
        return f"has no weights, only the state of its training ({state})", False
    return "has no weights", True


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """The folder without the adapter in it: transformers has no option not to apply one."""
    if not (folder / ADAPTER).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        bare = Path(place) / folder.name
        bare.mkdir()
        for entry in folder.absolute().iterdir():
            if not entry.name.startswith("adapter_"):
                (bare / entry.name).symlink_to(entry)
        yield bare
