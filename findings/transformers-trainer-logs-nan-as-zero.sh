#!/usr/bin/env bash
# transformers 5.23.0 (Trainer, accelerate 1.15)
#
# Behaviour:
#   Training diverges and the loss is NaN. The Trainer's log, and trainer_state.json in each checkpoint, then say
#   "loss": 0.0, the best there is (logging_nan_inf_filter is on by default and counts a NaN loss as nothing when it
#   is logged at every step), and train_loss at the end is a plain number; all weights are NaN by then.
#
# Seen:
#   with the default: [3.459, 0.0, 0.0, 0.0], train_loss 0.865, all weights NaN: True
#   logging_nan_inf_filter=False: [3.493, nan, nan, nan], train_loss nan
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 'transformers[torch]==5.23.0'
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import math
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

torch.manual_seed(0)
config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
rows = [{"input_ids": list(range(8)), "labels": list(range(8))} for _ in range(16)]


def losses(**more):
    model = LlamaForCausalLM(config)
    args = TrainingArguments(
        "out", learning_rate=1e30, lr_scheduler_type="constant", max_grad_norm=0.0, max_steps=4, logging_steps=1,
        per_device_train_batch_size=4, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, **more,
    )
    trainer = Trainer(model=model, args=args, train_dataset=rows)
    trainer.train()
    history = trainer.state.log_history
    found = [entry["loss"] for entry in history if "loss" in entry]
    return found, history[-1]["train_loss"], bool(model.lm_head.weight.isnan().all())


default, unfiltered = losses(), losses(logging_nan_inf_filter=False)
print("with the default:", *default)
print("logging_nan_inf_filter=False:", *unfiltered)
as_zero = default[0][1:] == [0.0, 0.0, 0.0] and math.isfinite(default[1]) and default[2]
sys.exit(not (as_zero and math.isnan(unfiltered[0][-1])))
EOF
