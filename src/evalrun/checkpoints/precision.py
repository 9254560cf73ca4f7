"""The precision of a checkpoint that names none: transformers takes that of one tensor, whatever the others have."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from evalrun.checkpoints import fit
from evalrun.checkpoints.headers import Stored

log = logging.getLogger(__name__)
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_said: set[tuple[object, ...]] = set()  # what was warned of in this process: the checkpoints of a run are alike


def mixed(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> dict[str, int]:
    """Precision -> weights that are stored in it, the most first; empty where config.json names one, or all are alike.

    Args:
        config: config.json.
        stored: The tensors of its safetensors files.
    """
    inner = config.get("text_config")
    for said in (config, inner if isinstance(inner, Mapping) else {}):
        if said.get("dtype") or said.get("torch_dtype") or said.get("quantization_config"):
            return {}
    weights = (tensor for name, tensor in stored.items() if not fit.is_leftover(name, tensor.shape))
    found = Counter(_NAMES[tensor.dtype] for tensor in weights if tensor.dtype in _NAMES)
    return dict(found.most_common()) if len(found) > 1 else {}


def warn(label: str, found: Mapping[str, int], model: Any) -> None:
    """Say in which precision such a checkpoint is read; once for those that are alike.

    Args:
        label: The checkpoint in words.
        found: What `mixed` gave.
        model: As it was loaded.
    """
    taken = str(model.dtype).removeprefix("torch.")
    if (key := (taken, *found.items())) in _said:
        return
    _said.add(key)
    log.warning(
        "%s: config.json names no dtype and the weights have several (%s); all are read in %s, that of the first by "
        "name, as transformers does: scorer.dtype= names another",
        *(label, ", ".join(f"{number} in {dtype}" for dtype, number in found.items()), taken),
    )
