#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2
#
# Behaviour:
#   An adapter that was saved in float32 is put on a base in bfloat16. PeftModel.from_pretrained keeps it as it is in the
#   file, in float32. With low_cpu_mem_usage=True, which is to change memory alone, its values are rounded to bfloat16
#   on the way, and then stand in tensors that say float32 all the same.
#
# Seen:
#   low_cpu_mem_usage=False  torch.float32, largest difference from the file 0
#   low_cpu_mem_usage=True   torch.float32, largest difference from the file 0.0005
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
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(config).save_pretrained("base")
adapted = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), LoraConfig(r=2, target_modules=["q_proj"]))
adapted.save_pretrained("adapter")
(saved,) = [tensor for name, tensor in load_file("adapter/adapter_model.safetensors").items() if "lora_A" in name]
off = {}
for low in (False, True):
    base = AutoModelForCausalLM.from_pretrained("base", dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, "adapter", low_cpu_mem_usage=low)
    (here,) = [tensor for name, tensor in model.named_parameters() if "lora_A" in name]
    off[low] = (here.float() - saved).abs().max().item()
    print(f"low_cpu_mem_usage={low}: {here.dtype}, off by {off[low]:.4f}")
    assert here.dtype == torch.float32
sys.exit(not (off[False] == 0 and off[True] > 1e-4))
EOF
