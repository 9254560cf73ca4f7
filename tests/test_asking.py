"""How tasks are asked: settings of sampling and chat reach the requests, and none is taken and then ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalrun import cli, scoring
from evalrun.config.asking import chat_in, generation_in
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.errors import ConfigError
from evalrun.grid import overrides as ov
from evalrun.tasks import builder, task_file
from helpers import write_rows

WRITES = """task: writes
data: data/writes.jsonl
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], do_sample: false, temperature: 0.0, max_new_tokens: 9}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture
def writes(workspace: Path) -> Path:
    """A workspace with a task that generates, beside one that does not."""
    write_rows(workspace / "data" / "writes.jsonl", [{"question": "the cat", "answer": "sat"}] * 3)
    (workspace / "conf" / "task" / "writes.yaml").write_text(WRITES)
    return workspace


def config_of(*words: str) -> Config:
    with hydra_session():
        return to_config(compose(["model=pythia-70m", "step=1000", *ov.for_hydra(ov.parse(list(words)))]))


def problems(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        task_file.resolve_for(config_of(*words))
    return caught.value.problems


def test_what_is_not_set_is_as_the_file_says(writes: Path) -> None:
    config = config_of("task=writes")
    assert (generation_in(config), chat_in(config)) == ({}, {})
    (task,) = builder.build(task_file.resolve_for(config), None, generation_in(config)).values()
    own = {"until": ["."], "do_sample": False, "temperature": 0.0, "max_new_tokens": 9}
    assert {(str(r.args[1]), r.repeats) for r in scoring.rendered(task, None)} == {(str(own), 1)}


def test_settings_of_sampling_reach_the_requests_of_this_run_alone(writes: Path) -> None:
    drawn = config_of(
        "task=writes", "samples=4", "temperature=0.5", "generation.top_p=0.9", "generation.max_gen_toks=3"
    )
    plain = config_of("task=writes")
    for config in (plain, drawn, plain, drawn):
        (task,) = builder.build(task_file.resolve_for(config), None, generation_in(config)).values()
        requests = scoring.rendered(task, None)
        sampled = config is drawn
        assert [request.repeats for request in requests] == [4 if sampled else 1] * 3
        kwargs: dict[str, Any] = requests[0].args[1]
        wanted = {"until": ["."], "do_sample": True, "temperature": 0.5, "top_p": 0.9, "max_gen_toks": 3}
        assert kwargs == wanted if sampled else kwargs["max_new_tokens"] == 9


def test_nothing_is_taken_and_then_ignored(writes: Path) -> None:
    (sentence,) = problems("task=alpha", "temperature=0.5")
    assert sentence.startswith("generation.temperature=0.5 is for tasks that generate text, and of alpha none does")
    (sentence,) = problems("task=writes", "samples=8")
    assert sentence.startswith("task 'writes' takes the most likely token each time, so that generation.samples=8")
    (sentence,) = problems("task=writes", "samples=8", "temperature=0")
    assert "nothing is drawn, and generation.samples=8 would change nothing" in sentence
    (sentence,) = problems("task=alpha", "chat=template", "chat.think_end=</think>")
    assert sentence.startswith("chat.think_end is for tasks that generate")
    assert "there are no turns" in problems("task=alpha", "chat.fewshot_as_multiturn=false")[0]
    assert "chat.stages has 'sft'" in problems("task=alpha", "chat=template", "chat.stages=[sft]")[0]
    assert "it must be 1 or more" in problems("task=writes", "samples=0")[0]
    assert task_file.resolve_for(config_of("task=writes,alpha", "samples=2", "temperature=1"))


def test_chat_is_for_the_stages_that_it_names() -> None:
    with hydra_session():
        words = ["model=olmo2/1b", "step=1", "chat=auto", "chat.system=Be brief."]
        config = to_config(compose([*words, "chat.stages=[pretraining]"]))
        assert chat_in(config) == {"template": "auto", "system": "Be brief."}
        config.stage = "sft"
        assert chat_in(config) == {}


@pytest.mark.release
def test_show_says_how_texts_are_generated(writes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "task=writes", "samples=4", "temperature=0.5"]) == 0
    assert "4 samples, drawn, temperature 0.5, max_new_tokens 9" in capsys.readouterr().out
    assert cli.main(["show", "task=writes", "samples=4"]) == 2
    assert "generation.samples=4 would change nothing" in capsys.readouterr().err
