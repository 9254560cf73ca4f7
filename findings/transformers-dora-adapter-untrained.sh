#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2
#
# Behaviour:
#   A trained DoRA adapter (LoRA with use_dora) is loaded right by peft's PeftModel. AutoModelForCausalLM on the same
#   adapter folder loads its low-rank matrices and leaves its magnitude vectors as they are before training: other logits,
#   no exception. A plain LoRA adapter is loaded right by both.
#
# Seen:
#   largest difference of a logit from the model in memory:
#   lora  peft 0.0000  AutoModelForCausalLM 0.0000
#   dora  peft 0.0000  AutoModelForCausalLM 0.3218   (largest logit 0.312)
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(config).save_pretrained("base")
ids = torch.tensor([[3, 7, 9, 4]])
off = {}
for name, dora in (("lora", False), ("dora", True)):
    lora = LoraConfig(r=2, use_dora=dora, target_modules=["q_proj", "v_proj", "down_proj"])
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), lora)
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], lr=0.05)
    for _ in range(20):
        tuned(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.eval().save_pretrained(name)
    with torch.no_grad():
        right = tuned(ids).logits
        peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), name).eval()
        auto = AutoModelForCausalLM.from_pretrained(name).eval()
        off[name] = [(model(ids).logits - right).abs().max().item() for model in (peft, auto)]
    print(f"{name}: peft {off[name][0]:.4f}, auto {off[name][1]:.4f}; largest logit {right.abs().max():.3f}")
sys.exit(not (max(*off["lora"], off["dora"][0]) < 1e-5 and off["dora"][1] > 0.01))
EOF
