#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   A model is saved, trained on, and saved into the same folder in shards (max_shard_size). save_pretrained leaves the
#   earlier model.safetensors beside the new shards and their index, and from_pretrained prefers it: the OLD weights load,
#   without a word. The other way round (shards first, one file later) the new file counts.
#
# Seen:
#   after the second save: model-00001-of-00003.safetensors ... model.safetensors model.safetensors.index.json
#   new weights loaded: False; with model.safetensors removed: True
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import os
import sys

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
)
model.save_pretrained("run")
torch.nn.init.ones_(model.lm_head.weight)
model.save_pretrained("run", max_shard_size="200KB")
print("after the second save:", *sorted(name for name in os.listdir("run") if name.startswith("model")))


def is_new():
    return torch.equal(AutoModelForCausalLM.from_pretrained("run").lm_head.weight, model.lm_head.weight)


before = is_new()
os.remove("run/model.safetensors")
after = is_new()
print(f"new weights loaded: {before}; with model.safetensors removed: {after}")
sys.exit(not (after and not before))
EOF
