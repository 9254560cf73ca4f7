#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   The base of the rotary embedding is config.rope_parameters["rope_theta"] in transformers 5. A top-level rope_theta is
#   honoured in a config.json without rope_parameters (files of version 4) and in the constructor of LlamaConfig, but added
#   to a config.json that version 5 wrote, or set on a loaded config, it is ignored and said nothing of. GPTNeoXConfig
#   ignores it in the constructor, too, and partial_rotary_factor; rotary_emb_base and rotary_pct count there.
#
# Seen:
#   rope_theta = 500000, logits differ from those with the default:
#   config.rope_theta = ...                   False
#   added to a config.json of version 5       False
#   a config.json without rope_parameters     True
#   rope_parameters of the config.json        True
#   GPTNeoXConfig(rope_theta=5)               base 10000.0; rotary_emb_base=5: 5
#   GPTNeoXConfig(partial_rotary_factor=1.0)  0.25; rotary_pct=1.0: 1.0
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
from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
small = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
LlamaForCausalLM(small).save_pretrained("model")
with open("model/config.json") as file:
    written = json.load(file)
ids = torch.randint(0, 64, (1, 40))


def logits(config=None):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained("model", config=config)(ids).logits


def with_file(content):
    with open("model/config.json", "w") as file:
        json.dump(content, file)
    return logits()


plain = logits()
set_on = AutoConfig.from_pretrained("model")
set_on.rope_theta = 5e5
bare = {name: value for name, value in written.items() if name != "rope_parameters"}
found = {
    "config.rope_theta = ...": logits(set_on),
    "added to a config.json of version 5": with_file({**written, "rope_theta": 5e5}),
    "a config.json without rope_parameters": with_file({**bare, "rope_theta": 5e5}),
    "rope_parameters of the config.json": with_file(
        {**written, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    ),
}
differs = {name: not torch.equal(found[name], plain) for name in found}
print(*differs.items(), sep="\n")
neox = [
    GPTNeoXConfig(rope_theta=5).rope_parameters["rope_theta"],
    GPTNeoXConfig(rotary_emb_base=5).rope_parameters["rope_theta"],
    GPTNeoXConfig(partial_rotary_factor=1.0).rope_parameters["partial_rotary_factor"],
    GPTNeoXConfig(rotary_pct=1.0).rope_parameters["partial_rotary_factor"],
]
print("GPT-NeoX", neox)
sys.exit(not (list(differs.values()) == [False, False, True, True] and neox == [10000, 5, 0.25, 1.0]))
EOF
