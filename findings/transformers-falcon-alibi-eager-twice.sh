#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   A Falcon model with ALiBi gives other logits with attn_implementation="eager" than with "sdpa": eager adds the bias
#   twice. With the bias halved, eager gives the logits that sdpa gives with the whole.
#
# Seen: largest difference of a logit, relative to the largest: eager against sdpa 0.0359; with half the bias 0.0000
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
from transformers import AutoModelForCausalLM, FalconConfig, FalconForCausalLM
from transformers.models.falcon import modeling_falcon

torch.manual_seed(0)
made = FalconForCausalLM(
    FalconConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, alibi=True,
        new_decoder_architecture=False,
    )
)
for weight in made.parameters():
    if weight.dim() > 1:
        torch.nn.init.normal_(weight, std=0.3)
made.save_pretrained("model")
ids = torch.randint(0, 64, (1, 12))


def logits(how):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained("model", attn_implementation=how).eval()(ids).logits


sdpa, eager, whole = logits("sdpa"), logits("eager"), modeling_falcon.build_alibi_tensor
modeling_falcon.build_alibi_tensor = lambda *args, **kwargs: whole(*args, **kwargs) / 2
halved = logits("eager")
off = [((one - sdpa).abs().max() / sdpa.abs().max()).item() for one in (eager, halved)]
print(f"eager against sdpa {off[0]:.4f}; with half the bias {off[1]:.4f}")
sys.exit(not (off[0] > 0.01 and off[1] < 1e-5))
EOF
