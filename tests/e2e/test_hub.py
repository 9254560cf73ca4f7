"""Checkpoints from a hub: the real client against a hub on the loopback, then again with the hub gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import Run
from local_hub import serve

REPOSITORY = "EleutherAI/pythia-70m"
SWEEP = ("-m", "model=pythia-70m", "step=1,2,4", "task=alpha", "analysis.after_sweep=false")


@pytest.mark.slow
def test_a_sweep_over_hub_revisions_downloads_each_once_and_resumes_offline(
    evalrun: Run, workspace: Path, tmp_path: Path
) -> None:
    online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    with serve() as hub:
        for step in (1, 2, 4):
            hub.add(REPOSITORY, f"step{step}", workspace / "models" / "toy-s" / f"step{step}")
        online["HF_ENDPOINT"] = hub.url
        first = evalrun(*SWEEP, env=online)
        assert first.returncode == 0, first.stderr
        assert "%|" not in first.stderr
        downloads = [request for request in hub.downloads() if request.startswith("GET")]
        assert len(set(downloads)) == 3
        again = evalrun(*SWEEP, env=online)
        assert "3 of 3 jobs found done" in again.stdout, again.stderr
        absent = evalrun("model=pythia-70m", "step=8", "task=alpha", env=online)
        assert absent.returncode == 1
        assert "has no revision 'step8'" in absent.stderr

    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("pythia")
    assert rows[rows["metric"] == "acc"]["step"].tolist() == [1, 2, 4]
    assert rows["weights"].nunique() == 3
    offline = evalrun(*SWEEP, env={**online, "HF_HUB_OFFLINE": "1"})
    assert "3 of 3 jobs found done" in offline.stdout, offline.stderr
    forced = evalrun("model=pythia-70m", "step=4", "task=alpha", "force=true", env={**online, "HF_HUB_OFFLINE": "1"})
    assert forced.returncode == 0, forced.stderr
    assert "computing alpha" in forced.stderr
