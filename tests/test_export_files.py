"""Exports to lm-eval's files, W&B and model cards: read back by those who read them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from evalrun.cli import main
from evalrun.commands.export import model_cards, wandb_runs
from evalrun.config.schema import TrackingConf
from evalrun.core.errors import ConfigError
from evalrun.tracking import Store
from test_export import FIRST, asked, rows, state

# --- lm-eval ---------------------------------------------------------------------------------------------------------


def results_of(folder: Path) -> tuple[pd.DataFrame, dict[tuple[str, int, str], pd.DataFrame]]:
    """The table and the items of a store, by model, step and task."""
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    table = store.table("toy")
    names = [(str(run), str(task)) for run, task in table[["run_id", "task"]].to_numpy()]
    with store.items(names) as items:
        places = zip(table["model"], table["step"], table["task"], names, strict=True)
        found = {(model, int(step), task): items(*name) for model, step, task, name in places}
    return table, {place: frame for place, frame in found.items() if frame is not None}


def versions_by_lm_eval(folder: Path) -> dict[str, Any]:
    """What lm-eval's own evaluation of the same task files writes."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    configs = [yaml.safe_load((folder / "conf" / "task" / f"{name}.yaml").read_text()) for name in ("alpha", "beta")]
    for config in configs:
        files = {"test": str(folder / config.pop("data"))}
        config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
    found = simple_evaluate(
        model="dummy", tasks=configs, task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
    )
    assert found is not None
    return dict(found["versions"])


@pytest.mark.release
def test_lm_evals_files_are_read_by_its_tools_and_ingested_again(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from lm_eval.utils import get_latest_filename, get_results_filenames, get_sample_results_filenames, make_table

    assert main(["export", "lm-eval", "../files"]) == 0
    assert "8 result files of 8 checkpoints; 24 files written" in capsys.readouterr().out
    before = state(tmp_path / "files")
    assert main(["export", "lm-eval", "../files"]) == 0
    assert state(tmp_path / "files") == before
    folder = tmp_path / "files" / "models__toy-s__step8"
    names = [str(path) for path in folder.iterdir()]
    latest = json.loads(Path(get_latest_filename(get_results_filenames(names))).read_text())
    assert len(get_sample_results_filenames(names)) == 2
    assert latest["versions"] == {"alpha": 1.0, "beta": 1.0} == versions_by_lm_eval(evaluated)
    assert "|alpha|1|" in make_table(latest).replace(" ", "")

    other = tmp_path / "other"
    other.mkdir()
    for name in ("conf", "models", "data"):
        shutil.copytree(evaluated / name, other / name)
    monkeypatch.chdir(other)
    assert main(["ingest", "../files"]) == 0
    assert "16 results filed" in capsys.readouterr().out
    table, items = results_of(evaluated)
    again, items_again = results_of(other)
    same = ["model", "step", "tokens", "n_params", "task", "title", "metric", "value", "stderr", "n", "chance"]
    pd.testing.assert_frame_equal(table[same], again[same])
    assert items.keys() == items_again.keys()
    for place, frame in items.items():
        assert set(frame.columns) - set(items_again[place].columns) == {"choice_chars"}
        pd.testing.assert_frame_equal(
            frame.drop(columns="choice_chars"), items_again[place][frame.columns.drop("choice_chars")]
        )


# --- W&B -------------------------------------------------------------------------------------------------------------


def records(file: Path) -> list[Any]:
    """What W&B's library wrote: records of its own protobuf in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, found, part, at = file.read_bytes(), [], b"", 7
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of several
            found.append(Record.FromString(part))
            part = b""
    return found


def history(file: Path) -> list[dict[str, Any]]:
    lines = [record.history.item for record in records(file) if record.HasField("history")]
    return [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in line} for line in lines]


@pytest.mark.release
def test_wandb_reads_late_steps_in_their_places(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: python -m pip install '.[export]'")
    done = wandb_runs.write_runs(asked(rows(*FIRST), tmp_path / "wb"))
    (place,) = done.written
    (file,) = place.glob("run-*.wandb")
    begun = next(record.run for record in records(file) if record.HasField("run"))
    config = {one.key: json.loads(one.value_json) for one in begun.config.update}
    assert (begun.project, begun.run_group, begun.run_id) == ("pythia", "pythia-70m", file.stem.removeprefix("run-"))
    assert {"suite": "pythia", "model": "pythia-70m", "n_params": 70}.items() <= config.items()
    metrics = {r.metric.name: r.metric.step_metric for r in records(file) if r.HasField("metric")}
    assert metrics["neqa/acc"] == metrics["memo_trap/acc"] == "training_step"
    before = state(tmp_path)
    assert wandb_runs.write_runs(asked(rows(*FIRST), tmp_path / "wb")).written == []
    assert state(tmp_path) == before
    late = rows(*FIRST, ("pythia-70m", 2, "neqa", 0.125))
    (again,) = wandb_runs.write_runs(asked(late, tmp_path / "wb")).written
    assert again == place  # one run, of the same id
    found = history(file)
    assert [(row["training_step"], row["neqa/acc"], row["_step"]) for row in found] == [
        *((1, 0.25, 0), (2, 0.125, 1), (4, 0.75, 2)),
    ]
    assert found[0]["tokens"] == 1000
    assert found[0]["_timestamp"] == 1_700_000_000.001
    assert sorted(p.name for p in (tmp_path / "wb").iterdir()) == [
        ".evalrun-export",
        ".evalrun-export.lock",
        place.name,
    ]


# --- model cards -----------------------------------------------------------------------------------------------------

CARD = """\
---
license: mit   # as the data's
tags: [a, "b"]
model-index:
- name: pythia-70m
  results:
  - task: {type: text-generation}
    dataset: {name: Others, type: others}
    metrics: [{type: acc, value: 0.125}]
- name: another
  results:
  - task: {type: text-generation}
    dataset: {name: NeQA, type: neqa}
    metrics: [{type: acc, value: 1.0}]

# who made it
author: me
---
# My model

It is *mine*.
"""


def index_of(path: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load

    return {model["name"]: model["results"] for model in metadata_load(path)["model-index"]}


def write(path: Path, table: pd.DataFrame) -> Any:
    return model_cards.write_cards(asked(table, path))


def test_a_new_card_is_what_the_hub_reads(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    path = tmp_path / "README.md"
    write(path, rows(*FIRST[:2], stderr=0.0625, n=300))
    results = ModelCard.load(path).data.eval_results
    assert [(one.dataset_type, one.metric_type, one.metric_value) for one in results] == [
        *(("memo_trap", "acc", 0.5), ("neqa", "acc", 0.25)),
    ] or [(one.dataset_type, one.metric_type, one.metric_value) for one in results] == [
        *(("neqa", "acc", 0.25), ("memo_trap", "acc", 0.5)),
    ]
    assert results[0].metric_args == {
        "step": 1, "tokens": 1000, "n": 300, "scored_by": "shared_prefix float32", "stderr": 0.0625,
    }  # fmt: skip
    assert "| memo\\_trap | acc | 0.5000 | 0.0625 | 300 |" in path.read_text()


def test_what_a_card_holds_stays_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(CARD)
    write(path, rows(*FIRST[2:]))
    text = path.read_text()
    for part in (
        'license: mit   # as the data\'s\ntags: [a, "b"]\n',
        "\n\n# who made it\nauthor: me\n---\n# My model\n",
    ):
        assert part in text
    found = index_of(path)
    assert [one["dataset"]["type"] for one in found["pythia-70m"]] == ["others", "neqa"]
    assert found["another"][0]["metrics"] == [{"type": "acc", "value": 1.0}]
    assert text.index("It is *mine*.") < text.index("## Evaluation results")
    before = state(tmp_path)
    assert write(path, rows(*FIRST[2:])).written == []
    assert state(tmp_path) == before


def test_a_card_of_a_later_step_replaces_what_an_export_wrote_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(CARD)
    write(path, rows(*FIRST[2:]))
    path.write_text(path.read_text() + "\nThe end.\n")
    write(path, rows(("pythia-70m", 8, "neqa", 0.9)))
    (_, mine) = index_of(path)["pythia-70m"]
    assert (mine["metrics"][0]["value"], mine["metrics"][0]["args"]["step"]) == (0.9, 8)
    assert path.read_text().count("## Evaluation results") == 1
    assert "0.7500" not in path.read_text()
    assert path.read_text().endswith("\nThe end.\n")


def test_a_card_for_each_checkpoint(tmp_path: Path) -> None:
    done = write(tmp_path / "cards", rows(*FIRST, ("pythia-160m", 4, "neqa", float("nan"))))
    assert len(done.written) == 3
    assert "they are left out" in done.notes[0]
    before = state(tmp_path)
    assert write(tmp_path / "cards", rows(*FIRST, ("pythia-160m", 4, "neqa", float("nan")))).written == []
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nlicense: mit\n", "does not end: a line of --- is missing"),
        ("---\n- a\n- b\n---\n", "is no mapping: mend it"),
        ("---\na: [\n---\n", "is no YAML"),
        ("---\nmodel-index: 5\n---\n", "is no list of models"),
        ("---\nmodel-index:\n- name: x\n  results: [{task: 3}]\n---\n", "is not the hub's"),
    ],
)
def test_a_card_that_cannot_be_read_is_left_alone(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        write(path, rows(*FIRST[2:]))
    assert path.read_text() == text


def test_front_matter_of_other_forms(tmp_path: Path) -> None:
    for number, text in enumerate(
        ("", "# Title\n", "---\n---\nText\n", "---\nmodel-index: null\na: 1\n---\n", "---\r\na: 1\r\n---\r\nb\r\n")
    ):
        path = tmp_path / f"{number}.md"
        path.write_bytes(text.encode())
        write(path, rows(*FIRST[2:]))
        assert index_of(path)["pythia-70m"][0]["metrics"][0]["value"] == 0.75
        assert yaml.safe_load(path.read_text().split("---\n")[1]).get("a", 1) == 1


def test_one_file_is_the_card_of_one_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the card of one checkpoint, and 2 are selected"):
        write(tmp_path / "README.md", rows(*FIRST))
