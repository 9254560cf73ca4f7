#!/usr/bin/env bash
# lm_eval 0.4.13
#
# Behaviour:
#   Multiple choice in which text happens to be a numeral. A prompt "1" is read as the index of a WinoGrande context: the
#   choices become contexts, and what is scored after each of them is the answer's index, "0". An answer "2" among the
#   choices "1", "2", "3", given as a template ("{{answer}}"), is read as index 2, so that "3" counts as right; the same
#   column named bare (answer) is read as the text. No warning either way.
#
# Seen:
#   prompt "1", choices "one", "two": [('one', ' 0'), ('two', ' 0')]
#   the model prefers "2", which is right: template {'acc': 0.0}, bare column {'acc': 1.0}
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


def choices(rows, target):
    made = task(
        rows, doc_to_text="{{prompt}}", doc_to_choice="{{choices}}", doc_to_target=target, test_split="test",
        output_type="multiple_choice", metric_list=[{"metric": "acc"}],
        dataset_kwargs={"data_files": {"test": "rows.jsonl"}},
    )
    made.build_all_requests(rank=0, world_size=1)
    return made


numerals = choices(
    [
        {"prompt": "1", "choices": ["one", "two"], "answer": 0},
        {"prompt": "0", "choices": ["zero", "four"], "answer": 0},
    ],
    "{{answer}}",
)
asked = [request.args for request in numerals.instances]
print(asked)
sums = [{"prompt": "One and one is", "choices": ["1", "2", "3"], "answer": "2"}]
answers = [(-3.0, False), (-1.0, True), (-2.0, False)]  # the second choice, "2", is the likeliest
scores = []
for target in ("{{answer}}", "answer"):
    made = choices(sums, target)
    scores.append(made.process_results(made.eval_docs[0], answers)["acc"])
print("template, bare column:", scores)
inside_out = [context for context, _ in asked] == ["one", "two", "zero", "four"]
sys.exit(not (inside_out and scores == [0.0, 1.0]))
EOF
