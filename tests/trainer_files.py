"""What trainers leave, written as they write it: by torch.distributed.checkpoint, or in a published layout."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from helpers import WORDS

SIZE = len(WORDS) + 2


def model_of(seed: int = 0, **how: Any) -> Any:
    """A small GPT-NeoX with random weights that differ from each other."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=512, bos_token_id=0, eos_token_id=0, use_cache=False, **how,
    )  # fmt: skip
    return spread(GPTNeoXForCausalLM(config))


def spread(model: Any) -> Any:
    """Make the answers of a fresh model differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found = model(torch.arange(14)[None] % SIZE)
    found = getattr(found, "logits", found)
    return (found[0] if isinstance(found, tuple) else found).clone()


def save_dcp(state: Any, folder: Path) -> None:
    import warnings

    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        dcp.save(state, checkpoint_id=folder)


def free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def save_sharded(rank: int, folder: str, port: int) -> None:
    """One of two processes that save one FSDP2 model together."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = model_of()
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.gpt_neox.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters())
    state, moments = get_state_dict(model, optimizer)
    dcp.save({"model": state, "optimizer": moments, "train_state": {"step": 8, "ntokens_seen": 4096}},
             checkpoint_id=folder)  # fmt: skip
    dist.destroy_process_group()


class GPT(nn.Module):
    """A GPT-2 by nanoGPT's names and shapes: linear layers, an optional bias, one table for embedding and head."""

    def __init__(self, layers: int, heads: int, width: int, vocabulary: int, window: int, bias: bool) -> None:
        super().__init__()
        block = nn.ModuleDict
        self.heads, self.width, self.bias = heads, width, bias
        self.transformer = block({
            "wte": nn.Embedding(vocabulary, width), "wpe": nn.Embedding(window, width), "ln_f": self._norm(),
            "h": nn.ModuleList(
                block({
                    "ln_1": self._norm(), "ln_2": self._norm(),
                    "attn": block({"c_attn": nn.Linear(width, 3 * width, bias=bias),
                                   "c_proj": nn.Linear(width, width, bias=bias)}),
                    "mlp": block({"c_fc": nn.Linear(width, 4 * width, bias=bias),
                                  "c_proj": nn.Linear(4 * width, width, bias=bias)}),
                }) for _ in range(layers)
            ),
        })  # fmt: skip
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def _norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(self.width, bias=self.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts = self.transformer
        rows, length = tokens.shape
        x = parts["wte"](tokens) + parts["wpe"](torch.arange(length))
        for layer in parts["h"]:
            queries, keys, values = layer["attn"]["c_attn"](layer["ln_1"](x)).split(self.width, dim=2)
            apart = [
                t.view(rows, length, self.heads, self.width // self.heads).transpose(1, 2)
                for t in (queries, keys, values)
            ]
            mixed = functional.scaled_dot_product_attention(*apart, is_causal=True)
            x = x + layer["attn"]["c_proj"](mixed.transpose(1, 2).reshape(rows, length, self.width))
            x = x + layer["mlp"]["c_proj"](functional.gelu(layer["mlp"]["c_fc"](layer["ln_2"](x))))
        found: torch.Tensor = self.lm_head(parts["ln_f"](x))
        return found


def save_nanogpt(file: Path, step: int, seed: int = 0, bias: bool = False, compiled: bool = True) -> GPT:
    """A `ckpt.pt` in nanoGPT's layout: model, optimizer, model_args, iter_num, best_val_loss, config."""
    torch.manual_seed(seed)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 64, "bias": bias, "vocab_size": 64, "dropout": 0.0}
    model = spread(GPT(2, 2, 16, 64, 64, bias))
    wrapper = "_orig_mod." if compiled else ""
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.arange(8)[None]).sum().backward()
    optimizer.step()
    model.zero_grad()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "model": {f"{wrapper}{name}": tensor for name, tensor in model.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "model_args": shape,
            "iter_num": step,
            "best_val_loss": torch.tensor(math.pi),
            "config": {"batch_size": 2, "block_size": 64, "gradient_accumulation_steps": 4, "dataset": "shakespeare"},
        },
        file,
    )
    return model.eval()


def renamed(model: Any, pairs: dict[str, str]) -> dict[str, torch.Tensor]:
    """The state of a transformers model under a trainer's names, by patterns; each tensor must have one."""
    import re

    state = {}
    for name, tensor in model.state_dict().items():
        (new,) = {re.sub(old, to, name) for old, to in pairs.items() if re.fullmatch(old, name)}
        state[new] = tensor.clone()
    return state


LAYER = r"model\.layers\.(\d+)\."
TITAN = {
    r"model\.embed_tokens\.weight": "tok_embeddings.weight",
    LAYER + r"self_attn\.([qkvo])_proj\.weight": r"layers.\1.attention.w\2.weight",
    LAYER + r"mlp\.gate_proj\.weight": r"layers.\1.feed_forward.w1.weight",
    LAYER + r"mlp\.down_proj\.weight": r"layers.\1.feed_forward.w2.weight",
    LAYER + r"mlp\.up_proj\.weight": r"layers.\1.feed_forward.w3.weight",
    LAYER + r"input_layernorm\.weight": r"layers.\1.attention_norm.weight",
    LAYER + r"post_attention_layernorm\.weight": r"layers.\1.ffn_norm.weight",
    r"model\.norm\.weight": "norm.weight",
    r"lm_head\.weight": "output.weight",
}
OLMO = {
    r"model\.embed_tokens\.weight": "model.embeddings.weight",
    LAYER + r"self_attn\.([qkv])_proj\.weight": r"model.blocks.\1.attention.w_\2.weight",
    LAYER + r"self_attn\.o_proj\.weight": r"model.blocks.\1.attention.w_out.weight",
    LAYER + r"self_attn\.([qk])_norm\.weight": r"model.blocks.\1.attention.\2_norm.weight",
    LAYER + r"post_attention_layernorm\.weight": r"model.blocks.\1.attention_norm.weight",
    LAYER + r"post_feedforward_layernorm\.weight": r"model.blocks.\1.feed_forward_norm.weight",
    LAYER + r"mlp\.gate_proj\.weight": r"model.blocks.\1.feed_forward.w1.weight",
    LAYER + r"mlp\.down_proj\.weight": r"model.blocks.\1.feed_forward.w2.weight",
    LAYER + r"mlp\.up_proj\.weight": r"model.blocks.\1.feed_forward.w3.weight",
    r"model\.norm\.weight": "model.lm_head.norm.weight",
    r"lm_head\.weight": "model.lm_head.w_out.weight",
}
LIT = r"transformer.h.\1."
LIT_LLAMA = {
    r"model\.embed_tokens\.weight": "transformer.wte.weight",
    LAYER + r"self_attn\.([qkv])_proj\.weight": LIT + r"attn.\2",
    LAYER + r"self_attn\.o_proj\.weight": LIT + "attn.proj.weight",
    LAYER + r"input_layernorm\.weight": LIT + "norm_1.weight",
    LAYER + r"post_attention_layernorm\.weight": LIT + "norm_2.weight",
    LAYER + r"mlp\.gate_proj\.weight": LIT + "mlp.fc_1.weight",
    LAYER + r"mlp\.up_proj\.weight": LIT + "mlp.fc_2.weight",
    LAYER + r"mlp\.down_proj\.weight": LIT + "mlp.proj.weight",
    r"model\.norm\.weight": "transformer.ln_f.weight",
    r"lm_head\.weight": "lm_head.weight",
}
NEOX = r"gpt_neox\.layers\.(\d+)\."
LIT_PYTHIA = {
    r"gpt_neox\.embed_in\.weight": "transformer.wte.weight",
    NEOX + r"attention\.query_key_value\.(.*)": LIT + r"attn.qkv.\2",
    NEOX + r"attention\.dense\.(.*)": LIT + r"attn.proj.\2",
    NEOX + r"input_layernorm\.(.*)": LIT + r"norm_1.\2",
    NEOX + r"post_attention_layernorm\.(.*)": LIT + r"norm_2.\2",
    NEOX + r"mlp\.dense_h_to_4h\.(.*)": LIT + r"mlp.fc.\2",
    NEOX + r"mlp\.dense_4h_to_h\.(.*)": LIT + r"mlp.proj.\2",
    r"gpt_neox\.final_layer_norm\.(.*)": r"transformer.ln_f.\1",
    r"(lm_head|embed_out)\.weight": "lm_head.weight",
}
_LLAMA = {
    "vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    return spread(LlamaForCausalLM(LlamaConfig(**_LLAMA)))


def olmo2() -> Any:
    from transformers import Olmo2Config, Olmo2ForCausalLM

    torch.manual_seed(4)
    return spread(Olmo2ForCausalLM(Olmo2Config(**(_LLAMA | {"num_key_value_heads": 4}))))


def torchtitan_logits(state: dict[str, torch.Tensor], heads: int, groups: int, eps: float) -> torch.Tensor:
    """Llama 3 by torchtitan's names, neighbours of a head rotated together as complex numbers."""
    tokens = torch.arange(14) % SIZE

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.rms_norm(x, (x.shape[-1],), state[name], eps)

    x = state["tok_embeddings.weight"][tokens]
    size = x.shape[-1] // heads
    angles = torch.outer(torch.arange(14).float(), 10000.0 ** (-torch.arange(0, size, 2).float() / size))
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]

    def turned(t: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(torch.view_as_complex(t.reshape(14, -1, size // 2, 2)) * turns).flatten(2)

    for layer in range(2):
        w = {key.removeprefix(f"layers.{layer}."): tensor for key, tensor in state.items()}
        y = norm(x, f"layers.{layer}.attention_norm.weight")
        q, k = turned(y @ w["attention.wq.weight"].T), turned(y @ w["attention.wk.weight"].T)
        v = (y @ w["attention.wv.weight"].T).view(14, -1, size)
        k, v = (t.repeat_interleave(heads // groups, 1) for t in (k, v))
        mixed = functional.scaled_dot_product_attention(*(t.transpose(0, 1) for t in (q, k, v)), is_causal=True)
        x = x + mixed.transpose(0, 1).flatten(1) @ w["attention.wo.weight"].T
        y = norm(x, f"layers.{layer}.ffn_norm.weight")
        gate = functional.silu(y @ w["feed_forward.w1.weight"].T) * (y @ w["feed_forward.w3.weight"].T)
        x = x + gate @ w["feed_forward.w2.weight"].T
    return (norm(x, "norm.weight") @ state["output.weight"].T)[None]
