#!/usr/bin/env bash
# lm_eval 0.4.13
#
# Behaviour:
#   Values of --model_args are turned into numbers where they look like some. A revision is a name, and often an abbreviated
#   commit: "7e20000" is the infinity that 7 x 10^20000 rounds to, "0012345" is 12345, "1_000" is 1000.0. That number is
#   handed on to the model as its revision, and filed as such in the results, where two commits are then both inf.
#
# Seen:
#   revision=7e20000 -> inf, revision=12e4567 -> inf, revision=0012345 -> 12345, revision=1_000 -> 1000.0
#   revision=7c20000 -> '7c20000'
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm_eval[hf]==0.4.13'
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore HF_DATASETS_OFFLINE=1 HF_HOME="$here/hf" HF_DATASETS_CACHE="$here/data" LOGLEVEL=ERROR
"$here/venv/bin/python" - <<'EOF'
import sys

from lm_eval.utils import simple_parse_args_string

found = {
    text: simple_parse_args_string(f"pretrained=model,revision={text}")["revision"]
    for text in ("7e20000", "12e4567", "0012345", "1_000", "7c20000")
}
print(found)
sys.exit(list(found.values()) != [float("inf"), float("inf"), 12345, 1000.0, "7c20000"])
EOF
