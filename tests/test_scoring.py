"""Scoring: the numbers are lm-eval's own, item by item, and nothing leaks from one checkpoint to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalrun import scoring
from evalrun.config.schema import ScorerConf
from evalrun.tasks import builder, task_file
from helpers import make_checkpoint, shared_dir

CONF = ScorerConf("lm_eval", "auto", "float32", "cpu", 8, False, 100)


def checkpoint(folder: Path) -> scoring.CheckpointLM:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return scoring.CheckpointLM(model, AutoTokenizer.from_pretrained(folder), CONF, lambda rows: None)


def test_items_hold_every_choice(workspace: Path) -> None:
    built = builder.build(task_file.resolve(["alpha"]), None)
    lm = checkpoint(workspace / "models" / "toy-s" / "step4")
    score = scoring.score(lm, {"alpha": built["alpha"]}, None, 100)["alpha"]
    items = score.items
    assert (score.primary, score.n, score.num_fewshot) == ("acc", 12, 0)
    assert items["doc_id"].tolist() == list(range(12))
    right = [int(np.argmax(lp) == int(target)) for lp, target in zip(items["logprobs"], items["target"], strict=True)]
    assert right == items["acc"].tolist()
    assert items["prediction"].tolist() == [int(np.argmax(lp)) for lp in items["logprobs"]]
    assert score.metrics["acc"] == pytest.approx(np.mean(right))
    assert score.stderrs["acc"] == pytest.approx(np.std(right, ddof=1) / np.sqrt(12))
    assert scoring.count_requests(built["alpha"], None) == sum(len(lp) for lp in items["logprobs"])
    assert scoring.count_requests(built["alpha"], 2) == 5


def test_log_likelihoods_are_the_models_own(workspace: Path) -> None:
    """Against the definition: the sum of log-softmax at the choice's tokens."""
    import torch

    built = builder.build(task_file.resolve(["alpha"]), None)
    lm = checkpoint(workspace / "models" / "toy-m" / "step2")
    items = scoring.score(lm, {"alpha": built["alpha"]}, None, 100)["alpha"].items
    task = built["alpha"]
    for row, doc in enumerate(task.eval_docs):
        for choice, logprob in zip(task.doc_to_choice(doc), items["logprobs"][row], strict=True):
            context = lm.tokenizer(task.doc_to_text(doc), add_special_tokens=False)["input_ids"]
            whole = lm.tokenizer(f"{task.doc_to_text(doc)} {choice}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_softmax = lm.model(torch.tensor([whole])).logits[0].log_softmax(-1)
            own = sum(float(log_softmax[i - 1, whole[i]]) for i in range(len(context), len(whole)))
            assert logprob == pytest.approx(own, abs=1e-4)


def test_fewshot_examples_do_not_depend_on_what_was_scored_before(workspace: Path) -> None:
    built = builder.build(task_file.resolve(["alpha"]), 2)
    lm = checkpoint(workspace / "models" / "toy-s" / "step4")
    first = scoring.score(lm, {"alpha": built["alpha"]}, None, 100)["alpha"]
    second = scoring.score(lm, {"alpha": built["alpha"]}, None, 100)["alpha"]
    assert first.num_fewshot == 2
    assert first.items["prompt_hash"].tolist() == second.items["prompt_hash"].tolist()
    assert np.concatenate(first.items["logprobs"].tolist()) == pytest.approx(
        np.concatenate(second.items["logprobs"].tolist())
    )
    zero = scoring.score(lm, builder.build(task_file.resolve(["alpha"]), None), None, 100)["alpha"]
    assert zero.items["prompt_hash"].tolist() != first.items["prompt_hash"].tolist()


REAL = ("memo_trap", "neqa", "truthfulqa_mc1", "truthfulqa_mc2", "arc_easy")


@pytest.fixture(scope="module")
def pythia_shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind the real tokenizer of all Pythia models."""
    tokenizer = shared_dir() / "data" / "tokenizer" / "20B_tokenizer.json"
    return make_checkpoint(tmp_path_factory.mktemp("pythia") / "model", 1, hidden=32, tokenizer_file=tokenizer)


def reference(name: str, folder: Path) -> dict[str, Any]:
    """The same task as lm-eval's users write it, from scratch or from lm-eval's own file."""
    data = folder / "data" / "tasks"
    if name in ("memo_trap", "neqa"):
        release = data / f"{name.replace('_', '-')}_classification.jsonl"
        return {
            "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(release)}},
            "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "prompt", "target_delimiter": "",
            "doc_to_choice": "{{classes}}", "doc_to_target": "answer_index", "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                            {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}],
        }  # fmt: skip
    from lm_eval.tasks._yaml_loader import load_yaml

    suite = {"arc_easy": "arc"}.get(name, "truthfulqa")
    config = load_yaml(task_file.lm_eval_tasks() / suite / f"{name}.yaml")
    release = data / ("arc_easy_test.jsonl" if name == "arc_easy" else "truthfulqa_multiple_choice.jsonl")
    split = "test" if name == "arc_easy" else "validation"
    unused = dict.fromkeys({"training_split", "validation_split", "test_split"} - {f"{split}_split"})
    data_files = {"data_files": {split: str(release)}}
    return {**config, **unused, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": data_files, "tag": None}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_data_gives_the_numbers_of_lm_eval_itself(name: str, pythia_shaped: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    limit = 8 if "truthful" in name else 24  # its prompts are long and its choices many
    theirs = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(pythia_shaped), "dtype": "float32", "logits_cache": False},
        tasks=[reference(name, shared_dir())],
        task_manager=TaskManager(include_defaults=False),
        device="cpu", batch_size=4, limit=limit, bootstrap_iters=100,
    )  # fmt: skip
    file = task_file.resolve([name], str(shared_dir() / "data" / "tasks"))
    ours = scoring.score(checkpoint(pythia_shaped), builder.build(file, None), limit, 100)[name]
    for metric, value in ours.metrics.items():
        assert value == pytest.approx(theirs["results"][name][f"{metric},none"], abs=1e-6)
    for metric, value in ours.stderrs.items():
        assert value == pytest.approx(theirs["results"][name][f"{metric}_stderr,none"], abs=1e-6)
    samples = sorted(theirs["samples"][name], key=lambda sample: sample["doc_id"])
    assert [sample["prompt_hash"] for sample in samples] == ours.items["prompt_hash"].tolist()
    for sample, row in zip(samples, ours.items.itertuples(), strict=True):
        own = [answer[0] for answer in sample["filtered_resps"]]
        assert list(row.logprobs) == pytest.approx(own, abs=2e-4)
        assert int(np.argmax(own)) == row.prediction
