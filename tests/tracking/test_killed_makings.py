"""A process killed while it makes something that MLflow makes in many steps: the next one is not in its way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.errors import TrackingError
from evalrun.tracking import Store

from .conftest import MakeResult

KILLED_FIRST_START = """
import os, signal, sys
import sqlalchemy
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store

def after(connection, cursor, statement, *rest):
    if "CREATE TABLE logged_models" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

sqlalchemy.event.listen(sqlalchemy.engine.Engine, "after_cursor_execute", after)
if sys.argv[2:] == ["by MLflow alone"]:
    from mlflow import MlflowClient
    MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}/mlflow.db").search_experiments()
Store(TrackingConf(uri=None, root=sys.argv[1])).check()
"""
REPORT = """
import os, signal, sys
from pathlib import Path
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store, report_runs

def stop(*args):
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.readline()
    upload(*args)

upload, report_runs.upload = report_runs.upload, stop
Store(TrackingConf(uri=None, root=sys.argv[1])).log_report("pythia", {"report.html": Path(__file__)}, {}, {}, {})
"""


def test_a_database_that_was_killed_half_made_is_made_anew(make: MakeResult, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    killed = subprocess.run([sys.executable, "-c", KILLED_FIRST_START, str(root)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert not (root / "mlflow.db").exists()
    store = Store(TrackingConf(uri=None, root=str(root)))
    store.check()
    store.deliver([make()], None, "")
    assert len(store.table("pythia")) == 2
    assert sorted(path.name for path in root.iterdir() if "mlflow.db" in path.name) == ["mlflow.db"]


def test_a_database_that_mlflow_left_half_made_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_FIRST_START, str(tmp_path), "by MLflow alone"]
    assert subprocess.run(command, capture_output=True).returncode == -9
    with pytest.raises(TrackingError, match="mlflow.db was left half made by a process that was killed; move it away"):
        Store(TrackingConf(uri=None, root=str(tmp_path))).check()


def test_a_killed_report_is_gone_once_another_is_made(store: Store, make: MakeResult, tmp_path: Path) -> None:
    store.deliver([make()], None, "")
    code = tmp_path / "report.py"
    code.write_text(REPORT)
    command = [sys.executable, str(code), store.conf.root]
    assert subprocess.run([*command, "killed"], capture_output=True).returncode == -9
    client = MlflowClient(store.uri)
    (left,) = client.search_runs([client.get_experiment_by_name("pythia-report").experiment_id])
    assert left.info.status == "RUNNING"

    with subprocess.Popen([*command, "slow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"  # a living process's report is not touched
        made = store.log_report("pythia", {"report.html": code}, {}, {}, {})
        there = client.search_runs([left.info.experiment_id])
        assert sorted(run.info.status for run in there) == ["FINISHED", "RUNNING"]
        assert left.info.run_id not in {run.info.run_id for run in there}
        other.communicate("go on\n")
    assert other.returncode == 0
    after = client.search_runs([left.info.experiment_id])
    assert made in {run.info.run_id for run in after}
    assert [run.info.status for run in after] == ["FINISHED", "FINISHED"]
