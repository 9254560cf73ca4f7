#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   A left-padded batch with its attention_mask gives GPT-2 and GPT-Neo other logits than the same text alone, because
#   forward() numbers positions from the padding on and not from the mask; generate() does it right, and so does passing
#   position_ids. GPT-NeoX (rotary) and OPT (positions from the mask) do not need it; right padding is exact for all.
#
# Seen:
#   largest difference, relative to the largest logit:
#              left padding  with position_ids  right padding
#   gpt2       0.8816        0.0000             0.0000
#   gpt_neo    1.4554        0.0000             0.0000
#   gpt_neox   0.0000        0.0000             0.0000
#   opt        0.0000        0.0000             0.0000
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import sys

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoConfig, GPTNeoXConfig, OPTConfig

torch.manual_seed(0)
sizes = {"vocab_size": 64, "hidden_size": 32, "max_position_embeddings": 64}
configs = [
    GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64),
    GPTNeoConfig(num_layers=2, num_heads=2, attention_types=[[["global"], 2]], **sizes),
    GPTNeoXConfig(num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, **sizes),
    OPTConfig(num_hidden_layers=2, num_attention_heads=2, ffn_dim=64, word_embed_proj_dim=32, **sizes),
]
ids = torch.randint(3, 64, (1, 6))
pads = torch.zeros(1, 4, dtype=torch.long)
mask = torch.cat([pads, torch.ones_like(ids)], 1)
positions = (mask.cumsum(1) - 1).clamp(min=0)
found = {}
for config in configs:
    model = AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    with torch.no_grad():
        right = model(ids).logits
        left = model(torch.cat([pads, ids], 1), attention_mask=mask).logits[:, 4:]
        placed = model(torch.cat([pads, ids], 1), attention_mask=mask, position_ids=positions).logits[:, 4:]
        after = model(torch.cat([ids, pads], 1), attention_mask=mask.flip(1)).logits[:, :6]
    found[config.model_type] = [((one - right).abs().max() / right.abs().max()).item() for one in (left, placed, after)]
    print(f"{config.model_type:9}", *(f"{value:.4f}" for value in found[config.model_type]))
shifted = found["gpt2"][0] > 0.01 and found["gpt_neo"][0] > 0.01
exact = max(found["gpt2"][1:] + found["gpt_neo"][1:] + found["gpt_neox"] + found["opt"]) < 1e-5
sys.exit(not (shifted and exact))
EOF
