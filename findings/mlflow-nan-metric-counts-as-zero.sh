#!/usr/bin/env bash
# mlflow 3.17.2, SQLite
#
# Behaviour:
#   Of two values of a metric with equal step and time, MLflow shows the larger. NaN counts as 0 there: it hides -0.1 and
#   gives way to 0.1, in whichever order they were logged. And a search finds a NaN by "!= 0" alone: "> 0", ">= 0", "<= 0",
#   "= 0" all miss the run. +inf comes back as 1.7976931348623157e+308.
#
# Seen:
#   nan and 0.1: 0.1; nan and -0.1: nan; inf: 1.7976931348623157e+308
#   runs whose metric is NaN that a search finds: > 0: 0, >= 0: 0, <= 0: 0, = 0: 0, != 0: 1
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
import math
import sys

logging.disable(logging.WARNING)
from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient("sqlite:///store.db", "sqlite:///store.db")
experiment = client.create_experiment("made")


def shown(*values):
    run = client.create_run(experiment).info.run_id
    for value in values:
        client.log_batch(run, [Metric("loss", value, 5, 1)])
    return client.get_run(run).data.metrics["loss"]


pairs = [shown(math.nan, 0.1), shown(0.1, math.nan), shown(math.nan, -0.1), shown(-0.1, math.nan)]
largest = shown(math.inf)
print(pairs, largest)
alone = client.create_run(experiment).info.run_id
client.log_metric(alone, "score", math.nan)
found = {sign: len(client.search_runs([experiment], f"metrics.score {sign} 0")) for sign in (">", ">=", "<=", "=", "!=")}
print(found)
as_zero = pairs[:2] == [0.1, 0.1] and all(map(math.isnan, pairs[2:])) and largest == sys.float_info.max
sys.exit(not (as_zero and list(found.values()) == [0, 0, 0, 0, 1]))
EOF
