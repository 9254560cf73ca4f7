#!/usr/bin/env bash
# mlflow 3.17.2
#
# Behaviour:
#   MlflowClient keeps the artifact folder of each run it has uploaded to by the run's id alone, for the whole process and
#   not for a store. Where a store and its copy are open in one process (a backup beside the original, a store that was
#   moved and had its locations rewritten), what is logged to a run of the copy lies in the original's folder. The client
#   that logged it raises nothing and does not list it; the original's client does.
#
# Seen:
#   the run's folder by the copy's client: second
#   logged by the copy's client, b.txt lies in: first
#   listed by the copy's client: a.txt; by the original's: a.txt b.txt
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
import shutil
import sqlite3
import sys
from pathlib import Path

logging.disable(logging.WARNING)
from mlflow import MlflowClient

first, second = Path("first").absolute(), Path("second").absolute()
first.mkdir()
original = MlflowClient(f"sqlite:///{first}/mlflow.db")
experiment = original.create_experiment("study", artifact_location=(first / "artifacts").as_uri())
run = original.create_run(experiment).info.run_id
original.log_text(run, "1", "a.txt")

shutil.copytree(first, second)
with sqlite3.connect(second / "mlflow.db") as database:
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(first), str(second)))
copy = MlflowClient(f"sqlite:///{second}/mlflow.db")
folder = "second" if "/second/" in copy.get_run(run).info.artifact_uri else "first"
copy.log_text(run, "2", "b.txt")

lies = [place.name for place in (first, second) if list(place.rglob("b.txt"))]
listed = [" ".join(sorted(one.path for one in client.list_artifacts(run))) for client in (copy, original)]
print(f"the run's folder by the copy's client: {folder}")
print(f"logged by the copy's client, b.txt lies in: {' '.join(lies)}")
print(f"listed by the copy's client: {listed[0]}; by the original's: {listed[1]}")
sys.exit(0 if (folder, lies, listed) == ("second", ["first"], ["a.txt", "a.txt b.txt"]) else 1)
EOF
