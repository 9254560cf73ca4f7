"""Analyses as runs with files."""

from __future__ import annotations

import math
import re
import resource
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from evalrun.errors import TrackingError
from evalrun.tracking import Store


def test_a_report_keeps_its_files_and_numbers(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out-1.html").write_text("<p>report")
    (tmp_path / "fit.png").write_bytes(b"png")
    files = {
        "report.html": tmp_path / "out-1.html",
        "figures/fit.png": tmp_path / "fit.png",
        "../é.csv": tmp_path / "fit.png",
    }
    metrics = {"falls": 2, "slope/memo trap, %": -0.5, "nan": math.nan, "inf": math.inf}
    run_id = store.log_report("pythia", files, metrics, {"correction": "fdr_bh"}, {"sweep": "s"})
    client = MlflowClient(store.uri)
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == "pythia-report"
    assert run.info.status == "FINISHED"
    assert run.data.tags["evalrun.kind"] == "report"
    assert run.data.tags["evalrun.page"] == "report.html"
    assert run.data.tags["sweep"] == "s"
    assert run.data.params == {"correction": "fdr_bh"}
    assert sorted(run.data.metrics.values()) == [-0.5, 2.0]
    assert Path(client.download_artifacts(run_id, "report.html", str(tmp_path))).read_text() == "<p>report"
    assert [file.path for file in client.list_artifacts(run_id, "figures")] == ["figures/fit.png"]
    assert mlflow.active_run() is None


def test_a_report_that_fails_is_failed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"filing the report.*gone"):
        store.log_report("pythia", {"gone": tmp_path / "gone"}, {}, {}, {})
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia-report").experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["evalrun.state"] != "complete"


def test_a_disk_without_room_for_a_report_is_one_sentence(store: Store, tmp_path: Path) -> None:
    """Nothing larger than the database can be written, and the page is."""
    page = tmp_path / "report.html"
    page.write_bytes(b"x" * 8_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, hard))
    try:
        with pytest.raises(TrackingError) as found:
            store.log_report("pythia", {"report.html": page}, {}, {}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (said,) = found.value.problems
    assert re.fullmatch(r"MLflow at \S+ failed while filing the report: \[Errno 27\] File too large[^\n]*\.", said)
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia-report").experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["evalrun.state"] != "complete"
    assert store.log_report("pythia", {"report.html": page}, {}, {}, {}) != run.info.run_id


def test_a_report_may_be_without_files(store: Store) -> None:
    run_id = store.log_report("pythia", {}, {"x": 1.0}, {}, {})
    assert MlflowClient(store.uri).get_run(run_id).info.status == "FINISHED"
