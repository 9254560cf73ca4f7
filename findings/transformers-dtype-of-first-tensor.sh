#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   config.json names no dtype and no dtype is asked for. The whole model is then loaded in the dtype of the FIRST tensor
#   by name, whatever the others are: a Llama whose output head alone is float16 loads as float16 altogether (lm_head comes
#   before model.*), one whose every weight but the head is bfloat16 loads as float32. No warning.
#
# Seen:
#   lm_head.weight alone in float16            -> {'torch.float16'}
#   model.embed_tokens.weight alone in float16 -> {'torch.float32'}
#   all but lm_head.weight in bfloat16         -> {'torch.float32'}
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import json
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
small = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(small).save_pretrained("model")
state = load_file("model/model.safetensors")
with open("model/config.json") as file:
    config = json.load(file)
del config["dtype"]
with open("model/config.json", "w") as file:
    json.dump(config, file)


def loaded(change):
    save_file({name: change(name, value) for name, value in state.items()}, "model/model.safetensors", {"format": "pt"})
    return {str(weight.dtype) for weight in AutoModelForCausalLM.from_pretrained("model").parameters()}


head, words = "lm_head.weight", "model.embed_tokens.weight"
found = [
    loaded(lambda name, value: value.half() if name == head else value),
    loaded(lambda name, value: value.half() if name == words else value),
    loaded(lambda name, value: value if name == head else value.bfloat16()),
]
print(*found, sep="\n")
sys.exit(found != [{"torch.float16"}, {"torch.float32"}, {"torch.float32"}])
EOF
