#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   Two shards of a checkpoint hold a tensor of one name, as is left when a part of a model is saved again. The index
#   (model.safetensors.index.json) says which shard the tensor is in, and is not followed: the shard that sorts last
#   gives the value, also where the index names the other. Nothing is said.
#
# Seen:
#   the index names model-00001-of-00002.safetensors; loaded: the value of model-00002-of-00002.safetensors
#   with the two shards' values exchanged: again the value of model-00002-of-00002.safetensors
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=warning TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import json
import os
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

NAME = "model.norm.weight"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
model = LlamaForCausalLM(
    LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
)
model.save_pretrained("run")
tensors = load_file("run/model.safetensors")


def loaded(first, second):
    """Which shard's value is read, where both hold the tensor and the index names the first."""
    if os.path.exists("run/model.safetensors"):
        os.remove("run/model.safetensors")
    others = sorted(set(tensors) - {NAME})
    parts = [{name: tensors[name] for name in others[::2]}, {name: tensors[name] for name in others[1::2]}]
    for shard, part, value in zip(SHARDS, parts, (first, second)):
        save_file({**part, NAME: torch.full_like(tensors[NAME], value)}, f"run/{shard}", metadata={"format": "pt"})
    places = {name: shard for shard, part in zip(SHARDS, parts) for name in part} | {NAME: SHARDS[0]}
    with open("run/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": 0}, "weight_map": places}, file)
    value = AutoModelForCausalLM.from_pretrained("run").model.norm.weight[0].item()
    return SHARDS[[first, second].index(value)]


one, other = loaded(2.0, 3.0), loaded(3.0, 2.0)
print(f"the index names {SHARDS[0]}; loaded: the value of {one}")
print(f"with the two shards' values exchanged: the value of {other}")
sys.exit(not (one == other == SHARDS[1]))
EOF
