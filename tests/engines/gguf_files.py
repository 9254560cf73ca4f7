"""Writes a small Qwen 2 of transformers, with a tokenizer of bytes, as a GGUF file in float32."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write(folder: Path, file: Path) -> None:
    """Write the checkpoint of a folder into a file."""
    writer = gguf.GGUFWriter(str(file), "qwen2")
    config = json.loads((folder / "config.json").read_text())
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()), config["vocab_size"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        stem, kind = name.rsplit(".", 1)
        if stem.startswith("model.layers."):
            number, of_layer = stem.removeprefix("model.layers.").split(".", 1)
            writer.add_tensor(f"blk.{number}.{NAMES[of_layer]}.{kind}", tensor)
        else:
            writer.add_tensor(f"{NAMES[stem]}.{kind}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, raw: dict[str, object], size: int) -> None:
    model = raw["model"]
    special = {token["id"]: token["content"] for token in raw["added_tokens"]}
    tokens = {number: token for token, number in model["vocab"].items()} | special
    kinds = [gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for number in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[number] for number in range(size)])
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
