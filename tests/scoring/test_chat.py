"""Prompts as a conversation: to the character those of lm-eval, and its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from lm_eval.evaluator import evaluate

from evalrun import scoring
from evalrun.errors import CheckpointError, TaskError
from evalrun.scoring.asked_items import asked_items
from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.generation.thinking import answer_in, think_end, unended
from evalrun.tasks import builder, task_file
from evalrun.tasks.chat_prompts import ChatPrompts, chat_prompts
from helpers import write_rows
from made_tokenizers import pieces
from scoring.test_scorable import scorer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
ROWS = [
    {"question": "the old man", "choices": [" walks", " talks", "home"], "answer": 0},
    {"question": "the dog", "choices": [" home", " talked", "it"], "answer": 1},
    {"question": "she", "choices": [" walked", " cost", "and"], "answer": 2},
    {"question": "in 1999", "choices": [" it", " the", "dog"], "answer": 1},
]
SHARED = """data: data/talk.jsonl
doc_to_text: "{{question}}"
description: "Go on."
num_fewshot: 2
fewshot_config: {sampler: first_n}
"""
CHOOSES = "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: answer\nmetric_list: [{metric: acc}]\n"
WRITES = """output_type: generate_until
doc_to_target: "{{choices[answer]}}"
metric_list: [{metric: exact_match}]
generation_kwargs: {until: ["."], max_gen_toks: 5, do_sample: false}
"""
BEGUN = 'gen_prefix: "It says:"\n'


@pytest.fixture
def talk(workspace: Path) -> Path:
    write_rows(workspace / "data" / "talk.jsonl", ROWS)
    for name, own in (("chooses", CHOOSES), ("writes", WRITES), ("begun", CHOOSES + BEGUN), ("open", WRITES + BEGUN)):
        (workspace / "conf" / "task" / f"{name}.yaml").write_text(f"task: {name}\n{SHARED}{own}")
    return workspace


def built(name: str, chat: ChatPrompts | None = None) -> dict[str, Any]:
    return builder.build(task_file.resolve([name]), None, None, chat)


def lm_with(folder: Path, template: Any = TEMPLATE, name: str = "lm_eval") -> Any:
    lm = scorer(folder / "model", pieces(), name=name)
    lm._max_length = 512  # which its rotary positions allow: the beginning of a prompt is to count
    lm.tokenizer.chat_template = template
    return lm


@pytest.mark.parametrize("name", ["chooses", "begun", "writes", "open"])
@pytest.mark.parametrize("system", [None, "Be brief."])
@pytest.mark.parametrize("multiturn", [True, False])
def test_prompts_and_numbers_are_lm_evals(talk: Path, name: str, system: str | None, multiturn: bool) -> None:
    lm, quick = lm_with(talk), lm_with(talk, name="shared_prefix")
    how = {"template": True, "system": system, "fewshot_as_multiturn": multiturn}
    task = built(name, chat_prompts(how, lm.tokenizer, "it"))
    ours = scoring.score(quick, task, None, 0)[name]
    asked = [request.args for request in scoring.rendered(task[name], None)]
    plain = built(name)
    plain[name].set_fewshot_seed(1234)
    theirs: Any = evaluate(
        lm=lm, task_dict=plain, bootstrap_iters=0, log_samples=True,
        apply_chat_template=True, system_instruction=system, fewshot_as_multiturn=multiturn,
    )  # fmt: skip
    samples = theirs["samples"][name]
    assert asked == [argument for sample in samples for argument in sample["arguments"]]
    assert asked[0][0].count("<s>") == 1
    assert asked[0][0].count("[assistant]") == (3 if multiturn else 1)
    if name in ("chooses", "begun"):
        assert ours.metrics["acc"] == theirs["results"][name]["acc,none"]
        said = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]
        assert ours.items["logprobs"].map(list).tolist() == [pytest.approx(one, abs=1e-4) for one in said]
        chars = [[len(choice) for choice in row["choices"]] for row in ROWS]  # type: ignore[arg-type]
        assert [item.choice_chars for item in asked_items(task[name], None)] == chars
    else:
        assert [json.loads(text) for text in ours.items["response"]] == [one["filtered_resps"] for one in samples]


def test_plain_prompts_with_a_system_prompt_are_lm_evals(talk: Path) -> None:
    lm = lm_with(talk, None)
    task = built("chooses", chat_prompts({"template": "auto", "system": "Be brief."}, lm.tokenizer, "it"))
    asked = [request.args for request in scoring.rendered(task["chooses"], None)]
    plain = built("chooses")["chooses"]
    plain.build_all_requests(system_instruction="Be brief.")
    assert asked == [request.args for request in plain.instances]


def test_what_another_template_asks_is_not_taken_for_it(talk: Path) -> None:
    lm = lm_with(talk)
    first = built("chooses", chat_prompts({"template": True}, lm.tokenizer, "it"))["chooses"]
    prompt = scoring.rendered(first, 1)[0].args[0]
    lm.tokenizer.chat_template = TEMPLATE.replace("[assistant] ", "[you] ")
    other = built("chooses", chat_prompts({"template": True}, lm.tokenizer, "it"))["chooses"]
    assert scoring.rendered(other, 1)[0].args[0] == prompt.removesuffix("[assistant] ") + "[you] "
    assert scoring.rendered(first, 1)[0].args[0] == prompt
    assert "[" not in scoring.rendered(built("chooses")["chooses"], 1)[0].args[0]


def test_templates_are_chosen_by_name_and_refused_in_a_sentence(talk: Path) -> None:
    lm = lm_with(talk, {"default": TEMPLATE, "tools": NO_SYSTEM})
    prompts = {name: chat_prompts({"template": name}, lm.tokenizer, "it") for name in (True, "tools", "auto")}
    assert {name: one and one.template for name, one in prompts.items()} == {
        True: TEMPLATE, "tools": NO_SYSTEM, "auto": TEMPLATE,
    }  # fmt: skip
    with pytest.raises(CheckpointError, match="chat.template is 'tool' for it: did you mean 'tools'"):
        chat_prompts({"template": "tool"}, lm.tokenizer, "it")
    lm.tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match="the tokenizer of toy-s step 4 has no chat template"):
        chat_prompts({"template": True}, lm.tokenizer, "toy-s step 4")
    assert chat_prompts({"think_end": "</think>"}, lm.tokenizer, "it") is None


def test_a_template_without_system_prompts_leaves_descriptions_out_as_lm_eval_does(
    talk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm = lm_with(talk, NO_SYSTEM)
    task = built("writes", chat_prompts({"template": True}, lm.tokenizer, "toy-s"))["writes"]
    asked = [request.args[0] for request in scoring.rendered(task, None)]
    assert "takes no system prompt (no system role): the descriptions of tasks are left out" in caplog.text
    assert builder.noted(task) == {"chat_system_dropped": 4}
    plain = built("writes")["writes"]
    plain.set_fewshot_seed(1234)
    plain.build_all_requests(apply_chat_template=True, chat_template=lm.apply_chat_template, fewshot_as_multiturn=True)
    assert asked == [request.args[0] for request in plain.instances]
    with pytest.raises(TaskError, match=r"takes no system prompt \(no system role\): leave chat.system out"):
        scoring.rendered(
            built("writes", chat_prompts({"template": True, "system": "x"}, lm.tokenizer, "toy-s"))["writes"], None
        )


def test_thinking_is_cut_as_lm_eval_cuts_it_and_what_never_ended_is_counted(talk: Path) -> None:
    lm = lm_with(talk)
    (talk / "conf" / "task" / "thinks.yaml").write_text(
        f"task: thinks\n{SHARED}{WRITES}".replace('until: ["."]', 'until: ["zzz"]').replace("toks: 5", "toks: 12")
    )
    task = built("thinks")
    whole = [item["response"] for item in scoring.score(lm, task, None, 0)["thinks"].table.to_pylist()]
    texts = [json.loads(one)[0] for one in whole]
    word = next(part for text in texts for part in text.split() if len(part) > 1)
    lm.think_end_token = think_end(lm.tokenizer, word)
    assert lm.think_end_token == word
    score = scoring.score(lm, task, None, 0)["thinks"]
    theirs: Any = evaluate(lm=lm, task_dict=built("thinks"), bootstrap_iters=0, log_samples=True)
    found = [json.loads(one)[0] for one in score.items["response"]]
    assert found == [text.split(word)[-1].lstrip() for text in texts] != texts
    shown = scoring.score(lm_with(talk), task, None, 0)["thinks"].items["finish"]
    lacking = [word not in text and one[0] == "length" for text, one in zip(texts, shown, strict=True)]
    assert score.unended == sum(lacking)
    assert [one["filtered_resps"][0] for one in theirs["samples"]["thinks"]] == found


def test_a_special_token_ends_thinking_by_its_number() -> None:
    raw = pieces()
    words = {0: "a", 1: "", 2: "b", 7: " c."}

    def decode(tokens: list[int]) -> str:
        return "".join(words[token] for token in tokens)

    assert answer_in("", [0, 1, 2, 1, 7, 0], decode, ["."], 1) == "c"
    assert answer_in("", [0, 2, 7], decode, ["."], 1) == "ab c"
    written = [
        Generated("", "a", (0, 2), "length"),
        Generated("", "a", (0, 1), "length"),
        Generated("", "", (2,), "eos"),
    ]
    assert unended(written, 1) == 1
    assert unended(written, "b") == 2
    assert unended(written, None) == 0
    made: Any = hf.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    assert think_end(made, "</s>") == 2
    assert think_end(None, "</think>") == "</think>"
