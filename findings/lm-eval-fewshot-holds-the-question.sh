#!/usr/bin/env bash
# lm_eval 0.4.13
#
# Behaviour:
#   A task with num_fewshot and no training data takes its examples from the split that is asked. With `test_split` alone
#   the prompt may hold the very question that it ends with, together with its answer, and so with `validation_split` and
#   `fewshot_split: validation`. With `fewshot_split: test` written out beside `test_split`, or with `validation_split`
#   alone, the asked row is never among its own examples. The same data, and only the name of the split tells the two apart.
#
# Seen:
#   prompts of 8 with 4 examples that hold their own answer:
#   test_split: test                                              4
#   test_split: test, fewshot_split: test                         0
#   validation_split: validation                                  0
#   validation_split: validation, fewshot_split: validation       4
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
import sys

logging.disable(logging.WARNING)
from lm_eval.api.task import ConfigurableTask


def task(rows, **keys):
    with open("rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    common = {"task": "made", "dataset_path": "json", "num_fewshot": 0}
    return ConfigurableTask(config=common | keys)


ROWS = [{"question": f"Name of item {i}:", "answer": f"answer-{i}"} for i in range(8)]


def leaks(split, **keys):
    made = task(
        ROWS, doc_to_text="{{question}}", doc_to_target="{{answer}}", output_type="generate_until",
        metric_list=[{"metric": "exact_match"}], dataset_kwargs={"data_files": {split: "rows.jsonl"}}, **keys,
    )
    made.set_fewshot_seed(1234)
    return sum(doc["answer"] in made.fewshot_context(doc, 4) for doc in made.eval_docs)


found = [
    leaks("test", test_split="test"),
    leaks("test", test_split="test", fewshot_split="test"),
    leaks("validation", validation_split="validation"),
    leaks("validation", validation_split="validation", fewshot_split="validation"),
]
print(*found)
sys.exit(not (found[0] and found[3] and not found[1] and not found[2]))
EOF
