"""What docs/reference/surprises.md says of other libraries, asked of the installed ones.

Where one of these fails, an upgrade changed the library: mend the row, and look whether what evalrun does about it is
still wanted.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import hydra
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from lm_eval.api.group import AggMetricConfig, Group
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import stop_sequences_criteria
from lm_eval.tasks import TaskManager
from lm_eval.utils import simple_parse_args_string
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.telemetry import utils as telemetry
from omegaconf import OmegaConf
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from helpers import ROOT
from made_tokenizers import pieces, save

SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA = LlamaConfig(intermediate_size=64, **SMALL)
IDS = torch.tensor([[3, 7, 9, 4, 11, 2]])


def test_the_page_is_of_the_installed_versions() -> None:
    page = (ROOT / "docs" / "reference" / "surprises.md").read_text()
    packages = {"lm-eval": "lm_eval", "Hydra": "hydra-core", "MLflow": "mlflow"}
    said = re.findall(r"(\S+) (\d+\.\d+\.\d+)", "\n".join(re.findall(r"^## (.*)", page, re.MULTILINE)))
    assert len(said) == 7
    assert {name: version(packages.get(name, name)) for name, _ in said} == dict(said)


# lm-eval


def lm_eval_task(rows: list[dict[str, Any]], split: str = "test", **keys: Any) -> Any:
    data = datasets.DatasetDict({split: datasets.Dataset.from_list(rows)})
    config = {"task": "made", "custom_dataset": lambda **_: data, f"{split}_split": split, "num_fewshot": 0} | keys
    return ConfigurableTask(config=config)


def choosing(rows: list[dict[str, Any]], **keys: Any) -> Any:
    common = {
        "output_type": "multiple_choice", "doc_to_text": "{{prompt}}", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    task = lm_eval_task(rows, **common | keys)
    task.build_all_requests(rank=0, world_size=1)
    return task


def scores(task: Any, *loglikelihoods: float) -> dict[str, float]:
    return dict(task.process_results(task.eval_docs[0], [(value, False) for value in loglikelihoods]))


def test_lm_eval_takes_the_first_choice_where_nothing_is_a_number_and_the_first_of_equal_ones() -> None:
    task = choosing([{"prompt": "It", "choices": ["ran", "run"], "answer": 0}])
    assert scores(task, math.nan, math.nan)["acc"] == 1.0
    assert scores(task, -2.0, -2.0)["acc"] == 1.0
    assert scores(choosing([{"prompt": "It", "choices": ["ran", "ran"], "answer": 1}]), -2.0, -2.0)["acc"] == 0.0


def test_lm_eval_normalises_by_characters() -> None:
    task = choosing([{"prompt": "It", "choices": ["aé", "bbb"], "answer": 1}])
    assert scores(task, -1.0, -1.2)["acc_norm"] == 1.0  # by bytes both have three, and the first would win


def test_lm_eval_reads_numerals_as_indices() -> None:
    task = choosing([{"prompt": "1", "choices": ["one", "two"], "answer": 0}])
    assert [request.args for request in task.instances] == [("one", " 0"), ("two", " 0")]
    sums = [{"prompt": "One and one is", "choices": ["1", "2", "3"], "answer": "2"}]
    assert scores(choosing(sums), -3.0, -1.0, -2.0)["acc"] == 0.0
    assert scores(choosing(sums, doc_to_target="answer"), -3.0, -1.0, -2.0)["acc"] == 1.0


def test_lm_eval_writes_a_missing_value_as_none_and_a_misspelt_column_as_the_prompt() -> None:
    rows = [{"prompt": None, "choices": ["a", "b"], "answer": 0}]
    assert choosing(rows).instances[0].args[0] == "None"
    assert choosing(rows, doc_to_text="promt").instances[0].args[0] == "promt"


@pytest.mark.parametrize(
    ("keys", "own"),
    [
        ({"split": "test"}, True),
        ({"split": "test", "fewshot_split": "test"}, False),
        ({"split": "validation"}, False),
        ({"split": "validation", "fewshot_split": "validation"}, True),
    ],
)
def test_lm_eval_shows_the_asked_row_among_its_examples(keys: dict[str, str], own: bool) -> None:
    rows = [{"question": f"Item {i}:", "answer": f"answer-{i}"} for i in range(8)]
    task = lm_eval_task(
        rows, output_type="generate_until", doc_to_text="{{question}}", doc_to_target="{{answer}}",
        metric_list=[{"metric": "exact_match"}], **keys,
    )  # fmt: skip
    task.set_fewshot_seed(1234)
    assert any(row["answer"] in task.fewshot_context(row, 4) for row in task.eval_docs) is own
    with pytest.raises((ValueError, AssertionError)):
        task.fewshot_context(rows[0], 9)


def test_lm_eval_ends_a_batch_when_every_row_has_met_one_and_the_same_stop() -> None:
    tokenizer = SimpleNamespace(
        encode=lambda text, **_: [0],
        batch_decode=lambda rows: ["".join("-ab"[i] for i in row) for row in rows.tolist()],
    )
    several: Any = stop_sequences_criteria(tokenizer, ["a", "b"], 0, 2)
    assert not several(torch.tensor([[0, 1], [0, 2]]), None).any()  # each row has met a stop
    one: Any = stop_sequences_criteria(tokenizer, ["a"], 0, 2)
    assert one(torch.tensor([[0, 1], [1, 2]]), None).all()


def test_transformers_draws_among_the_fifty_likeliest_unless_it_is_told_otherwise() -> None:
    config = GPTNeoXConfig(
        vocab_size=200,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        eos_token_id=None,
    )
    model, start = GPTNeoXForCausalLM(config).eval(), torch.ones(1, 1, dtype=torch.long)
    drawn = {"do_sample": True, "temperature": 100.0, "num_return_sequences": 1000, "max_new_tokens": 1}
    assert len(model.generate(start, **drawn)[:, 1].unique()) <= 50
    assert len(model.generate(start, **drawn, top_k=0)[:, 1].unique()) > 150


def test_lm_eval_takes_no_unknown_key_but_in_a_metric() -> None:
    rows = [{"prompt": "It", "choices": ["ran", "run"], "answer": 0}]
    with pytest.raises(TypeError, match="doc_to_txt"):
        choosing(rows, doc_to_txt="{{prompt}}")
    choosing(rows, metric_list=[{"metric": "acc", "agregation": "mean"}])


def test_lm_eval_notes_a_named_chat_template_and_renders_the_default() -> None:
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    tokenizer.chat_template = {"default": "the default", "mine": "the named one"}
    lm: Any = SimpleNamespace(tokenizer=tokenizer, chat_template_args={})
    assert HFLM.chat_template(lm, "mine") == "the named one"
    assert HFLM.apply_chat_template(lm, [{"role": "user", "content": "x"}]) == "the default"


def test_lm_eval_reads_arguments_as_numbers() -> None:
    texts = ("7e20000", "0012345", "1_000", "7c20000")
    found = [simple_parse_args_string(f"revision={text}")["revision"] for text in texts]
    assert found == [math.inf, 12345, 1000.0, "7c20000"]


def test_lm_eval_reads_a_limit_of_one_as_one_item_and_less_as_a_share() -> None:
    task: Any = SimpleNamespace(eval_docs=range(12))
    assert [get_sample_size(task, limit) for limit in (0.3, 0.5, 1.0, 1.5)] == [4, 6, 1, 1]


YAML = """task: {name}
custom_dataset: null
output_type: multiple_choice
test_split: test
doc_to_text: from {folder}
doc_to_choice: choices
doc_to_target: answer
"""


def test_lm_eval_takes_the_later_of_two_tasks_of_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(YAML.format(name="mine", folder=folder))
    known = TaskManager(include_path=[str(tmp_path / "one"), str(tmp_path / "two")], include_defaults=False)
    assert known.task_index["mine"].yaml_path == tmp_path / "two" / "mine.yaml"
    assert "overrides existing task" in caplog.text


def test_lm_eval_averages_the_leaves_of_a_group_and_writes_na() -> None:
    leaves = [choosing([{"prompt": "It", "choices": ["ran", "run"], "answer": 0}], task=name) for name in "abc"]
    inner, outer = (Group(name, aggregate_metric_list=[AggMetricConfig("acc", weight_by_size=False)]) for name in "io")
    for task in leaves[1:]:
        inner.add(task)
    outer.add(leaves[0])
    outer.add(inner)
    values = {name: {"acc,none": value, "sample_len": 1} for name, value in zip("abc", (1.0, 1.0, 0.0), strict=True)}
    found = outer.aggregate(values)
    assert found["acc,none"] == pytest.approx(2 / 3)  # and not the mean of 1.0 and 0.5
    assert found["acc_stderr,none"] == "N/A"
    assert {"name", "alias", "sample_len"} < set(found)


def tiny_lm(folder: Path, begin: bool) -> Any:
    raw = pieces(begin=begin)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(intermediate_size=64, max_position_embeddings=8, **SMALL | {"vocab_size": 450})
    )
    made = AutoTokenizer.from_pretrained(save(raw, folder, "PreTrainedTokenizerFast"))
    return HFLM(pretrained=model, tokenizer=made, batch_size=1)


def asked(*texts: str) -> list[Instance]:
    return [Instance("loglikelihood", {}, texts, 0)]


def test_lm_eval_asserts_where_a_continuation_is_too_long_and_a_prompt_is_a_space(tmp_path: Path) -> None:
    adds, adds_not = (tiny_lm(tmp_path / str(begin), begin) for begin in (True, False))
    adds_not.loglikelihood(asked("walk", " the" * 8), disable_tqdm=True)
    adds.loglikelihood(asked(" ", "the"), disable_tqdm=True)
    for lm, *pair in ((adds_not, "walk", " the" * 9), (adds_not, " ", "the")):
        with pytest.raises(AssertionError):
            lm.loglikelihood(asked(*pair), disable_tqdm=True)


def test_lm_eval_scores_what_a_tokenizer_adds_to_a_whole_text(tmp_path: Path) -> None:
    adds, adds_not = (tiny_lm(tmp_path / str(begin), begin) for begin in (True, False))
    ids = adds_not.tok_encode("the old man")
    assert adds.tok_encode("the old man") == [adds.prefix_token_id, *ids]
    with torch.no_grad():
        logprobs = adds.model(torch.tensor([[1, 1, *ids]])).logits[0].log_softmax(-1)
    twice = sum(float(logprobs[i, token]) for i, token in enumerate([1, *ids]))
    assert adds.loglikelihood_rolling(asked("the old man"), disable_tqdm=True) == [pytest.approx(twice, abs=1e-3)]
    assert adds_not.loglikelihood_rolling(asked("the old man"), disable_tqdm=True)[0] != pytest.approx(twice, abs=1e-2)


# MLflow


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/store.db"
    found = MlflowClient(uri, uri)
    found.set_experiment_tag("0", "opened", "yes")
    return found


@pytest.fixture
def run_id(client: Any) -> str:
    return str(client.create_run("0").info.run_id)


def latest(client: Any, *values: float, steps: tuple[int, int] = (1, 1), times: tuple[int, int] = (5, 5)) -> float:
    run = client.create_run("0").info.run_id
    for value, step, time in zip(values, steps, times, strict=True):
        client.log_batch(run, [Metric("loss", value, time, step)])
    return float(client.get_run(run).data.metrics["loss"])


def test_mlflow_keeps_no_infinity_and_counts_nan_as_nought(client: Any) -> None:
    assert latest(client, math.inf, math.inf) == sys.float_info.max
    assert latest(client, 0.1, math.nan) == latest(client, math.nan, 0.1) == 0.1
    assert math.isnan(latest(client, -0.1, math.nan))
    assert math.isnan(latest(client, math.nan, -0.1))


def test_mlflow_shows_the_value_of_the_last_step_not_of_the_last_moment(client: Any) -> None:
    assert latest(client, 0.5, 0.9, steps=(1000, 2), times=(5, 9)) == 0.5
    assert latest(client, 0.9, 0.5) == latest(client, 0.5, 0.9) == 0.9
    assert latest(client, 0.9, 0.5, times=(5, 6)) == 0.5


def test_mlflow_finds_a_nan_by_unequal_alone(client: Any, run_id: str) -> None:
    client.log_metric(run_id, "lost", math.nan)
    signs = (">", ">=", "<", "<=", "=", "!=")
    assert [len(client.search_runs(["0"], f"metrics.lost {sign} 0")) for sign in signs] == [0, 0, 0, 0, 0, 1]


def test_mlflow_compares_no_param_by_size(client: Any) -> None:
    for size in ("1000", "'1000'"):
        with pytest.raises(MlflowException):
            client.search_runs(["0"], f"params.step > {size}")


def test_mlflow_cuts_long_params_and_tags_and_refuses_long_names(
    client: Any, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.log_batch(run_id, params=[Param("long", "x" * 6001)], tags=[RunTag("long", "x" * 8001)])
    data = client.get_run(run_id).data
    assert (len(data.params["long"]), len(data.tags["long"])) == (6000, 8000)
    client.log_metric(run_id, "k" * 250, 1.0)
    for key in ("k" * 251, "acc,none", "acc=1"):
        with pytest.raises(MlflowException):
            client.log_metric(run_id, key, 1.0)


def test_mlflow_lets_no_param_change_and_keeps_nothing_beside_one_that_would(client: Any, run_id: str) -> None:
    client.log_param(run_id, "seed", 1)
    with pytest.raises(MlflowException):
        client.log_batch(run_id, params=[Param("seed", "1.0"), Param("other", "1")])
    assert client.get_run(run_id).data.params == {"seed": "1"}


def test_mlflow_lists_a_thousand_runs_unless_asked_for_more(client: Any) -> None:
    with pytest.raises(MlflowException):
        client.search_runs(["0"], max_results=50_001)


def test_mlflow_cannot_read_back_some_artifact_names(client: Any, run_id: str, tmp_path: Path) -> None:
    lost = []
    for name in ("a#b.txt", "a?b.txt", "a%41.txt", "a b.txt", "a+b.txt"):
        (tmp_path / name).write_text(name)
        client.log_artifact(run_id, str(tmp_path / name))
        try:
            client.download_artifacts(run_id, name)
        except (MlflowException, OSError):
            lost.append(name)
    assert lost == ["a#b.txt", "a?b.txt", "a%41.txt"]
    assert len(client.list_artifacts(run_id)) == 5


def test_mlflow_tells_no_data_apart_by_lists_booleans_and_texts_with_gaps() -> None:
    def same(old: list[Any], new: list[Any]) -> bool:
        digests = {from_pandas(pd.DataFrame({"q": ["a", "b"], "x": values})).digest for values in (old, new)}
        return len(digests) == 1

    assert same([["1"], ["2"]], [["3"], ["4"]])
    assert same([True, False], [False, True])
    assert same(["a", None], ["b", None])
    assert not same(["a", "b"], ["b", "b"])


def test_mlflow_reads_do_not_track_by_the_word_true_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_IS_IN_CI_ENV_OR_TESTING", False)  # where it is off anyway
    off = []
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        for value in ("1", "true", ""):
            monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
            monkeypatch.setenv("DO_NOT_TRACK", "")
            monkeypatch.setenv(name, value or "false")
            off.append(telemetry.is_telemetry_disabled())
    assert off == [False, True, False, True, True, False]


# Hydra and OmegaConf


def elements(word: str) -> list[Any]:
    override = OverridesParser.create().parse_override(word)
    return list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]


def test_hydra_reads_dots_as_a_word_and_ranges_with_their_rounding() -> None:
    assert elements("step=2,4,...,143000")[2] == "..."
    assert elements("x=range(0.1,0.4,0.1)")[-1] == pytest.approx(0.4)
    assert elements("x=range(1.0,2.0,0.5)")[-1] == 1.5
    assert elements("x=range(1,10,3)") == [1, 4, 7]


def test_hydra_reads_names_as_numbers() -> None:
    assert [elements(f"x={text}")[0] for text in ("1_000", "7e20000", "1.10", "1:30")] == [1000, math.inf, 1.1, "1:30"]
    assert elements("x=.5e3") == [500.0]
    assert OmegaConf.create("x: .5e3").x == ".5e3"
    assert OmegaConf.create("x: 2024_11_28").x == 20241128


def hydra_main(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str, leave: bool = False
) -> tuple[list[Any], Any]:
    """What the jobs of a sweep got, and the exit code; None: it came back."""
    ran: list[Any] = []

    def job(config: Any) -> None:
        ran.append(config.g.v)
        if leave:
            sys.exit(0)

    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.sweep.dir={folder / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["app", "-m", *words, *quiet])
    try:
        hydra.main(version_base=None, config_path=str(folder), config_name="config")(job)()
    except SystemExit as left:
        return ran, left.code
    return ran, None


def test_hydra_looks_into_no_subfolder_and_ends_where_a_job_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("defaults: [{g: a}, _self_]\n")
    for value, name in enumerate(("a", "b", "sub/c")):
        (tmp_path / "g" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "g" / f"{name}.yaml").write_text(f"v: {value}\n")
    assert hydra_main(tmp_path, monkeypatch, "g=glob(*)") == ([0, 1], None)
    assert hydra_main(tmp_path, monkeypatch, "g=glob(sub/*)") == ([], None)
    assert hydra_main(tmp_path, monkeypatch, "g=a,b", leave=True) == ([0], 0)


# transformers and peft


@pytest.fixture
def llama(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    LlamaForCausalLM(LLAMA).save_pretrained(tmp_path)
    return tmp_path, load_file(tmp_path / "model.safetensors")


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    return found


def test_transformers_takes_the_dtype_of_the_first_tensor(llama: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, state = llama
    changed(folder, lambda config: config.pop("dtype"))
    for half, found in (("lm_head.weight", torch.float16), ("model.embed_tokens.weight", torch.float32)):
        some = {name: value.half() if name == half else value for name, value in state.items()}
        save_file(some, folder / "model.safetensors", {"format": "pt"})
        assert {weight.dtype for weight in AutoModelForCausalLM.from_pretrained(folder).parameters()} == {found}


def test_transformers_draws_what_is_missing_and_drops_what_is_unknown(
    llama: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    folder, state = llama
    name = "model.layers.0.mlp.down_proj.weight"
    others = {other: value for other, value in state.items() if other != name}
    save_file({**others, "model.layers.7.mlp.down_proj.weight": state[name]}, folder / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()[name]
    assert loaded.isfinite().all()
    assert not torch.equal(loaded, state[name])


def test_transformers_ignores_a_rope_theta_beside_rope_parameters(llama: tuple[Path, Any]) -> None:
    folder, _ = llama
    before = logits(folder)
    changed(folder, lambda config: config.update(rope_theta=5.0))
    assert torch.equal(logits(folder), before)
    changed(folder, lambda config: config.pop("rope_parameters"))
    assert not torch.equal(logits(folder), before)
    assert AutoConfig.for_model("gpt_neox", rope_theta=5).rope_parameters["rope_theta"] == 10000


def test_transformers_loads_the_old_file_beside_new_shards(llama: tuple[Path, Any]) -> None:
    folder, _ = llama
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.nn.init.ones_(model.lm_head.weight)
    model.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists()
    assert not AutoModelForCausalLM.from_pretrained(folder).lm_head.weight.eq(1).all()


def test_transformers_applies_an_adapter_to_the_model_it_was_merged_into(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    tuned = get_peft_model(LlamaForCausalLM(LLAMA), lora).eval()
    tuned.save_pretrained(str(tmp_path))
    with torch.no_grad():
        right = tuned(IDS).logits
    tuned.merge_and_unload().save_pretrained(tmp_path)
    assert (logits(tmp_path) - right).abs().max() > 1e-3
    (tmp_path / "adapter_config.json").unlink()
    assert (logits(tmp_path) - right).abs().max() < 1e-5


def test_transformers_takes_the_normaliser_of_the_class_for_that_of_the_file(tmp_path: Path) -> None:
    words = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(words, []))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.save(str(tmp_path / "tokenizer.json"))
    equal = []
    for name in ("PreTrainedTokenizerFast", "GPT2Tokenizer"):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
        equal.append(AutoTokenizer.from_pretrained(tmp_path)("The")["input_ids"] == made.encode("The").ids)
    assert equal == [True, False]


def test_gpt_neox_calls_its_head_otherwise_in_the_file(tmp_path: Path) -> None:
    model = GPTNeoXForCausalLM(GPTNeoXConfig(intermediate_size=64, **SMALL))
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() ^ model.state_dict().keys() == {"embed_out.weight", "lm_head.weight"}
    saved["lm_head.weight"] = torch.zeros_like(saved["embed_out.weight"])
    save_file(saved, tmp_path / "model.safetensors", {"format": "pt"})
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path).lm_head.weight, saved["embed_out.weight"])


def test_gpt2_counts_positions_from_the_padding_on() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)).eval()
    torch.nn.init.normal_(model.transformer.wpe.weight)
    pads = torch.zeros(1, 3, dtype=torch.long)
    mask = torch.cat([pads, torch.ones_like(IDS)], 1)
    with torch.no_grad():
        right = model(IDS).logits
        left = model(torch.cat([pads, IDS], 1), attention_mask=mask).logits[:, 3:]
        after = model(torch.cat([IDS, pads], 1), attention_mask=mask.flip(1)).logits[:, : IDS.shape[1]]
    assert (left - right).abs().max() > 0.01
    assert (after - right).abs().max() < 1e-4


# datasets


def loaded(path: Path, *values: Any) -> Any:
    path.write_text("".join(json.dumps({"x": value}) + "\n" for value in values))
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent))[0]["x"]


def test_datasets_makes_timestamps_of_texts_and_floats_of_large_numbers(tmp_path: Path) -> None:
    assert str(loaded(tmp_path / "dates.jsonl", "1990-10-03", "2001-01-31")) == "1990-10-03 00:00:00"
    assert loaded(tmp_path / "mixed.jsonl", "1990-10-03", "unknown") == "1990-10-03"
    assert isinstance(loaded(tmp_path / "large.jsonl", 2**63 + 1), float)


def test_datasets_reads_texts_of_a_csv_as_gaps_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\nNone,01\nNA,02\nx,03\n")
    rows = datasets.load_dataset(
        "csv", data_files=str(tmp_path / "rows.csv"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [tuple(row.values()) for row in rows] == [(None, 1), (None, 2), ("x", 3)]


# Statistics


@pytest.fixture(scope="module")
def sample() -> tuple[pd.DataFrame, Any]:
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(8), 6)
    x = rng.normal(size=48) + rng.normal(size=8)[group]
    y = 0.4 * x + rng.normal(size=8)[group] + rng.normal(size=48)
    return pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=48), "g": group}), group


def test_statsmodels_gives_two_p_values_for_the_same_clustered_errors(sample: tuple[pd.DataFrame, Any]) -> None:
    data, group = sample
    fit = smf.ols("y ~ x + z", data)
    one, two = fit.fit(cov_type="cluster", cov_kwds={"groups": group}), fit.fit()
    two = two.get_robustcov_results("cluster", groups=group)
    assert one.bse.to_numpy() == pytest.approx(two.bse)
    assert one.pvalues["x"] == pytest.approx(2 * stats.norm.sf(abs(one.tvalues["x"])))
    assert two.pvalues[1] == pytest.approx(2 * stats.t.sf(abs(two.tvalues[1]), 7))


def test_statsmodels_ignores_clusters_in_a_sequential_anova(sample: tuple[pd.DataFrame, Any]) -> None:
    data, group = sample
    fit = smf.ols("y ~ x + z", data)
    clustered = fit.fit(cov_type="cluster", cov_kwds={"groups": group})
    equal = [
        sm.stats.anova_lm(clustered, typ=typ)["F"]["x"]
        == pytest.approx(sm.stats.anova_lm(fit.fit(), typ=typ)["F"]["x"])
        for typ in (1, 2)
    ]
    assert equal == [True, False]


def test_statsmodels_scales_by_the_population_and_a_random_effect_by_the_residual(
    sample: tuple[pd.DataFrame, Any],
) -> None:
    data, _ = sample
    scaled, plain = smf.ols("y ~ scale(x)", data).fit().params, smf.ols("y ~ x", data).fit().params
    assert scaled["scale(x)"] == pytest.approx(plain["x"] * data["x"].std(ddof=0))
    mixed = smf.mixedlm("y ~ x", data, groups="g").fit()
    assert mixed.params["g Var"] == pytest.approx(mixed.cov_re.iloc[0, 0] / mixed.scale)


def test_statsmodels_shrinks_the_dispersion_of_counts() -> None:
    rng = np.random.default_rng(0)
    x = sm.add_constant(rng.normal(size=30))
    right = rng.binomial(40, 1 / (1 + np.exp(-0.5 * x[:, 1] - 0.7 * rng.normal(size=30))))
    counts = sm.GLM(np.column_stack([right, 40 - right]), x, family=sm.families.Binomial()).fit(scale="X2")
    shares = sm.GLM(right / 40, x, family=sm.families.Binomial(), var_weights=np.full(30, 40)).fit(scale="X2")
    assert shares.bse / counts.bse == pytest.approx(np.sqrt(40))
    assert shares.scale == pytest.approx(counts.pearson_chi2 / 28)


def test_statsmodels_says_nothing_of_a_constant() -> None:
    data = pd.DataFrame({"a": np.repeat(np.arange(8.0), 8), "b": np.tile(np.arange(8.0), 8), "y": 0.7})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = smf.ols("y ~ a * b", data).fit()
    assert np.isfinite(fit.tvalues.to_numpy()).all()
    assert abs(fit.params["a"]) < 1e-12


def test_statsmodels_rejects_hypotheses_whose_corrected_p_is_nan() -> None:
    reject, p = multipletests([0.001, 0.002, math.nan, 0.9], method="fdr_bh")[:2]
    assert reject.any()
    assert np.isnan(p).all()
    with pytest.warns(RuntimeWarning):
        assert mcnemar([[5, 0], [0, 5]], exact=False).pvalue == 0.0
    assert mcnemar([[5, 0], [0, 5]], exact=True).pvalue == 1.0


# torch


def test_torch_gives_a_row_of_a_batch_other_last_bits_and_half_precision_no_sum_of_one() -> None:
    torch.manual_seed(0)
    found = torch.randn(64, 50_000).half().log_softmax(-1)
    exact = torch.randn(64, 50_000).half().log_softmax(-1, dtype=torch.float32)
    assert (found.float().exp().sum(-1) - 1).abs().max() > 1e-4
    assert (exact.exp().sum(-1) - 1).abs().max() < 1e-4
