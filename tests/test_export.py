"""Exports: read back by the libraries they are for, repeated, continued, late, killed, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evalrun
from evalrun.cli import main
from evalrun.commands.export import event_files, table_file
from evalrun.commands.export.request import ExportRequest
from evalrun.commands.export.target import NOTE, open_folder
from evalrun.config.schema import Config, TrackingConf
from evalrun.core.columns import STAGE_COLUMNS, TABLE_COLUMNS
from evalrun.core.errors import ConfigError, StorageError
from evalrun.tracking import Store

ABOUT = {"format": "some", "store": "here", "selection": "all"}
CELL = {"suite": "pythia", "settings": "shared_prefix float32", "n_params": 70, "n_params_nonembedding": 40}


def rows(*cells: tuple[str, int, str, float], seed: int | None = None, **more: Any) -> pd.DataFrame:
    """A table of results, each (model, step, task, value), typed as the store gives it."""
    given = []
    for place, (model, step, task, value) in enumerate(cells):
        own = {"model": model, "step": step, "tokens": step * 1000, "task": task, "value": value, "seed": seed}
        own |= {"metric": "acc", "finished_ms": 1_700_000_000_000 + place, "task_key": f"{model}{step}{task}{place}"}
        given.append({**CELL, **own, **more})
    frame = pd.DataFrame(given).reindex(columns=list(TABLE_COLUMNS))
    for name, column in TABLE_COLUMNS.items():
        if frame[name].isna().all() and column.dtype in ("str", "int64", "bool"):
            frame[name] = {"str": "", "int64": 0, "bool": True}[column.dtype]
        frame[name] = frame[name].astype(column.dtype)
    return frame


def asked(table: pd.DataFrame, target: Path, x: str = "step", **about: str) -> ExportRequest:
    conf = Config(tracking=TrackingConf(uri=None, root="nowhere"))
    return ExportRequest(table, Store(conf.tracking), conf, target, ABOUT | about, x)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and when it was written."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


# --- TensorBoard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scalars(tmp_path: Path) -> Callable[..., dict[str, list[tuple[int, float, float]]]]:
    """What TensorBoard's own reader finds in a folder: tag -> (step, value, time) of one run."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: python -m pip install '.[export]'")
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    def read(run: str) -> dict[str, list[tuple[int, float, float]]]:
        found = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tb")).Reload()
        assert set(found.Runs()) == {str(p.parent.relative_to(tmp_path / "tb")) for p in tmp_path.rglob("*tfevents*")}
        tags = found.Runs()[run]["scalars"]
        return {tag: [(e.step, e.value, e.wall_time) for e in found.Scalars(run, tag)] for tag in tags}

    return read


RUN = "pythia/pythia-70m/shared_prefix-float32"
FIRST = [("pythia-70m", 1, "neqa", 0.25), ("pythia-70m", 1, "memo_trap", 0.5), ("pythia-70m", 4, "neqa", 0.75)]


def test_tensorboard_reads_steps_values_and_times(tmp_path: Path, scalars: Any) -> None:
    done = event_files.write_events(asked(rows(*FIRST, ("pythia-160m", 4, "neqa", 1.0)), tmp_path / "tb"))
    assert (len(done.written), done.kept) == (2, 0)
    began = 1_700_000_000.0
    assert scalars(RUN) == {
        "neqa/acc": [(1, 0.25, began), (4, 0.75, began + 0.002)],
        "memo_trap/acc": [(1, 0.5, began + 0.001)],
    }


def test_steps_may_be_tokens(tmp_path: Path, scalars: Any) -> None:
    event_files.write_events(asked(rows(*FIRST), tmp_path / "tb", x="tokens"))
    assert [step for step, *_ in scalars(RUN)["neqa/acc"]] == [1000, 4000]


def test_a_seed_is_a_run_of_its_own(tmp_path: Path, scalars: Any) -> None:
    table = pd.concat([rows(*FIRST, seed=1), rows(*FIRST, seed=2)], ignore_index=True)
    event_files.write_events(asked(table, tmp_path / "tb"))
    for seed in (1, 2):
        assert len(scalars(f"pythia/pythia-70m-seed{seed}/shared_prefix-float32")["neqa/acc"]) == 2


def test_the_same_export_again_changes_nothing(tmp_path: Path, scalars: Any) -> None:
    request = asked(rows(*FIRST), tmp_path / "tb")
    event_files.write_events(request)
    before = state(tmp_path)
    done = event_files.write_events(request)
    assert (done.written, done.kept) == ([], 1)
    assert state(tmp_path) == before


def test_a_new_checkpoint_is_appended_and_a_late_one_put_in_its_place(tmp_path: Path, scalars: Any) -> None:
    others = ("pythia-160m", 4, "neqa", 1.0)
    event_files.write_events(asked(rows(*FIRST, others), tmp_path / "tb"))
    (file,) = (tmp_path / "tb" / RUN).iterdir()
    before, inode, all_before = file.read_bytes(), file.stat().st_ino, state(tmp_path)
    event_files.write_events(asked(rows(*FIRST, others, ("pythia-70m", 8, "neqa", 0.5)), tmp_path / "tb"))
    assert file.read_bytes().startswith(before)
    assert file.stat().st_ino == inode  # what has it open reads on
    assert [path for path, now in state(tmp_path).items() if all_before[path] != now] == [str(file)]
    late = ("pythia-70m", 2, "neqa", 0.125)  # computed after those of later steps
    event_files.write_events(asked(rows(*FIRST, others, ("pythia-70m", 8, "neqa", 0.5), late), tmp_path / "tb"))
    assert [(step, value) for step, value, _ in scalars(RUN)["neqa/acc"]] == [
        (1, 0.25),
        (2, 0.125),
        (4, 0.75),
        (8, 0.5),
    ]


def test_a_result_that_was_computed_again_counts_once(tmp_path: Path, scalars: Any) -> None:
    done = event_files.write_events(asked(rows(*FIRST, ("pythia-70m", 1, "neqa", 0.875)), tmp_path / "tb"))
    assert [value for _, value, _ in scalars(RUN)["neqa/acc"]] == [0.875, 0.75]
    assert done.notes == ["1 value of results that were computed again: the newest counts."]


def test_what_is_not_finite_is_there_and_said(tmp_path: Path, scalars: Any) -> None:
    done = event_files.write_events(asked(rows(*FIRST, ("pythia-70m", 8, "neqa", float("nan"))), tmp_path / "tb"))
    assert scalars(RUN)["neqa/acc"][-1][1] != scalars(RUN)["neqa/acc"][-1][1]
    assert "1 value not finite (such as acc of neqa of pythia-70m at step 8)" in done.notes[0]


def test_a_record_that_broke_off_is_completed(tmp_path: Path, scalars: Any) -> None:
    """A kill while it is appended to."""
    request = asked(rows(*FIRST), tmp_path / "tb")
    event_files.write_events(request)
    (file,) = (tmp_path / "tb" / RUN).iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    assert [step for step, *_ in scalars(RUN)["neqa/acc"]] == [1]
    event_files.write_events(request)
    assert file.read_bytes() == whole


def test_runs_of_results_that_are_gone_are_said(tmp_path: Path, scalars: Any) -> None:
    event_files.write_events(asked(rows(*FIRST, ("pythia-160m", 4, "neqa", 1.0)), tmp_path / "tb"))
    done = event_files.write_events(asked(rows(*FIRST), tmp_path / "tb"))
    assert "1 run of results that the store no longer has" in done.notes[0]
    assert "pythia-160m" in done.notes[0]


# --- tables ----------------------------------------------------------------------------------------------------------


def test_parquet_keeps_values_types_and_meanings(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pd.concat([rows(*FIRST), rows(("pythia-70m", 8, "neqa", float("nan")), seed=3)], ignore_index=True)
    table_file.write_parquet(asked(table, tmp_path / "r.parquet"))
    back = pd.read_parquet(tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    for name, column in TABLE_COLUMNS.items():
        assert back[name].dtype.name == {"str": "str"}.get(column.dtype, column.dtype), name
    plain = pq.read_table(tmp_path / "r.parquet").schema  # as other languages see it
    assert [str(plain.field(name).type) for name in ("model", "seed", "tokens", "value", "primary")] == [
        *("string", "int64", "int64", "double", "bool"),
    ]
    assert plain.field("tokens").metadata[b"meaning"] == b"tokens seen by that step"


def test_csv_keeps_every_digit_and_whole_numbers(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    table = pd.concat([rows(("a,b", 1, "neqa", value)), rows(("c", 2, "neqa", 1 / 3), seed=3)], ignore_index=True)
    table_file.write_csv(asked(table, tmp_path / "r.csv"))
    back = pd.read_csv(tmp_path / "r.csv", dtype={"seed": "Int64"})
    assert back["value"].tolist() == [value, 1 / 3]
    assert back["model"].tolist() == ["a,b", "c"]
    assert back["seed"].tolist() == [pd.NA, 3]
    assert list(back.columns) == list(TABLE_COLUMNS)


def test_tables_have_stages_where_there_are_some(tmp_path: Path) -> None:
    table = (
        rows(*FIRST)
        .assign(**dict.fromkeys(STAGE_COLUMNS, pd.NA))
        .astype({n: c.dtype for n, c in STAGE_COLUMNS.items()})
    )
    table_file.write_parquet(asked(table, tmp_path / "r.parquet"))
    table_file.write_csv(asked(table, tmp_path / "r.csv"))
    for back in (pd.read_parquet(tmp_path / "r.parquet"), pd.read_csv(tmp_path / "r.csv")):
        assert list(back.columns) == [*TABLE_COLUMNS, *STAGE_COLUMNS]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_is_written_when_it_changed_and_only_then(tmp_path: Path, kind: str) -> None:
    write, path = getattr(table_file, f"write_{kind}"), tmp_path / f"r.{kind}"
    assert len(write(asked(rows(*FIRST), path)).written) == 1
    before = state(tmp_path)
    assert write(asked(rows(*FIRST), path)).written == []
    assert state(tmp_path) == before
    assert write(asked(rows(*FIRST, ("pythia-70m", 8, "neqa", 0.5)), path)).written == [path]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("content", [b"model,value\na,1\n", b"PAR1 no", None])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, kind: str, content: bytes | None) -> None:
    path = tmp_path / f"r.{kind}"
    if content is None:
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        path.write_bytes(content)
    before = state(tmp_path)
    with pytest.raises(ConfigError, match="is no export of evalrun"):
        getattr(table_file, f"write_{kind}")(asked(rows(*FIRST), path))
    assert state(tmp_path) == before
    with pytest.raises(ConfigError, match="is a folder, and this export is one file"):
        getattr(table_file, f"write_{kind}")(asked(rows(*FIRST), tmp_path))


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"thesis.tex": "x"}, "holds something that is no export of evalrun (thesis.tex)"),
        ({NOTE: "torn"}, "cannot be read"),
        ({NOTE: '{"format": "other"}'}, "holds an export of format 'other', and this one is of 'some'"),
        ({NOTE: '{"format": "some", "store": "there"}'}, "of store 'there', and this one is of 'here'"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, there: dict[str, str], said: str) -> None:
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error, open_folder(tmp_path, ABOUT):
        pass
    assert said in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(there)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((ConfigError, StorageError)), open_folder(path, ABOUT):
            pass


def test_what_a_kill_left_is_swept_and_no_reader_takes_it_for_a_file(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from evalrun.commands.export.target import open_folder
with open_folder(Path(sys.argv[1]), {"format": "some", "store": "here", "selection": "all"}) as folder:
    folder.write("run/events.out.tfevents.1", "whole")
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    folder.write("run/events.out.tfevents.1", "another")
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "tb")], check=False)
    assert ended.returncode == -signal.SIGKILL
    left = {p.relative_to(tmp_path / "tb").as_posix() for p in (tmp_path / "tb").rglob("*") if p.is_file()}
    (torn,) = left - {NOTE, ".evalrun-export.lock", "run/events.out.tfevents.1"}
    assert "tfevents" not in torn
    assert (tmp_path / "tb" / "run" / "events.out.tfevents.1").read_text() == "whole"
    with open_folder(tmp_path / "tb", ABOUT) as folder:
        folder.write("run/events.out.tfevents.1", "another")
    assert not (tmp_path / "tb" / torn).exists()


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder(tmp_path / "tb", ABOUT) as folder:
        folder.extend("file", b"first")

        def full(*_: object) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match=r"^No space left for .*file \(5 bytes\); free some and run it again.$"):
            folder.write("file", "other")
    assert (tmp_path / "tb" / "file").read_bytes() == b"first"


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.release
def test_the_command_and_the_function(evaluated: Path, capsys: Any) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: python -m pip install '.[export]'")
    assert main(["export", "tensorboard"]) == 0
    out = capsys.readouterr().out
    place = "multirun/export/tensorboard"
    assert out == (
        f"{place}: 2 runs with 16 values; 2 files written, 0 as before\nlook at it: tensorboard --logdir {place}\n"
    )
    assert main(["export", "tensorboard"]) == 0
    assert "0 files written, 2 as before" in capsys.readouterr().out
    assert main(["export", "tensorboard", "task=alpha"]) == 2
    said = capsys.readouterr().err
    assert "holds an export of selection 'all', and this one is of 'task=alpha': name another folder" in said
    (path,) = evalrun.export("csv", "out/lr=3/results.csv", task="alpha", model="toy/toy-s", step="all")
    assert (
        pd.read_csv(path)["value"].tolist()
        == evalrun.results(task="alpha", model="toy/toy-s", step="all")["value"].tolist()
    )
    assert main(["export", "csv", "out/lr=3/results.csv", "task=alpha", "model=toy/toy-s"]) == 0
    assert "0 files written, 1 as before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tensrboard"], "there is no export to 'tensrboard': did you mean 'tensorboard'?"),
        ([], "export needs a format: choose from: csv, "),
        (["csv", "a", "b"], "export takes a format and one place, not 'b' too"),
        (["csv", "x=tokens"], "x is 'tokens', which export to csv does not know: x=tokens is for tensorboard."),
        (["csv", "suite="], "suite= has no value: name a suite, or leave it out."),
        (["csv", "suite=a", "suite=b"], "suite= is given twice, 'a' and 'b': give it once."),
        (["csv", "--json"], "export does not know '--json'"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], said: str, capsys: Any) -> None:
    assert main(["export", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from evalrun.commands.export import request

    monkeypatch.setattr(request, "find_spec", lambda _: None)
    assert main(["export", "tensorboard"]) == 2
    wanted = (
        "evalrun: export to tensorboard needs the package tensorboard: python -m pip install 'tensorboard>=2.16'.\n"
    )
    assert capsys.readouterr().err == wanted
