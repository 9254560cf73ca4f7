"""Architectures of transformers whose attention does not go through its interface: each layer is led to ours.

Only what lies between queries, keys, values and the output is replaced; projections, rotations and dense layers are the
model's own. A self-check compares every checkpoint with its own code before a result counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from evalrun.scoring.unsupported import UnsupportedError

# Gets a layer, queries, keys and values [1, heads, N, d], and keywords of `attention.attend`; gives [1, N, heads, d].
Attend = Callable[..., Tensor]


@contextmanager
def led_to(attend: Attend, model: Any) -> Iterator[None]:
    """Let the layers of a model that this module knows attend by a function for a while."""
    led = [(module, *_KNOWN[name]) for module in model.modules() if (name := _name(module)) in _KNOWN]
    for module, method, function in led:
        setattr(module, method, partial(function, module, attend))
    try:
        yield
    finally:
        for module, method, _ in led:
            delattr(module, method)


def _name(module: Any) -> str:
    """A class as transformers has it: code beside weights may use its names."""
    kind = type(module)
    return f"{kind.__name__} of {kind.__module__.removeprefix('transformers.models.')}"


def _bloom(
    module: Any, attend: Attend, hidden_states: Tensor, residual: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """Instead of `forward`: the score of a key grows with its place in the text, by a slope of each head (ALiBi)."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor, dropout_add

    def bias(length: int) -> Tensor:
        seen = torch.ones(1, length, dtype=torch.long, device=hidden_states.device)
        table: Tensor = build_alibi_tensor(seen, module.num_heads, hidden_states.dtype)
        return table[:, 0]

    query, key, value = module._reshape(module.query_key_value(hidden_states))
    attended = attend(module, query, key, value, scale=module.inv_norm_factor, bias=bias)
    out = module.dense(attended.flatten(2))
    return dropout_add(out, residual, module.hidden_dropout, module.training), None


def _falcon(
    module: Any,
    attend: Attend,
    hidden_states: Tensor,
    alibi: Tensor | None,
    *_: Any,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    """Instead of `forward`, where positions are rotations."""
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    if alibi is not None or position_embeddings is None:
        raise UnsupportedError("its attention adds a bias for the distance (ALiBi) as Falcon does it")
    parts = module._split_heads(module.query_key_value(hidden_states))
    query, key, value = (part.transpose(1, 2) for part in parts)
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    return module.dense(attend(module, query, key, value).flatten(2)), None


def _gpt_j(module: Any, attend: Attend, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, None]:
    """Instead of `_attn`."""
    attended = attend(module, query.to(value.dtype), key.to(value.dtype), value, scale=1 / float(module.scale_attn))
    return attended.transpose(1, 2), None


def _gpt_neo(module: Any, attend: Attend, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, None]:
    """Instead of `_attn`: scores are not scaled, and every other layer sees a window alone."""
    window = module.config.window_size if module.attention_type == "local" else None
    return attend(module, query, key, value, scale=1.0, window=window, layer=module.layer_id).transpose(1, 2), None


_KNOWN: dict[str, tuple[str, Callable[..., tuple[Tensor, None]]]] = {
    "BloomAttention of bloom.modeling_bloom": ("forward", _bloom),
    "CodeGenAttention of codegen.modeling_codegen": ("_attn", _gpt_j),
    "FalconAttention of falcon.modeling_falcon": ("forward", _falcon),
    "GPTJAttention of gptj.modeling_gptj": ("_attn", _gpt_j),
    "GPTNeoSelfAttention of gpt_neo.modeling_gpt_neo": ("_attn", _gpt_neo),
}
