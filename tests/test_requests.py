"""Requests are rendered once, tasks that share prompts are scored together, and no answer leaks to the next model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalrun import scoring
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.scoring.scorer_cache import ScorerCache
from evalrun.tasks import builder, task_file
from helpers import TASK, make_rows, write_rows


@pytest.fixture
def conf(workspace: Path) -> Any:
    with hydra_session():
        return to_config(compose(["model=toy/toy-s", "step=1", "scorer=lm_eval", "scorer.device=cpu"])).scorer


def load(folder: Path) -> tuple[Any, Any]:
    from evalrun import checkpoints
    from evalrun.core.records import Checkpoint

    cell = Checkpoint("toy", "toy-s", 1, 1, 1, 1, 1, None, str(folder), None)
    trust = {"remote_code": False, "pickle": False}
    loaded = checkpoints.load(checkpoints.locate(cell), folder, "auto", "cpu", trust)
    return loaded.model, loaded.tokenizer


def items(lm: Any, built: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([score.items for score in scoring.score(lm, built, None, 100).values()], ignore_index=True)


def test_a_later_checkpoint_finds_requests_rendered_and_gets_what_a_fresh_process_gets(
    workspace: Path, conf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = builder.build(task_file.resolve(["alpha", "beta"]), 2)
    first, second = (workspace / "models" / "toy-s" / step for step in ("step1", "step8"))
    session = ScorerCache(scoring.open_lm)
    with session.scorer(*load(first), conf, lambda rows: None) as lm:
        items(lm, built)
        kept = lm
    with monkeypatch.context() as patch:
        patch.setattr(type(built["alpha"]), "construct_requests", None)  # rendering again would fail
        with session.scorer(*load(second), conf, lambda rows: None) as lm:
            assert lm is kept
            later = items(lm, built)
    monkeypatch.setattr(builder, "_built", {})
    fresh = builder.build(task_file.resolve(["alpha", "beta"]), 2)
    assert fresh["alpha"] is not built["alpha"]
    pd.testing.assert_frame_equal(later, items(scoring.open_lm(*load(second), conf, lambda rows: None), fresh))


def test_limits_and_shots_are_rendered_apart(workspace: Path) -> None:
    (none,) = builder.build(task_file.resolve(["alpha"]), None).values()
    (two,) = builder.build(task_file.resolve(["alpha"]), 2).values()
    assert (scoring.count_requests(none, None), scoring.count_requests(none, 2)) == (36, 5)
    assert scoring.count_requests(two, 2) == 5


def test_tasks_that_share_prompts_are_bundled(workspace: Path) -> None:
    rows = make_rows(12)
    for name, some in (
        ("first", rows[:6]),
        ("apart", make_rows(6, shift=9)),
        ("last", rows[6:]),
        ("bridge", rows[5:7]),
    ):
        text = TASK.format(name=name, title=name)
        (workspace / "conf" / "task" / f"{name}.yaml").write_text(text)
        write_rows(workspace / "data" / f"{name}.jsonl", some)
    built = builder.build(task_file.resolve(["first", "apart", "last"]), None)
    assert scoring.group_by_shared_prompts(built, None) == [["first"], ["apart"], ["last"]]
    built = builder.build(task_file.resolve(["first", "apart", "last", "bridge"]), None)
    assert scoring.group_by_shared_prompts(built, None) == [["first", "last", "bridge"], ["apart"]]


def test_together_is_as_apart(workspace: Path, conf: Any) -> None:
    built = builder.build(task_file.resolve(["alpha", "beta"]), None)
    lm = scoring.open_lm(*load(workspace / "models" / "toy-m" / "step4"), conf, lambda rows: None)
    together = scoring.score(lm, built, None, 100)
    for name, task in built.items():
        alone = scoring.score(lm, {name: task}, None, 100)[name]
        assert (alone.metrics, alone.n) == (together[name].metrics, together[name].n)
        for one, other in zip(alone.items["logprobs"], together[name].items["logprobs"], strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_a_scorer_lets_go_of_its_model(workspace: Path, conf: Any) -> None:
    folder = workspace / "models" / "toy-s" / "step1"
    session = ScorerCache(scoring.open_lm)
    built = builder.build(task_file.resolve(["alpha"]), None)
    model, tokenizer = load(folder)
    with session.scorer(model, tokenizer, conf, lambda rows: None) as lm:
        scoring.score(lm, built, None, 100)
        first = lm
    assert sum(parameter.nbytes for parameter in model.parameters()) == 0
    other_model, other_tokenizer = load(workspace / "models" / "toy-m" / "step1")
    assert other_tokenizer is tokenizer  # equal files, one tokenizer
    with session.scorer(other_model, other_tokenizer, conf, lambda rows: None) as lm:
        assert lm is not first  # another architecture
    with pytest.raises(ZeroDivisionError), session.scorer(other_model, tokenizer, conf, lambda rows: None):
        raise ZeroDivisionError
    assert sum(parameter.nbytes for parameter in other_model.parameters()) == 0
