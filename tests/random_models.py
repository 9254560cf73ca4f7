"""Small models of every architecture with random weights, and requests to score on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from evalrun.config.schema import ScorerConf

VOCABULARY, WINDOW = 120, 96
CONF = ScorerConf(
    name="shared_prefix", dtype="auto", softmax_dtype="float32", device="cpu", batch_size=4, token_budget=64,
    token_budget_gpu=64, cache=None, verify=0, logits_cache=False, bootstrap_iters=0, encoding="joint",
    tokens_by="file",
)  # fmt: skip
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": WINDOW, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GROUPED = SHAPE | {"intermediate_size": 64, "num_key_value_heads": 2}
SLIDING = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
FALCON = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "alibi": False}

SHARED: dict[str, Callable[[], Any]] = {
    "gpt-neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHAPE, intermediate_size=64)),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT, n_positions=WINDOW)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED)),
    "olmo": lambda: hf.OlmoForCausalLM(hf.OlmoConfig(**SHAPE, intermediate_size=64)),
    "olmo2": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**GROUPED)),
    "olmo3": lambda: hf.Olmo3ForCausalLM(hf.Olmo3Config(**GROUPED, **SLIDING)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**GROUPED)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED, head_dim=8)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**GROUPED, head_dim=16)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GROUPED, **SLIDING, head_dim=16)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=16)),
    "smollm3": lambda: hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**GROUPED)),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(**(SHAPE | {"max_position_embeddings": WINDOW}), ffn_dim=64, word_embed_proj_dim=32)
    ),
    # Models that do something to their scores or logits.
    "gemma2": lambda: hf.Gemma2ForCausalLM(  # soft caps, and a window in every other layer
        hf.Gemma2Config(**GROUPED, head_dim=16, sliding_window=16, attn_logit_softcapping=2.0)
    ),
    "gpt-oss": lambda: hf.GptOssForCausalLM(  # attention sinks
        hf.GptOssConfig(**GROUPED, **SLIDING, head_dim=16, num_local_experts=2, num_experts_per_tok=1)
    ),
    "cohere": lambda: hf.CohereForCausalLM(hf.CohereConfig(**GROUPED, logit_scale=0.0625)),
    "granite": lambda: hf.GraniteForCausalLM(
        hf.GraniteConfig(**GROUPED, logits_scaling=4.0, attention_multiplier=0.1, residual_multiplier=0.5)
    ),
    # Models whose attention does not go through transformers' interface.
    "bloom": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4, seq_length=WINDOW)
    ),
    "bloom of 3 heads": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=36, n_layer=3, n_head=3, seq_length=WINDOW)
    ),
    "falcon": lambda: hf.FalconForCausalLM(hf.FalconConfig(**FALCON, new_decoder_architecture=False)),
    "falcon 40b": lambda: hf.FalconForCausalLM(
        hf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2)
    ),
    "gpt-j": lambda: hf.GPTJForCausalLM(hf.GPTJConfig(**GPT, n_positions=WINDOW, rotary_dim=4)),
    "codegen": lambda: hf.CodeGenForCausalLM(hf.CodeGenConfig(**GPT, n_positions=WINDOW, rotary_dim=4)),
    "gpt-neo": lambda: hf.GPTNeoForCausalLM(
        hf.GPTNeoConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_layers=4,
            num_heads=4,
            max_position_embeddings=WINDOW,
            attention_types=[[["global", "local"], 2]],
            window_size=16,
            bos_token_id=0,
            eos_token_id=0,
        )
    ),
}


def spread(build: Callable[[], Any]) -> Any:
    """A random model whose answers differ: a fresh one is nearly uniform."""
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model


def requests(seed: int = 0, items: int = 14) -> list[tuple[list[int], list[int]]]:
    """Few-shot prompts with and without a common beginning, several choices, one token and more, beyond the window."""
    rng = random.Random(seed)

    def some(length: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(length)]

    trunk = some(25)
    made = []
    for _ in range(items):
        context = (trunk if rng.random() < 0.7 else []) + some(rng.randrange(1, 30))
        start = some(1)
        made += [(context, start * rng.randrange(2) + some(rng.randrange(1, 5))) for _ in range(3)]
    long = some(3 * WINDOW)
    return [*made, (long, some(3)), (long, some(1)), (trunk, some(2)), ([0], some(1)), made[0]]


def assert_same(found: list[tuple[float, bool]], expected: list[tuple[float, bool]], within: float = 1e-4) -> None:
    assert [said for _, said in found] == [said for _, said in expected]
    assert max(abs(a - b) for (a, _), (b, _) in zip(found, expected, strict=True)) <= within
