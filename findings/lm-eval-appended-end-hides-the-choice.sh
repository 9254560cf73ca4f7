#!/usr/bin/env bash
# lm-eval 0.4.13, transformers 5.23.0
#
# Behaviour:
#   A tokenizer that puts </s> after every text (as T5's does) is used for multiple
#   choice. HFLM._encode_pair encodes the context, and the context with the choice, each with its </s>, and takes as the
#   choice's tokens what comes after as many tokens as the context has. The context's </s> is counted among them: a
#   choice of one token stands neither in the context nor among what is scored, which is </s> after </s>, so that all
#   such choices get one log-likelihood.
#
# Seen:
#   choice walks: context ['the', 'old', 'man', '</s>'], scored ['</s>']
#   choice sleeps: context ['the', 'old', 'man', '</s>'], scored ['</s>']
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm-eval[hf]==0.4.13'
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import sys

from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<unk>", "<s>", "</s>", "the", "old", "man", "walks", "sleeps"]
raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
)
lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", device="cpu")
hidden = []
for choice in ("walks", "sleeps"):
    context, scored = (tokenizer.convert_ids_to_tokens(part) for part in lm._encode_pair("the old man", f" {choice}"))
    print(f"choice {choice}: context {context}, scored {scored}")
    hidden.append(scored == ["</s>"])
sys.exit(not all(hidden))
EOF
