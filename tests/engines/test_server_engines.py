"""A sweep that files its results on an MLflow server with PostgreSQL, which is killed in the middle and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from launchers.contract import Command

from .engines import MlflowServer, wait_until

pytestmark = pytest.mark.engines
KEYS = ["model", "step", "task", "metric", "value", "n", "stderr"]


def rows(conf: TrackingConf) -> list[tuple[object, ...]]:
    """What a store holds of the suite, in an order of its own."""
    table = Store(conf).table("toy")
    return sorted(tuple(row) for row in table[KEYS].itertuples(index=False))


def test_a_server_that_dies_in_a_sweep_loses_nothing(workspace: Path, mlflow_server: MlflowServer) -> None:
    alone = Command(workspace)
    alone.prepare()
    done = alone.run()
    assert done.returncode == 0, done.stderr
    expected = rows(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    for folder in ("multirun", "mlruns"):
        (workspace / folder).rename(workspace / f"undisturbed-{folder}")
    words = ("tracking=server", f"tracking.uri={mlflow_server.uri}", "hydra/launcher=processes")
    command = Command(workspace, (*words, "hydra.launcher.workers=2"), timeout=500)
    with command.start() as process:
        wait_until(lambda: len(command.journal()) > 2 or process.poll() is not None, "some results", timeout=200)
        mlflow_server.kill()
        mlflow_server.start()
        _, err = process.communicate(timeout=400)
    assert process.returncode == 0 or "cannot be reached" in err, err  # it may end while the server is still away
    again = command.run()
    assert again.returncode == 0, again.stderr
    assert "found done" in again.stdout
    assert rows(TrackingConf(uri=mlflow_server.uri, root=str(workspace / "mlruns"))) == expected
