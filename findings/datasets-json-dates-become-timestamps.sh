#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 25.0.1)
#
# Behaviour:
#   load_dataset("json"): a column of JSON strings that all look like dates becomes a column of timestamps, in lists too,
#   and "1990-10-03" put into a prompt reads "1990-10-03 00:00:00". One value of another kind among them, and all stay text.
#   "T" and "Z" of an ISO time are lost; times without a date and years stay text.
#
# Seen:
#   "1990-10-03"            -> 1990-10-03 00:00:00
#   ["1990-10-03", ...]      -> 1990-10-03 00:00:00 in the list
#   "1990-10-03T10:00:00Z"  -> 1990-10-03 10:00:00
#   "1990-10-03" beside "unknown" in the column -> 1990-10-03
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==25.0.1
cd "$here"
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME="$here/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$here/venv/bin/python" - <<'EOF'
import json
import sys

from datasets import load_dataset


def first(name, *values):
    with open(f"{name}.jsonl", "w") as file:
        file.writelines(json.dumps({"answer": value}) + "\n" for value in values)
    return load_dataset("json", data_files=f"{name}.jsonl", split="train")[0]["answer"]


found = [
    str(first("date", "1990-10-03", "2001-01-31")),
    str(first("list", ["1990-10-03", "2000-01-01"], ["2001-01-31"])[0]),
    str(first("time", "1990-10-03T10:00:00Z", "2001-01-31T10:00:00Z")),
    str(first("mixed", "1990-10-03", "unknown")),
]
print(*found, sep="\n")
midnight = "1990-10-03 00:00:00"
sys.exit(found != [midnight, midnight, "1990-10-03 10:00:00", "1990-10-03"])
EOF
