#!/usr/bin/env bash
# lm_eval 0.4.13 with transformers 5.23.0
#
# Behaviour:
#   config.json says tie_word_embeddings, but the file holds an output head that differs from the input embedding.
#   transformers 5 loads the head of the file and says that it does not tie the two. lm-eval's HFLM then calls
#   tie_weights() on the loaded model, so that it scores with the input embedding as its head; HFLM around a model that
#   was loaded before changes that model, too. The same folder gives other log-likelihoods than transformers alone.
#
# Seen:
#   transformers alone: head of the file True
#   HFLM: head of the file False, head is the input embedding True
#   the loaded model, once HFLM was built around it: head of the file False
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm_eval[hf]==0.4.13'
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import sys

import torch
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    tie_word_embeddings=True,
)
LlamaForCausalLM(config).save_pretrained("model")
state = load_file("model/model.safetensors")
state["lm_head.weight"] = torch.randn(32, 16)
save_file(state, "model/model.safetensors", {"format": "pt"})
words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(32)}, unk_token="w0"))
PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1").save_pretrained("model")


def of_the_file(model):
    return torch.equal(model.lm_head.weight, state["lm_head.weight"])


alone = AutoModelForCausalLM.from_pretrained("model")
before = of_the_file(alone)
print("transformers alone: head of the file", before)
lm = HFLM(pretrained="model", device="cpu")
tied = torch.equal(lm.model.lm_head.weight, lm.model.model.embed_tokens.weight)
print(f"HFLM: head of the file {of_the_file(lm.model)}, head is the input embedding {tied}")
HFLM(pretrained=alone, tokenizer=lm.tokenizer, device="cpu")
print("the loaded model, once HFLM was built around it: head of the file", of_the_file(alone))
sys.exit(not (before and tied and not of_the_file(lm.model) and not of_the_file(alone)))
EOF
