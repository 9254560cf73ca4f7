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
