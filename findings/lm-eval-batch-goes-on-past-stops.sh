#!/usr/bin/env bash
# lm-eval 0.4.13, transformers 5.23.0
#
# Behaviour:
#   HFLM.generate_until makes one stopping criterion a stop string, and each asks whether all rows of the batch have met
#   its own. Rows that end at different stop strings therefore end no batch: it goes on to max_gen_toks, though every
#   row's answer was there long before, and is cut from the text afterwards. Tasks with several stop strings (GSM8K,
#   TriviaQA, HumanEval) pay for it in time; at batch size 1 none of it happens.
#
# Seen: forward passes for two answers of one token each, with until [".", ";"] and max_gen_toks 40
#   both end with "."                        2
#   one ends with "." and the other with ";" 40
#   the same two, one after the other        4
#   answers all the same: ['yes', 'no']
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

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<unk>", "<s>", "</s>", "first", "second", "third", "yes", "no", "yea", ".", ";", "more"]
after = {"first": "yes", "second": "no", "third": "yea", "yes": ".", "yea": ".", "no": ";", ".": "more", ";": "more"}
raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
config = LlamaConfig(
    vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
    bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
)
model = LlamaForCausalLM(config)
with torch.no_grad():  # a model that writes after each word the one that is named for it, else "more"
    model.model.embed_tokens.weight.copy_(torch.eye(len(words), 16))
    model.model.layers[0].self_attn.o_proj.weight.zero_()
    model.model.layers[0].mlp.down_proj.weight.zero_()
    model.lm_head.weight.zero_()
    for number, word in enumerate(words):
        model.lm_head.weight[words.index(after.get(word, "more")), number] = 1.0
passes = []
model.register_forward_hook(lambda *_: passes.append(1))


def written(batch_size, *prompts):
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", device="cpu", batch_size=batch_size)
    how = {"until": [".", ";"], "max_gen_toks": 40, "do_sample": False}
    passes.clear()
    texts = lm.generate_until([Instance("generate_until", {}, (prompt, how), 0) for prompt in prompts], True)
    return [text.strip() for text in texts], len(passes)


alike, different, alone = written(2, "first", "third"), written(2, "first", "second"), written(1, "first", "second")
print('both end with "."                       ', *alike)
print('one ends with "." and the other with ";"', *different)
print("the same two, one after the other       ", *alone)
sys.exit(not (different[0] == alone[0] == ["yes", "no"] and alike[1] <= 3 and alone[1] <= 5 and different[1] == 40))
EOF
