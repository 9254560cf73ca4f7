"""The model arguments of an lm-eval result: `pretrained=...,revision=...` as a string, or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Where and how fast it ran: they name no other model and change no number beyond rounding.
_NEUTRAL = {
    *("device", "device_map", "device_map_option", "batch_size", "max_batch_size", "parallelize", "use_accelerate"),
    *("cache_dir", "trust_remote_code", "low_cpu_mem_usage", "use_fast_tokenizer", "token", "use_auth_token"),
    *("max_memory_per_gpu", "max_cpu_memory", "offload_folder", "tensor_parallel_size", "data_parallel_size"),
    *("gpu_memory_utilization", "swap_space", "attn_implementation", "backend"),
}
_ADAPTERS = ("peft", "delta", "steer_path")  # with one of these the checkpoint is not what was evaluated
_BITS = {"load_in_8bit": "8bit", "load_in_4bit": "4bit"}
_NOTHING = ("", "none", "null")


@dataclass(frozen=True)
class ModelArgs:
    """Which checkpoint a result is of, as its file names it."""

    pretrained: str  # hub repository, local folder, or a model's name; empty where the file names none
    revision: str | None = None
    step: int | None = None  # tables say the step itself
    suite: str | None = None
    seed: int | None = None
    dtype: str | None = None  # None: not said, or auto
    adapter: str | None = None  # `peft=...`, as it stands there
    other: tuple[tuple[str, str], ...] = ()  # what else may change the numbers, sorted
    read_as_number: bool = False  # the revision: lm-eval makes 12345 of 0012345 and inf of 7e20000, so its name is lost


def split(text: str) -> dict[str, str]:
    """Take `a=1,b=2` apart as lm-eval does.

    The first `=` of a part ends its name; a part without one belongs to the value before, which held a comma.
    """
    found: dict[str, str] = {}
    last = None
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            last = name.strip()
            found[last] = value.strip()
        elif last is not None and part.strip():
            found[last] += f",{part.rstrip()}"
    return found


def model_args(given: Any, name: Any = None, revision: Any = None) -> ModelArgs:
    """Read the `model_args` of a result file's config.

    Args:
        given: A string, a mapping, or anything else that a file may hold there.
        name: The model's name as the file says it elsewhere, used when the arguments have none.
        revision: The same for the revision.
    """
    pairs = split(given) if isinstance(given, str) else given if isinstance(given, Mapping) else {}
    said = {str(key): str(value) for key, value in pairs.items() if _says_something(value)}
    pretrained = said.pop("pretrained", None) or (str(name) if _says_something(name) else "")
    if subfolder := said.pop("subfolder", None):
        pretrained = f"{pretrained.rstrip('/')}/{subfolder}"
    written = pairs.get("revision") if _says_something(pairs.get("revision")) else revision
    own_revision = said.pop("revision", None) or (str(revision) if _says_something(revision) else None)
    dtype = said.pop("dtype", "auto").removeprefix("torch.")
    if said.get("tokenizer") == pretrained:
        del said["tokenizer"]
    for flag, bits in _BITS.items():
        if said.pop(flag, "false").lower() in ("true", "1"):
            dtype = bits
    adapters = [f"{key}={said[key]}" for key in _ADAPTERS if key in said]
    return ModelArgs(
        pretrained=pretrained,
        revision=own_revision,
        dtype=None if dtype == "auto" else dtype,
        adapter=adapters[0] if adapters else None,
        other=tuple(sorted((key, value) for key, value in said.items() if key not in _NEUTRAL)),
        read_as_number=isinstance(written, int | float),
    )


def _says_something(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and str(value).strip().lower() not in _NOTHING
