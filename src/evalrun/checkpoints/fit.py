"""Weights in the file and weights in the model: the same set, or a sentence that names the cause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalrun.checkpoints.headers import Stored, equal

# Masks, positions and frequencies that older releases saved beside the weights, and which no model reads.
_LEFTOVER = re.compile(
    r"(?:^|\.)(?:(?:original_)?inv_freq|masked_bias|position_ids|token_type_ids|_extra_state|num_batches_tracked|"
    r"causal_mask|_?(?:cos|sin)_cached|cos_sin_cache|freqs_cis|rope\.freqs|embed_positions\.weights)$"
)
_MASK = re.compile(r"(?:^|\.)(?:self_)?att(?:n|ention)\.(?:bias|mask)$")  # as [1, 1, window, window]
# What wrappers put into names, and who does.
_WRAPPERS = {
    "module": "DistributedDataParallel or DeepSpeed",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "Lightning",
    "base_model.model": "peft",
}
_LORA = re.compile(r"\.lora_(?:A|B|embedding_A|embedding_B|magnitude_vector)\b|\.base_layer\.")
_SCALE = re.compile(
    r"(?:weight|input|output|k|v)_(?:scales?|scale_inv|zero_point)$|\.(?:scales|qzeros|absmax|quant_map|SCB)$"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
# GPT-NeoX's head, in its files and in its code: of two that differ transformers takes the first, and says nothing.
_HEADS = ("embed_out.weight", "lm_head.weight")
_PLAIN = ("F64", "F32", "F16", "BF16", "C64", "BOOL")


def is_leftover(name: str, shape: Sequence[int] = ()) -> bool:
    """Whether a tensor is known to be no weight: a buffer that older releases saved."""
    return bool(_LEFTOVER.search(name)) or (bool(_MASK.search(name)) and (len(shape) == 4 or not shape))


def doubtful(tensors: Mapping[str, Stored], config: Mapping[str, Any]) -> bool:
    """Whether headers alone say that a file may hold more than its model reads; only loading can tell for sure."""
    layers = _layers_said(config)
    return any(
        _LORA.search(name) or (layers is not None and (_layer_of(name) or 0) >= layers) for name in tensors
    ) or bool("quantization_config" not in config and (unreadable(tensors) or any(map(_SCALE.search, tensors))))


def unreadable(tensors: Mapping[str, Stored], dropped: Iterable[str] = ()) -> list[str]:
    """Weights that are stored as integers or in eight bits, and whose numbers mean nothing without their scales."""
    without = set(dropped)
    return [
        name
        for name, stored in sorted(tensors.items())
        if not stored.dtype.startswith(_PLAIN)
        and len(stored.shape) > 1
        and name not in without
        and not is_leftover(name, stored.shape)
    ]


def shadowed(tensors: Mapping[str, Stored], unexpected: Iterable[str]) -> list[str]:
    """The tensor that is not read because another stands for the same weight under its other name, and differs."""
    first, second = (tensors.get(name) for name in _HEADS)
    if first is None or second is None or set(_HEADS) & set(unexpected) or equal(first, second):
        return []
    return [_HEADS[1]]


def misfit(missing: Iterable[str], mismatched: Iterable[Any], unexpected: Iterable[str], model: Any) -> str | None:
    """Why a checkpoint cannot be what config.json describes, after its place; None where no weight is absent.

    Args:
        missing: The model's weights that the file lacks.
        mismatched: (name, size in the file, size in the model) of those that have another size there.
        unexpected: The file's tensors that the model has no place for.
        model: As it was loaded.
    """
    other = sorted((str(name), list(there), list(here)) for name, there, here in mismatched)
    empty = [name for name, there, _ in other if 0 in there]
    absent = sorted(missing)
    if not other and not absent:
        return None
    if empty:
        return (
            f"has {len(empty)} empty tensors, the first {empty[0]}: they are placeholders of DeepSpeed's ZeRO-3; "
            "gather the weights when saving (stage3_gather_16bit_weights_on_model_save), or run its zero_to_fp32.py."
        )
    if other:
        name, there, here = other[0]
        return (
            f"does not fit its config.json: {name} is {there} in the file and {here} in the model"
            f"{_of_all(len(other))}; put the config.json beside it that it was saved with."
        )
    some = f"{len(absent)} of its weights, the first {absent[0]}" if len(absent) > 1 else f"the weight {absent[0]}"
    return (
        f"lacks {some}: it would be scored with {'random ones' if len(absent) > 1 else 'a random one'}; "
        f"{_cause_of_absence(absent, sorted(unexpected), model)}."
    )


def surplus(names: Sequence[str], model: Any) -> str:
    """What to say of tensors that the model has no place for, after the checkpoint's place."""
    one = f"the tensor {names[0]}, which its model has no place for"
    some = f"{len(names)} tensors that its model has no place for, the first {names[0]}" if len(names) > 1 else one
    return (
        f"holds {some}: "
        f"{_cause_of_surplus(names, model)}; write it again, or score the model without them with "
        "allow_unused_weights=true."
    )


def _of_all(number: int) -> str:
    return f" ({number} tensors do not fit)" if number > 1 else ""


def _cause_of_absence(absent: Sequence[str], unexpected: Sequence[str], model: Any) -> str:
    """Why a model's tensors are not in the file, and what to do: the tail of a sentence.

    Args:
        absent: Names that the model needs and the file lacks; one at least.
        unexpected: Names that the file has and the model does not.
        model: The model as it was built.
    """
    found = {_unwrapped(name): name for name in unexpected}
    known = [name for name in absent if name in found]
    called = found[known[0]] if known else ""
    if 2 * len(known) >= len(absent) and called != _unwrapped(called):
        who = " and ".join(whose for wrapper, whose in _WRAPPERS.items() if f".{wrapper}." in f".{called}")
        remedy = "merge its layers with merge_and_unload() and save that" if "peft" in who else "save the model inside"
        return f"the file calls {known[0]} {called}, as {who} leaves it: {remedy}"
    if any(map(_LORA.search, unexpected)):
        return "its LoRA layers were not merged: save what merge_and_unload() gives"
    saved_as = (getattr(model.config, "architectures", None) or [type(model).__name__])[0]
    if saved_as != type(model).__name__ and len(absent) <= 4:
        return f"it was saved as a {saved_as}, which is no {type(model).__name__}: save the whole model"
    if set(absent) <= set(_HEADS):
        return (
            "if the input embedding stands for it, say tie_word_embeddings: true in its config.json; if not, fetch or "
            "write it again"
        )
    return "fetch or write it again"


def unwrapped(name: str) -> str:
    """A tensor's name without what wrappers of a whole model put into it; what peft puts in stays."""
    return _without(name, [wrapper for wrapper in _WRAPPERS if wrapper != "base_model.model"])


def _unwrapped(name: str) -> str:
    return _without(name, [*_WRAPPERS, "base_layer"])


def _without(name: str, wrappers: Iterable[str]) -> str:
    for wrapper in wrappers:
        name = f".{name}".replace(f".{wrapper}.", ".")[1:]
    return name


def _cause_of_surplus(names: Sequence[str], model: Any) -> str:
    layers = _layers_said(model.config.get_text_config().to_dict())
    above = [number for name in names if (number := _layer_of(name)) is not None and number >= (layers or 0)]
    if any(map(_LORA.search, names)):
        return "its LoRA layers were not merged (merge_and_unload), and without them it is its base model"
    if layers is not None and above:
        return f"config.json says {layers} layers and the file has {max(above) + 1}"
    if any(map(_SCALE.search, names)):
        return "they look like the scales of quantised weights, and config.json has no quantization_config for them"
    return "config.json is of another model, or they belong to a second head"


def _layer_of(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def _layers_said(config: Mapping[str, Any]) -> int | None:
    inner = config.get("text_config")
    for said in (config, inner if isinstance(inner, Mapping) else {}):
        for key in ("num_hidden_layers", "n_layer", "num_layers"):
            if isinstance(said.get(key), int):
                return int(said[key])
    return None
