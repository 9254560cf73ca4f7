#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2
#
# Behaviour:
#   A LoRA adapter with modules_to_save=["lm_head"] is put on its base with PeftModel.from_pretrained, and taken off with
#   unload(), which is to give the base back. The low-rank matrices are gone; the trained copy of the head stays in the
#   model that is returned, so that its logits are nearly those with the adapter. Nothing is raised or warned of.
#   Without modules_to_save the base is back to the bit.
#
# Seen:
#   largest difference of a logit from the base: with the adapter, after unload()
#   lora            0.5460  0.0000
#   lora and head   7.9067  7.4214
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
found = {}
for name, whole in (("lora", None), ("lora and head", ["lm_head"])):
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], modules_to_save=whole)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), settings)
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], lr=0.05)
    for _ in range(20):
        tuned(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.eval().save_pretrained(name)
    base = AutoModelForCausalLM.from_pretrained("base").eval()
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(base, name).eval()
        there = adapted(ids).logits
        after = adapted.unload()(ids).logits
    found[name] = [(logits - before).abs().max().item() for logits in (there, after)]
    print(f"{name}: with {found[name][0]:.4f}, after unload {found[name][1]:.4f}")
sys.exit(not (found["lora"][1] == 0 and found["lora"][0] > 0.1 and found["lora and head"][1] > 0.1))
EOF
