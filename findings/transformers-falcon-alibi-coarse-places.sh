#!/usr/bin/env bash
# transformers 5.23.0
#
# Behaviour:
#   A Falcon model with ALiBi has its bias by the place of a token worked out in bfloat16, whatever the model's dtype. In
#   float32 too, eight neighbours beyond the thousandth token share one bias: two of them change places, and no logit of
#   the last token moves. BLOOM's bias is as fine as the model's dtype, and there the logits move.
#
# Seen: values of the bias over 2,048 places: falcon 577, bloom 2048; largest change of a logit, relative to the largest,
#   when the tokens at places 1187 and 1188 of 1,200 change places: falcon 0.0000, bloom 0.0080
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
from transformers import BloomConfig, BloomForCausalLM, FalconConfig, FalconForCausalLM
from transformers.models.bloom import modeling_bloom
from transformers.models.falcon import modeling_falcon

torch.manual_seed(0)
shape = {"vocab_size": 64, "hidden_size": 32}
models = {
    "falcon": FalconForCausalLM(
        FalconConfig(
            **shape, num_hidden_layers=1, num_attention_heads=4, alibi=True, new_decoder_architecture=False,
        )
    ),
    "bloom": BloomForCausalLM(BloomConfig(**shape, n_layer=1, n_head=4)),
}
ids = torch.randint(0, 64, (1, 1200))
ids[0, 1187], ids[0, 1188] = 3, 5
swapped = ids.clone()
swapped[0, 1187], swapped[0, 1188] = 5, 3
values, moved = {}, {}
for name, code in (("falcon", modeling_falcon), ("bloom", modeling_bloom)):
    bias = code.build_alibi_tensor(torch.ones(1, 2048, dtype=torch.long), 32, torch.float32)
    values[name] = len(bias[0, 0].unique())
    for weight in models[name].parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    with torch.no_grad():
        one, other = (models[name].eval()(text).logits[0, -1] for text in (ids, swapped))
    moved[name] = ((one - other).abs().max() / one.abs().max()).item()
print(f"values: {values}; largest change: falcon {moved['falcon']:.4f}, bloom {moved['bloom']:.4f}")
sys.exit(not (values["falcon"] < 700 and values["bloom"] == 2048 and moved["falcon"] < 1e-5 and moved["bloom"] > 1e-3))
EOF
