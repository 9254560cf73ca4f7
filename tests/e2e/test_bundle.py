"""`bundle`, `verify` and `ingest BUNDLE`: results that go from one person's store to another's."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from evalrun.commands.bundle import bundle_files
from evalrun.config.schema import TrackingConf
from evalrun.reporting.suite_remarks import came_in
from evalrun.tracking import Store

Inside = Callable[..., subprocess.CompletedProcess[str]]
THEIRS = "tracking.root=theirs"


def values_of(root: str) -> pd.DataFrame:
    table = Store(TrackingConf(uri=None, root=root)).table("toy")
    return table.drop(columns=["run_id"])


def digest_in(said: str) -> str:
    return said.split()[-1]


@pytest.mark.release
def test_what_cannot_be_right_is_a_sentence(workspace: Path, inside: Inside) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    with zipfile.ZipFile("odd.zip", "w") as archive:
        archive.writestr("x/manifest.json", json.dumps({"kind": "evalrun bundle", "format": 1}))
        archive.writestr("../outside.txt", "")
    with zipfile.ZipFile("later.zip", "w") as archive:
        archive.writestr("x/manifest.json", json.dumps({"kind": "evalrun bundle", "format": 99, "version": "9.0"}))
        archive.writestr("x/SHA256SUMS", "")
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("x/manifest.json", "{}")
    Path("cut.zip").write_bytes(Path("odd.zip").read_bytes()[:60])
    cases = [
        (("verify", "cut.zip"), "'cut.zip' is a damaged zip (File is not a zip file): get it again."),
        (("ingest", "cut.zip"), "'cut.zip' is a damaged zip"),
        (("bundle",), "one folder or .zip"),
        (("bundle", "a", "b"), "one folder or .zip"),
        (("bundle", "mine"), "'mine' is there and no bundle"),
        (("bundle", "a.zip"), "no results in"),
        (("verify",), "verify takes a bundle"),
        (("verify", "none"), "'none' is not there"),
        (("verify", "mine"), "'mine' is no bundle"),
        (("verify", "other.zip"), "'other.zip' is no bundle"),
        (("verify", "odd.zip"), "lead out of its folder"),
        (("verify", "later.zip"), "evalrun 9.0, which is newer"),
        (("verify", "later.zip", "xyz"), "'xyz' is no digest"),
        (("ingest", "later.zip", "mine/thesis.tex"), "one after the other"),
        (("ingest", "later.zip", "rename.a=b"), "suite=NAME files it apart"),
        (("ingest", "mine", "suite=a"), "is for bundles"),
    ]
    for words, said in cases:
        found = inside(*words)
        assert found.returncode in (1, 2), words
        assert said in found.stderr, (words, found.stderr)
        assert found.stderr.count("evalrun: ") == 1, (words, found.stderr)
    assert not Path("outside.txt").exists()
    assert not Path("../outside.txt").exists()
    assert not list(Path().glob(".a*"))


def test_the_digest_is_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text("1")
    (tmp_path / "README.txt").write_text("2")
    (tmp_path / "SHA256SUMS").write_text(bundle_files.sums_text(tmp_path))
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"1", b"2"))
    assert (tmp_path / "SHA256SUMS").read_text() == f"{two}  README.txt\n{one}  runs/a.json\n"
    assert bundle_files.altered(tmp_path) == []
    (tmp_path / "runs" / "b").symlink_to("a.json")
    (tmp_path / "README.txt").write_text("3")
    assert [said.split()[0] for said in bundle_files.altered(tmp_path)] == ["runs/b", "README.txt"]


def changed_in_every_way(inside: Inside) -> None:
    """Of the bundle `own`: a number, its items, its sums; each is found."""
    record = next(Path("own/runs").rglob("results/*.json"))
    text = record.read_text()
    said = json.loads(text)
    said["metrics"]["acc"] += 0.01
    record.write_text(json.dumps(said))
    found = inside("verify", "own")
    assert found.returncode == 1
    assert f"{record.relative_to('own')} was changed" in found.stderr
    refused = inside("ingest", "own", THEIRS)
    assert (refused.returncode, refused.stderr.count("evalrun: ")) == (2, 1)
    assert "not as it was made" in refused.stderr
    Path("own/SHA256SUMS").write_text(bundle_files.sums_text(Path("own")))  # by somebody who hides it
    found = inside("verify", "own")
    assert found.returncode == 1
    assert "and its items say" in found.stderr
    assert "and results.csv says" in found.stderr
    record.write_text(text)
    record.with_suffix(".parquet").unlink()
    Path("own/more.txt").write_text("more")
    found = inside("verify", "own")
    assert "is missing" in found.stderr
    assert "more.txt was added" in found.stderr


@pytest.mark.release
def test_what_is_bundled_is_verified_and_filed_elsewhere(evaluated: Path, inside: Inside) -> None:
    made = inside("bundle", "b ü#.zip")
    assert made.returncode == 0, made.stderr
    assert "toy: " in made.stdout
    assert str(evaluated) in made.stdout  # the folder of the models, which the records name
    digest = digest_in(made.stdout)
    assert f"python -m evalrun verify 'b ü#.zip' {digest}" in made.stdout  # ready to paste
    Path("b ü#.zip").rename("shared.zip")
    right = inside("verify", "shared.zip", digest)
    assert right.returncode == 0, right.stderr
    assert "whole and unchanged" in right.stdout
    wrong = inside("verify", "shared.zip", "0" * 64)
    assert (wrong.returncode, wrong.stderr.count("evalrun: ")) == (1, 1)
    assert digest in wrong.stderr

    filed = inside("ingest", "shared.zip", THEIRS)
    assert filed.returncode == 0, filed.stderr
    pd.testing.assert_frame_equal(values_of("theirs"), values_of("mlruns"))
    again = inside("ingest", "shared.zip", THEIRS)
    assert "0 results filed" in again.stdout

    mine, theirs = (Store(TrackingConf(uri=None, root=root)) for root in ("mlruns", "theirs"))
    keys = {run.run_key for run in mine.past("toy")}
    assert {run.run_key for run in theirs.past("toy")} == keys
    client = MlflowClient(tracking_uri=theirs.uri)
    for run in theirs.past("toy"):
        assert json.loads(run.tags["evalrun.bundle"])["digest"] == digest
        note = client.get_run(run.run_id).data.tags["mlflow.note.content"]
        assert f"from bundle b ü# ({digest[:12]})" in note
    pairs = [(run.run_id, task) for run in theirs.past("toy") for task in run.tasks]
    with theirs.items(pairs) as items:
        assert all(items(*pair) is not None for pair in pairs)
    whole = theirs.read("toy")
    said = came_in(whole, whole.of())["From bundles"]
    assert said.startswith(f"{len(pairs)} results of b ü# ({digest[:12]}), made 20")
    assert came_in(mine.read("toy"), mine.table("toy")) == {}
    apart = inside("ingest", "shared.zip", THEIRS, "suite=theirs")
    assert apart.returncode == 0, apart.stderr
    assert Store(TrackingConf(uri=None, root="theirs")).suites() == ["theirs", "toy"]

    with zipfile.ZipFile("shared.zip") as archive:
        archive.extractall()
    Path("b ü#").rename("own")
    changed_in_every_way(inside)
    replaced = inside("bundle", "own", "--without-items", "task=alpha")
    assert replaced.returncode == 0, replaced.stderr
    there = bundle_files.files_of(Path("own"))
    assert {"index.html", "README.txt", "results.csv", "manifest.json", "report/toy/report.html"} <= set(there)
    assert not [name for name in there if name.startswith("runs/") and name.endswith(".parquet")]
    assert set(pd.read_csv("own/results.csv")["task"]) == {"alpha"}
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd="own", check=False)
    assert sums.returncode == 0
    assert not [path.name for path in evaluated.iterdir() if path.name.startswith(".own")]
