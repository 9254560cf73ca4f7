#!/usr/bin/env bash
# lm_eval 0.4.13
#
# Behaviour:
#   With cache_requests=True the built requests are kept on disk under the task's name, the number of examples, the
#   tokenizer and the chat template; neither the data nor the prompt template is part of the key. After the data changed,
#   the model is asked the OLD questions and its answers are scored against the NEW rows' answers. No warning.
#
# Seen:
#   asked after the data changed:
#   cached      [('The sky is', ' blue'), ('The sky is', ' a cheese')]  acc 0.0
#   not cached  [('Grass is', ' greenish'), ('Grass is', ' red')]       acc 1.0
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm_eval[hf]==0.4.13'
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore HF_DATASETS_OFFLINE=1 HF_HOME="$here/hf" HF_DATASETS_CACHE="$here/data" LOGLEVEL=ERROR
"$here/venv/bin/python" - <<'EOF'
import json
import logging
import os
import sys

logging.disable(logging.WARNING)
os.environ["LM_HARNESS_CACHE_PATH"] = os.path.abspath("requests")
from lm_eval import simple_evaluate
from lm_eval.api.model import LM


class Longest(LM):
    """Prefers the longest choice."""

    def loglikelihood(self, requests, **kwargs):
        self.asked = [request.args for request in requests]
        return [(float(len(choice)), False) for _, choice in self.asked]

    def loglikelihood_rolling(self, requests, **kwargs):
        raise NotImplementedError

    def generate_until(self, requests, **kwargs):
        raise NotImplementedError


def evaluate(name, row, cached):
    with open(name, "w") as file:
        json.dump(row, file)
    config = {
        "task": "made", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": os.path.abspath(name)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}", "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}],
    }
    lm = Longest()
    found = simple_evaluate(lm, tasks=[config], cache_requests=cached, bootstrap_iters=0)
    return lm.asked, found["results"]["made"]["acc,none"]


old = {"prompt": "The sky is", "choices": ["blue", "a cheese"], "answer": 1}
new = {"prompt": "Grass is", "choices": ["greenish", "red"], "answer": 0}
first = evaluate("old.jsonl", old, True)
cached = evaluate("new.jsonl", new, True)
fresh = evaluate("new.jsonl", new, False)
print(first, cached, fresh, sep="\n")
sys.exit(not (cached[0] == first[0] and cached[1] == 0.0 and fresh[1] == 1.0))
EOF
