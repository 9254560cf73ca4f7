"""The pieces of reading other people's results: model arguments, task names, counts from standard errors."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import simple_parse_args_string

from evalrun.checkpoints.suites import known_steps
from evalrun.commands.ingest.assemble import _counted
from evalrun.commands.ingest.model_args import model_args, split
from evalrun.commands.ingest.models import ModelEntry, Models, UnknownModelError
from evalrun.commands.ingest.task_names import Tasks
from evalrun.config.compose import hydra_session
from evalrun.config.schema import CheckpointConf, ModelConf
from evalrun.errors import ConfigError
from evalrun.tasks import task_file

plain = st.text(st.characters(blacklist_characters=",=", blacklist_categories=["Cs", "Z", "Cc"]), min_size=1)
values = st.text(st.characters(blacklist_characters=",", blacklist_categories=["Cs", "Z", "Cc"]))


@given(st.dictionaries(plain, values))
def test_arguments_come_apart_as_they_were_put_together(pairs: dict[str, str]) -> None:
    assert split(",".join(f"{name}={value}" for name, value in pairs.items())) == pairs


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    args = model_args(text)
    assert isinstance(args.pretrained, str)
    hash(args)


junk = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=4)


@given(st.dictionaries(st.text(), junk) | junk)
def test_anything_that_json_holds_can_be_read(given_: Any) -> None:
    hash(model_args(given_, given_, given_))


@given(plain, plain, st.permutations(["pretrained", "revision", "device", "batch_size"]))
def test_order_and_neutral_arguments_do_not_matter(path: str, revision: str, order: list[str]) -> None:
    pairs = {"pretrained": path, "revision": revision, "device": "cuda:0", "batch_size": "1"}
    text = model_args(",".join(f"{name}={pairs[name]}" for name in order))
    assert text == model_args(pairs) == model_args({"pretrained": path, "revision": revision})


@pytest.mark.parametrize("text", ["0012345", "7e20000", "1_000", "true"])
def test_a_revision_that_lm_eval_read_as_a_number_is_said_to_be_lost(text: str) -> None:
    filed = simple_parse_args_string(f"pretrained=org/m,revision={text}")
    models = Models([known("org/m", folder=None, revision="step{step}")])
    with pytest.raises(UnknownModelError, match=f'filed as {filed["revision"]}, .* such as "step'):
        models.cell(model_args(json.loads(json.dumps(filed))))
    with pytest.raises(UnknownModelError, match="revision '12345' is no released step"):
        models.cell(model_args({"pretrained": "org/m", "revision": "12345"}))


def test_a_revision_that_is_a_number_is_still_the_step_that_it_names() -> None:
    models = Models([known("org/m", folder=None, revision="{step}")])
    assert models.cell(model_args({"pretrained": "org/m", "revision": 2})).step == 2


def test_a_comma_within_a_value() -> None:
    assert split("pretrained=/a,b/c,revision=x=y") == {"pretrained": "/a,b/c", "revision": "x=y"}
    assert split("junk,a=1") == {"a": "1"}


def test_what_may_change_numbers_is_kept() -> None:
    args = model_args("pretrained=a,tokenizer=a,prefix_token_id=0,load_in_4bit=True,dtype=auto,parallelize=True")
    assert (args.dtype, args.other) == ("4bit", (("prefix_token_id", "0"),))
    assert model_args("pretrained=a,dtype=torch.bfloat16").dtype == "bfloat16"
    assert model_args("", "EleutherAI/pythia-70m", "step1").pretrained == "EleutherAI/pythia-70m"
    assert model_args("pretrained=a/b,subfolder=step3").pretrained == "a/b/step3"


def known(path: str, name: str = "m", **checkpoint: Any) -> ModelEntry:
    conf: dict[str, Any] = {"suite": "s", "steps": [1, 2, 64], "tokens_per_step": 10, "folder": "step{step}"}
    sizes = {"n_params": 1, "n_params_nonembedding": 1, "n_params_nominal": 1}
    return ModelEntry(ModelConf(name=name, path=path, **sizes), CheckpointConf(**(conf | checkpoint)))


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 64]), st.sampled_from(["", "/data/x/", "./"]))
def test_the_seed_and_the_step_are_read_from_the_path(seed: int, step: int, start: str) -> None:
    models = Models([known("models/seed{seed}/s"), known("models/seed{seed}/m", "n")])
    cell = models.cell(model_args(f"pretrained={start}models/seed{seed}/s/step{step}"))
    assert (cell.model, cell.seed, cell.step, cell.tokens) == ("m", seed, step, 10 * step)
    assert cell.location == f"models/seed{seed}/s/step{step}"


@given(st.text(max_size=30))
def test_no_other_text_is_a_checkpoint(text: str) -> None:
    models = Models([known("models/seed{seed}/s"), known("org/m-{seed}", "n", folder=None, revision="step{step}")])
    with pytest.raises(UnknownModelError):
        models.cell(model_args({"pretrained": text, "revision": "step3"}))


def test_a_name_of_two_models_is_not_guessed() -> None:
    models = Models([known("org/m", "a", folder=None, revision="step{step}"), known("x/m", "b")])
    with pytest.raises(UnknownModelError, match="several of ours"):
        models.cell(model_args("pretrained=/data/m/step2"))
    assert models.cell(model_args("pretrained=org/m,revision=step2")).model == "a"


def test_every_configured_checkpoint_is_recognised_by_its_own_place() -> None:
    with hydra_session():
        models = Models()
    assert {"pythia-70m", "pythia-12b", "tiny-s"} <= {each.model.name for each in models.known}
    for each in models.known:
        if each.checkpoint.steps is None:  # the hub knows them
            continue
        for step in (known_steps(each.config) or [])[-3:]:
            cell = each.cell(step, seed=None)
            revision = {"revision": cell.revision} if cell.revision else {}
            assert models.cell(model_args({"pretrained": cell.location, **revision})) == cell


def test_aliases_name_the_papers_tasks() -> None:
    tasks = Tasks()
    names = {"isp_memo_trap": "memo_trap", "inverse_scaling_neqa": "neqa", "isp_redefine": "redefine"}
    names |= {"inverse_scaling_hindsight_neglect_10shot": "hindsight_neglect", "memo_trap": "memo_trap"}
    for theirs, ours in names.items():
        (part,) = tasks.parts(theirs, ["acc"])
        assert (part.task.name, part.metrics) == (ours, {"acc": "acc"})
    (other,) = tasks.parts("inverse_scaling_redefine_math", ["acc"])
    assert other.task.name != "redefine"  # the older, different data set
    mc = {part.task.name: part.metrics for part in tasks.parts("truthfulqa_mc", ["mc1", "mc2"])}
    assert mc == {"truthfulqa_mc1": {"mc1": "acc"}, "truthfulqa_mc2": {"mc2": "acc"}}
    (unknown,) = tasks.parts("hendrycksTest-anatomy", ["acc", "acc_norm"])
    assert (unknown.task.name, unknown.task.title) == ("hendrycksTest-anatomy", "hendrycksTest-anatomy")


def test_no_shipped_alias_is_claimed_twice_or_is_a_task_of_its_own() -> None:
    own = set(task_file.own_names())
    for path in task_file.own_names().values():
        assert not own & {str(a) for a in (task_file.load(path).get("metadata") or {}).get("aliases", [])}
    two = {name: {"metadata": {"aliases": ["x"]}} for name in ("a", "b")}
    with pytest.raises(ConfigError, match="alias 'x' of task b means a already"):
        Tasks(two)


@given(st.integers(2, 30000), st.data())
def test_a_share_and_its_standard_error_give_the_number_of_items(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(1, n - 1))
    share = right / n
    assert _counted({"acc": share}, {"acc": math.sqrt(share * (1 - share) / (n - 1))}) == n


def test_no_count_from_what_is_no_share() -> None:
    assert _counted({"acc": 0.3964393297897789}, {"acc": 0.014272205007905018}) is None  # TruthfulQA-MC2
    assert _counted({"acc": 1.0}, {"acc": 0.0}) is None
    assert _counted({"acc": math.nan}, {}) is None
