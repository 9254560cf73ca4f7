"""Exact parameter counts without reading a weight: from the headers of safetensors files, or from a config.json.

Two counts are wanted: all parameters, tied ones once, and those without input embedding and unembedding (Kaplan et al.
2020, arXiv:2001.08361). A third is what a Hugging Face Trainer counts its operations with.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalrun.core.atomic import keep_file
from evalrun.core.errors import CheckpointError, first_line

log = logging.getLogger(__name__)
FOLDER = Path("multirun") / ".cache" / "parameters"
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name -> dtype as safetensors spells it, shape
_INPUT = re.compile(r"(?:^|\.)(embed_in|embed_tokens|wte|word_embeddings|tok_embeddings)\.weight$")
_OUTPUT = re.compile(r"(?:^|\.)(embed_out|lm_head|output)\.weight$")
_POSITIONS = re.compile(r"(?:^|\.)(wpe|embed_positions|position_embeddings)\.weight$")
# Masks and frequencies that older releases saved beside the parameters.
_BUFFER = re.compile(r"(?:^|\.)(inv_freq|masked_bias|(?:attention|attn)\.bias)$")
_NOT_FLOAT = ("BOOL", "I", "U")


@dataclass(frozen=True)
class Parameters:
    """How many parameters a model has."""

    total: int  # embeddings included
    nonembedding: int  # without input embedding and unembedding
    counted: int  # without any embedding layer, an untied unembedding included: the Trainer's `total_flos` is of these
    rows: int | None  # of the input embedding


def nominal(total: int) -> int:
    """A count to two significant digits, as names of models have them."""
    scale: int = 10 ** max(0, len(str(total)) - 2)
    return math.floor(total / scale + 0.5) * scale


def of_tensors(tensors: Tensors, tied: bool | None) -> Parameters | None:
    """Count what weight files say they hold; None where they do not say what the embeddings are.

    Args:
        tensors: Of all shards.
        tied: Whether the config ties the unembedding to the input embedding; saved twice, it is counted once. None
            where the config does not say.
    """
    sizes = {
        name: math.prod(shape)
        for name, (dtype, shape) in tensors.items()
        if not dtype.startswith(_NOT_FLOAT) and not _BUFFER.search(name)
    }
    inputs = [name for name in sizes if _INPUT.search(name)]
    outputs = [name for name in sizes if _OUTPUT.search(name)]
    if len(inputs) != 1 or len(outputs) > 1 or (outputs and tied is None):
        return None
    if tied:
        for name in outputs:
            del sizes[name]
        outputs = []
    total, embedding = sum(sizes.values()), sizes[inputs[0]]
    rows = tensors[inputs[0]][1][0]
    positions = sum(size for name, size in sizes.items() if _POSITIONS.search(name))
    unembedding = sum(sizes[name] for name in outputs)
    return Parameters(total, total - embedding - unembedding, total - embedding - positions, rows)


def of_config(config: str, of: str) -> Parameters:
    """Count what a config.json describes, on torch's meta device; kept by its content, since that loads transformers.

    Args:
        config: The text of the file.
        of: What it belongs to, for the sentence.

    Raises:
        CheckpointError: transformers knows no such architecture.
    """
    path = FOLDER / f"{hashlib.sha256(config.encode()).hexdigest()[:32]}.json"
    try:
        return Parameters(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        log.debug("nothing kept in %s", path)
    try:
        found = _on_meta(json.loads(config))
    except Exception as error:  # transformers raises many classes
        raise CheckpointError(
            f"the parameters of {of} cannot be counted from its config.json ({first_line(error)}): say them with "
            "model.n_params= and model.n_params_nonembedding=."
        ) from None
    keep_file(path, json.dumps(asdict(found)))
    return found


def _on_meta(config: dict[str, Any]) -> Parameters:
    """Parameters of a model that is built without memory for its weights (torch's meta device).

    Args:
        config: The content of config.json.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "quantization_config"})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(known)
    model.tie_weights()
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    total = sum(parameter.numel() for parameter in model.parameters())
    unembedding = 0 if output is None or output.weight is embedding else output.weight.numel()
    counted = int(model.num_parameters(exclude_embeddings=True))
    return Parameters(total, total - embedding.numel() - unembedding, counted, int(embedding.shape[0]))
