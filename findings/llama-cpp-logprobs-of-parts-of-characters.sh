#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (a wheel of llama.cpp's server), gguf 0.19.0
#
# Behaviour:
#   /v1/completions with logprobs tells no entry of a token that ends within a character. What it tells of the next token
#   that completes the character (or proves that there is none) has the bytes of both, and the number and the
#   log-probability of the last alone. So there are fewer entries than completion_tokens, without a mark of where one is
#   missing: who adds them up has not the text's log-probability, and who reads the numbers has not its tokens.
#
# Seen: of a model of random weights over 256 bytes
#   tokens written 32, entries of logprobs 18
#   entries of more bytes than their token: 6
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'EOF'
import json
import os
import socket
import sys
import urllib.request

import gguf
import numpy as np
import xllamacpp

WIDTH, INNER, VOCABULARY = 64, 128, 257
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes as GPT-2 spells them
shown = {byte: chr(byte) for byte in printable}
shown |= {byte: chr(256 + place) for place, byte in enumerate(b for b in range(256) if b not in shown)}

writer = gguf.GGUFWriter("bytes.gguf", "qwen2")
writer.add_context_length(256)
writer.add_embedding_length(WIDTH)
writer.add_block_count(1)
writer.add_feed_forward_length(INNER)
writer.add_head_count(4)
writer.add_head_count_kv(4)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_rope_freq_base(10000.0)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list([*(shown[byte] for byte in range(256)), "<end>"])
writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL])
writer.add_token_merges(["a b"])
writer.add_bos_token_id(256)
writer.add_eos_token_id(256)
writer.add_add_bos_token(False)
random = np.random.default_rng(0)


def add(name: str, *shape: int) -> None:
    writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))


add("token_embd.weight", VOCABULARY, WIDTH)
add("output.weight", VOCABULARY, WIDTH)
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
for name in ("attn_q", "attn_k", "attn_v"):
    add(f"blk.0.{name}.weight", WIDTH, WIDTH)
    add(f"blk.0.{name}.bias", WIDTH)
add("blk.0.attn_output.weight", WIDTH, WIDTH)
add("blk.0.ffn_gate.weight", INNER, WIDTH)
add("blk.0.ffn_up.weight", INNER, WIDTH)
add("blk.0.ffn_down.weight", WIDTH, INNER)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = "bytes.gguf", ["127.0.0.1"], port
params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, 0
server = xllamacpp.Server(params)
asked = {"prompt": [104, 105], "max_tokens": 32, "temperature": 1, "seed": 1, "logprobs": 1, "top_k": 0, "top_p": 1.0}
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)
entries = answer["choices"][0]["logprobs"]["content"]
written = answer["usage"]["completion_tokens"]
joined = [entry for entry in entries if entry["id"] < 256 and entry["bytes"] != [entry["id"]]]
print(f"tokens written {written}, entries of logprobs {len(entries)}")
print("entries of more bytes than their token:", len(joined))
same = len(entries) < written and joined and all(entry["bytes"][-1] == entry["id"] for entry in joined)
sys.stdout.flush()
os._exit(0 if same else 1)  # not waiting for the server's own threads
EOF
