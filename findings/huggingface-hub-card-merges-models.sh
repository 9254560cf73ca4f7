#!/usr/bin/env bash
# huggingface_hub 2.4.0
#
# Behaviour:
#   A model card whose `model-index` has two models is read and written again with one, the last: the results of the
#   first are then said to be the last one's. `metadata_update` and `ModelCard.save` go this way, whatever was changed.
#   Comments of the front matter go, too. And results are told apart by the type, configuration and split of their data
#   set, not by its name: of two data sets of one type the second's value is filed under the name of the first.
#
# Seen:
#   models a (acc 0.1) and b (acc 0.9) become: b with 0.1 and 0.9
#   "ARC easy" 0.5 and "ARC challenge" 0.2, both allenai/ai2_arc, become: "ARC easy" with 0.5 and 0.2
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
cd "$here"
"$here/venv/bin/python" - <<'EOF'
import sys

import yaml
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index


def model(name, value):
    result = {"task": {"type": "text-generation"}, "dataset": {"name": "X", "type": "x"}}
    return {"name": name, "results": [result | {"metrics": [{"type": "acc", "value": value}]}]}


text = yaml.safe_dump({"model-index": [model("a", 0.1), model("b", 0.9)]})
card = str(ModelCard(f"---\nlicense: mit # as the data's\n{text}---\nbody\n"))
print(card)
index = yaml.safe_load(card.split("---")[1])["model-index"]
values = {one["name"]: [metric["value"] for result in one["results"] for metric in result["metrics"]] for one in index}
named = [("ARC easy", 0.5), ("ARC challenge", 0.2)]
results = [EvalResult("text-generation", "allenai/ai2_arc", name, "acc", value) for name, value in named]
(made,) = eval_results_to_model_index("m", results)
print(made)
merged = {one["dataset"]["name"]: [metric["value"] for metric in one["metrics"]] for one in made["results"]}
sys.exit(not (values == {"b": [0.1, 0.9]} and "#" not in card and merged == {"ARC easy": [0.5, 0.2]}))
EOF
