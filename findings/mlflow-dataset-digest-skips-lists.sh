#!/usr/bin/env bash
# mlflow 3.17.2
#
# Behaviour:
#   The digest of a pandas dataset, by which MLflow tells data sets apart, leaves out columns of lists, of booleans, and of
#   text with a None in it. A multiple-choice data set whose choices or labels were changed keeps its digest; and since
#   (name, digest) is one row of an experiment, the run on the new data shows the source of the old.
#
# Seen:
#   digests equal though they differ in: a column of lists True, of booleans True, of text with a None True
#   digests equal though they differ in a column of text alone: False
#   source shown for the run on the new data: old.csv
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cd "$here"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR
"$here/venv/bin/python" - <<'EOF'
import logging
import sys

logging.disable(logging.WARNING)
import mlflow
import pandas as pd
from mlflow.data import from_pandas

mlflow.set_tracking_uri("sqlite:///store.db")


def same(name, old, new):
    frames = [pd.DataFrame({"question": ["a", "b"], name: values}) for values in (old, new)]
    return from_pandas(frames[0]).digest == from_pandas(frames[1]).digest


found = [
    same("choices", [["1", "2"], ["3", "4"]], [["5", "6"], ["7", "8"]]),
    same("label", [True, False], [False, True]),
    same("answer", ["one", None], ["two", None]),
    same("answer", ["one", "two"], ["two", "two"]),
]
print("equal digests:", *found)
sources = []
for source, label in (("old.csv", [True, False]), ("new.csv", [False, True])):
    frame = pd.DataFrame({"question": ["a", "b"], "label": label})
    frame.to_csv(source)
    with mlflow.start_run() as run:
        mlflow.log_input(from_pandas(frame, source=source, name="made"))
    sources.append(mlflow.get_run(run.info.run_id).inputs.dataset_inputs[0].dataset.source)
print("sources:", *sources)
sys.exit(not (found == [True, True, True, False] and "old.csv" in sources[1]))
EOF
