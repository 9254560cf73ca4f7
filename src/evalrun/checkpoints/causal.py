"""Whether a model sees the tokens that it is to predict: a masked model's numbers are no log-likelihoods."""

from __future__ import annotations

import logging
from typing import Any

from evalrun.core.errors import CheckpointError, first_line

log = logging.getLogger(__name__)
_LENGTH = 8  # tokens of the two texts that are compared
# What a logit may move by through rounding alone, as a share of the largest; a masked model's move by tenths.
_ROUNDING = {"torch.float64": 1e-4, "torch.float32": 1e-4}
_HALF = 2e-2
_seen: set[tuple[type, str]] = set()  # classes with their configs that were found causal in this process


def check(model: Any, label: str) -> None:
    """See that a later token does not move the logits of an earlier position; once for an architecture and process.

    Raises:
        CheckpointError: it does.
    """
    key = (type(model), model.config.to_json_string())
    if key in _seen:
        return
    moved = _moved(model)
    if moved is not None and moved > _ROUNDING.get(str(model.dtype), _HALF):
        raise CheckpointError(
            f"{label} is a {type(model).__name__} that sees the tokens it is to predict: the logits of a position move "
            "when a later token changes, so they give no log-likelihoods; a masked model cannot be scored this way (a "
            "BERT that was trained as a decoder says is_decoder: true in its config.json)."
        )
    _seen.add(key)


def _moved(model: Any) -> float | None:
    """By how much of the largest logit those before the last position move with the last token; None: not known."""
    import torch

    embedding = model.get_input_embeddings()
    rows = 0 if embedding is None else int(embedding.weight.shape[0])
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    tokens = [token for token in range(rows - 1, max(-1, rows - 2 * _LENGTH - 4), -1) if token != padding]
    if len(tokens) <= _LENGTH:
        return None
    one, other = tokens[:_LENGTH], [*tokens[: _LENGTH - 1], tokens[_LENGTH]]
    try:
        with torch.inference_mode():
            logits = model(torch.tensor([one, other], device=embedding.weight.device)).logits[:, :-1].float()
    except Exception as error:  # a model's own code; scoring will say what is at fault
        log.debug("whether the model is causal could not be seen: %s", first_line(error))
        return None
    largest = float(logits.abs().max())
    moved = float((logits[0] - logits[1]).abs().max())
    return moved / largest if largest > 0 and moved == moved and largest < float("inf") else None
