#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2
#
# Behaviour:
#   A folder holds a LoRA adapter, and then the model that the adapter was merged into is saved there with
#   save_pretrained. AutoModelForCausalLM.from_pretrained(folder) loads the merged weights and puts the adapter on top of
#   them, so that its change counts twice, and says nothing. The same merged model in a folder of its own is right.
#
# Seen:
#   largest difference of a logit from the tuned model (largest logit 0.237):
#   merged, in a folder of its own   0.0000
#   merged, beside the adapter       0.0650
#   the same as merged + adapter     True
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
base = LlamaForCausalLM(
    LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
)
base.save_pretrained("base")
lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
tuned = get_peft_model(base, lora).eval()
tuned.save_pretrained("both")
ids = torch.tensor([[3, 7, 9, 4]])
with torch.no_grad():
    right = tuned(ids).logits
    merged = tuned.merge_and_unload()
    merged.save_pretrained("alone")
    merged.save_pretrained("both")
    alone = AutoModelForCausalLM.from_pretrained("alone").eval()
    off_alone = (alone(ids).logits - right).abs().max().item()
    loaded = AutoModelForCausalLM.from_pretrained("both").eval()(ids).logits
    off_both = (loaded - right).abs().max().item()
    twice = PeftModel.from_pretrained(alone, "both").eval()(ids).logits
print(f"largest logit {right.abs().max():.3f}; alone {off_alone:.4f}, beside the adapter {off_both:.4f}")
same = torch.allclose(loaded, twice, atol=1e-6)
print("the same as merged + adapter", same)
sys.exit(not (off_alone < 1e-6 and off_both > 0.01 and same))
EOF
