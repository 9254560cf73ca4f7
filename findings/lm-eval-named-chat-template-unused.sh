#!/usr/bin/env bash
# lm-eval 0.4.13, transformers 5.23.0
#
# Behaviour:
#   A tokenizer may have several chat templates, and simple_evaluate(apply_chat_template="NAME") takes a name. The results
#   then hold that template's text and its digest, but HFLM.apply_chat_template does not hand the name on: prompts are
#   rendered by the tokenizer's default. Two evaluations with two names have the same numbers under different templates.
#
# Seen:
#   noted in the results: Human: {{ messages[0].content }} Robot:
#   asked of the model:   question 2 + 2 answer:
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm-eval[hf]==0.4.13'
cd "$here"
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
export HF_HOME="$here/hf"
"$here/venv/bin/python" - <<'EOF'
import json
import sys

from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<unk>", "<s>", "</s>", "question", "answer", "Human", "Robot", ":", "2", "+", "4", "5"]
raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = {
    "default": "question {{ messages[0].content }} answer:",
    "robot": "Human: {{ messages[0].content }} Robot:",
}
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
)
lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", device="cpu")
with open("sums.jsonl", "w") as file:
    file.write(json.dumps({"sum": "2 + 2", "options": ["4", "5"], "right": 0}) + "\n")
task = {
    "task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
    "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{sum}}", "doc_to_choice": "{{options}}",
    "doc_to_target": "right",
}
tracker = EvaluationTracker()  # what it holds goes into results_*.json
found = simple_evaluate(
    model=lm, tasks=[task], apply_chat_template="robot", task_manager=TaskManager(include_defaults=False),
    evaluation_tracker=tracker,
)
noted, asked = tracker.general_config_tracker.chat_template, found["samples"]["sums"][0]["arguments"][0][0]
print("noted in the results:", noted)
print("asked of the model:  ", asked)
sys.exit(not (noted == "Human: {{ messages[0].content }} Robot:" and asked == "question 2 + 2 answer:"))
EOF
