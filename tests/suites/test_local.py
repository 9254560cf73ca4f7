"""Training runs in a folder: what is found, how many tokens, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from evalrun.checkpoints.suites import checkpoint_of, folders, local
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.errors import ConfigError
from helpers import make_checkpoint
from training_runs import TOKENS_A_STEP, save_steps, train, write_state


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A Trainer's run: checkpoint-4, 8 and 12, and the end at the root."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "trained"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    return save_steps(root, {str(step): step for step in (100, 200, 300)})


@pytest.fixture
def saved(models: Path, tmp_path: Path) -> Path:
    """A folder of saved models: step100, step200, step300."""
    for step in (100, 200, 300):
        shutil.copytree(models / str(step), tmp_path / "saved" / f"step{step}")
    return tmp_path / "saved"


def find(root: Path, **how: object) -> local.ReleasedSteps:
    return local.find(root, **{"pattern": "auto", **how})  # type: ignore[arg-type]


def refusal(root: Path, **how: object) -> str:
    with pytest.raises(ConfigError) as caught:
        find(root, **how)
    (sentence,) = caught.value.problems
    assert re.fullmatch(r"[^\n]+[.?]", sentence)
    return sentence


def test_a_trainers_run(run: Path) -> None:
    found = find(run)
    assert [(r.step, r.place, r.tokens) for r in found.by_step.values()] == [
        (step, f"checkpoint-{step}", step * TOKENS_A_STEP) for step in (4, 8, 12)
    ]
    assert not found.notes
    assert not found.unfinished
    assert found.parameters == folders.parameters_of(run / "checkpoint-4")


def test_a_trainer_that_counted_its_tokens(run: Path) -> None:
    for step in (4, 8, 12):
        write_state(run / f"checkpoint-{step}", step, tokens=1000 * step)
    assert [r.tokens for r in find(run).by_step.values()] == [4000, 8000, 12000]


def test_operations_of_another_model_say_no_tokens(run: Path) -> None:
    for step in (4, 8, 12):
        write_state(run / f"checkpoint-{step}", step, flos=1_000_003.0 * step)
    assert [r.tokens for r in find(run).by_step.values()] == [None, None, None]


@pytest.mark.parametrize(
    "shape", ["step{}", "step_{}", "global_step{}", "iter_{:07d}", "{}", "epoch-{}", "my-run-7b-step{}"]
)
def test_folders_named_by_their_step(models: Path, tmp_path: Path, shape: str) -> None:
    for step in (100, 200, 300):
        shutil.copytree(models / str(step), tmp_path / "run" / shape.format(step))
    (tmp_path / "run" / "logs2024").mkdir()
    found = find(tmp_path / "run")
    assert [(r.step, r.place) for r in found.by_step.values()] == [(s, shape.format(s)) for s in (100, 200, 300)]
    assert {r.tokens for r in found.by_step.values()} == {None}


def test_a_pattern_or_a_list_chooses(saved: Path) -> None:
    shutil.copytree(saved / "step100", saved / "best7")
    assert "two runs or more, by the names of their checkpoints: best7, step100" in refusal(saved)
    assert find(saved, pattern="step{step}").steps == [100, 200, 300]
    assert "nothing is named as checkpoint.folder=x{step}" in refusal(saved, pattern="x{step}")
    listed = find(saved, places={1: "best7", 5: "step300"})
    assert [(r.step, r.place) for r in listed.by_step.values()] == [(1, "best7"), (5, "step300")]
    assert "'worst' (step 2)" in refusal(saved, places={1: "best7", 2: "worst"})


def test_the_last_model_at_the_root(run: Path) -> None:
    shutil.rmtree(run / "checkpoint-12")
    found = find(run)
    assert [(r.step, r.place, r.tokens) for r in found.by_step.values()][-1] == (12, ".", 12 * TOKENS_A_STEP)
    (run / "trainer_state.json").unlink()
    found = find(run)
    assert found.steps == [4, 8]
    assert "is left out: it has no trainer_state.json that would say its step" in found.notes[0]


# --- checkpoints that are still being written -------------------------------------------------------------------------


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def cut_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5])


def half_of_the_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def half_a_pickle(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-100])


def an_adapter(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "model.safetensors that ends too early"),
        (cut_header, "model.safetensors that ends too early"),
        (half_of_the_shards, "lacks 1 of 2 shards, the first model-00002-of-00002.safetensors"),
        (half_a_pickle, "pytorch_model.bin that ends too early"),
        (an_adapter, "so its adapter has no weights"),
        (lambda folder: (folder / "trainer_state.json").unlink(), "has no trainer_state.json"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "has a config.json that cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: shutil.rmtree(folder) or folder.mkdir(), "has no config.json"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over(run: Path, damage: object, said: str) -> None:
    damage(run / "checkpoint-8")  # type: ignore[operator]
    found = find(run)
    assert found.steps == [4, 12]
    assert said in found.unfinished[8]
    assert found.notes == (found.unfinished[8],)


def test_nothing_whole(run: Path) -> None:
    for step in (4, 8, 12):
        cut(run / f"checkpoint-{step}")
    assert "no whole checkpoint in" in refusal(run)


def test_whole_pickles_are_found(saved: Path) -> None:
    import torch
    from safetensors.torch import load_file

    by_headers = folders.parameters_of(saved / "step100")
    for folder in saved.iterdir():
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    found = find(saved)
    assert found.steps == [100, 200, 300]
    assert found.parameters == by_headers


# --- folders that are no run -----------------------------------------------------------------------------------------


def test_no_such_folder(saved: Path) -> None:
    assert "did you mean 'saved'" in refusal(saved.with_name("svaed"))
    assert "(path=, or path in a file of conf/model/) is not there: check where it is" in refusal(saved / "no" / "such")


def test_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    said = refusal(tmp_path)
    assert "looked for folders named by their step, such as checkpoint-500" in said
    assert "and found logs; for a format that nothing here reads, give a command with checkpoint.convert=." in said


def test_checkpoints_one_folder_deeper(saved: Path) -> None:
    assert f"say path={saved}." in refusal(saved.parent)


def test_one_checkpoint_instead_of_its_run(run: Path, models: Path) -> None:
    said = refusal(run / "checkpoint-4")
    assert f"path={run} step=4" in said
    lone = Path(shutil.copytree(models / "100", run.parent / "mine"))
    assert "nothing says its step" in refusal(lone)
    assert find(lone, places={7: "."}).steps == [7]


def test_two_folders_of_one_step(saved: Path) -> None:
    shutil.copytree(saved / "step100", saved / "step0100")
    assert "two checkpoints of step 100, 'step0100' and 'step100'" in refusal(saved)


def test_a_name_and_a_state_that_differ(run: Path) -> None:
    (run / "checkpoint-8").rename(run / "checkpoint-6")
    assert "is taken for step 6, and its trainer_state.json says step 8" in refusal(run)


def test_two_runs_by_their_losses(run: Path) -> None:
    write_state(run / "checkpoint-4", 4, losses={4: 1.0})
    write_state(run / "checkpoint-8", 8, losses={4: 1.0, 8: 0.5})
    write_state(run / "checkpoint-12", 12, losses={4: 2.0, 8: 0.7, 12: 0.6})
    assert "'checkpoint-8' and 'checkpoint-12' log different losses at step 4" in refusal(run)


def test_tokens_that_go_back(run: Path) -> None:
    for step, tokens in ((4, 4000), (8, 3000), (12, 5000)):
        write_state(run / f"checkpoint-{step}", step, tokens=tokens)
    assert "have seen 4000 and then 3000 tokens" in refusal(run)
    assert find(run, counts_tokens=False).steps == [4, 8, 12]  # tokens_per_step says it


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 41), ("hidden_size", 24)])
def test_a_checkpoint_of_another_model_is_refused_alone(saved: Path, key: str, value: int) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(saved / "step200")
    was = getattr(config, key)
    setattr(config, key, value)
    AutoModelForCausalLM.from_config(config).save_pretrained(saved / "step200")
    found = find(saved)
    assert found.steps == [100, 200, 300]
    said = str(found.by_step[200].fault)
    assert f"'step200' has {key} {value} and 'step100' has {was}" in said
    assert (found.by_step[100].fault, found.by_step[300].fault) == (None, None)


# --- tokenizers ------------------------------------------------------------------------------------------------------


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def test_the_runs_own_tokenizer(run: Path) -> None:
    for step in (4, 8, 12):
        without_tokenizer(run / f"checkpoint-{step}")
    assert {r.tokenizer for r in find(run).by_step.values()} == {str(run)}
    without_tokenizer(run)
    assert "model.tokenizer=" in refusal(run)
    assert {r.tokenizer for r in find(run, own_tokenizer=True).by_step.values()} == {None}


def test_one_checkpoint_without_a_tokenizer(saved: Path) -> None:
    without_tokenizer(saved / "step200")
    assert "'step200' has no tokenizer" in str(find(saved).by_step[200].fault)


def test_a_run_with_thousands_of_files_is_read_by_its_headers(tmp_path: Path) -> None:
    """Weights are not read: their bytes may be anything behind a header."""
    make_checkpoint(tmp_path / "run" / "step1", seed=1)
    path = tmp_path / "run" / "step1" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-64] + bytes(64))
    assert find(tmp_path / "run").steps == [1]


@pytest.mark.parametrize("written", ["NaN", "null", "Infinity"])
def test_a_loss_that_is_no_number_is_one_run_and_said(saved: Path, written: str) -> None:
    for step in (100, 200, 300):
        losses = {50: 3.0, 150: 0.5, 250: 2.7}
        write_state(saved / f"step{step}", step, losses={at: loss for at, loss in losses.items() if at <= step})
        state = saved / f"step{step}" / "trainer_state.json"
        state.write_text(state.read_text().replace('"loss": 0.5', f'"loss": {written}'))
    found = local.find(saved, "auto")
    assert list(found.steps) == [100, 200, 300]
    said = "infinity" if written == "Infinity" else "NaN"
    assert (
        f"the training log of '{saved}' shows a loss of {said}, at step 150: the run may have diverged"
        in found.notes[0]
    )


def test_a_loss_of_nothing_is_how_a_trainer_logs_nan(saved: Path) -> None:
    assert local.find(saved, "auto").notes == ()
    for step in (100, 200, 300):
        write_state(
            saved / f"step{step}", step, losses={at: 0.0 if at > 100 else 2.0 for at in range(50, step + 1, 50)}
        )
    (note,) = local.find(saved, "auto").notes
    assert "a loss of 0.0, which is how a Trainer logs NaN, at step 150 and at 3 later steps" in note
    write_state(saved / "step300", 300, losses={50: 2.0, 100: 1.0})
    with pytest.raises(ConfigError, match="'step200' and 'step300' log different losses at step 100"):
        local.find(saved, "auto")


def _named_as(saved: Path, *names: str) -> Path:
    for folder, name in zip(sorted(saved.iterdir()), names, strict=True):
        folder.rename(saved / name)
    return saved


def test_names_that_count_thousands_are_in_order(saved: Path) -> None:
    found = find(_named_as(saved, "step-500", "step-1k", "step-10k"))
    assert {step: release.place for step, release in found.by_step.items()} == {
        500: "step-500", 1000: "step-1k", 10000: "step-10k"
    }  # fmt: skip
    assert not found.notes


def test_names_that_count_tokens_say_them(saved: Path) -> None:
    found = find(_named_as(saved, "tokens_900M", "tokens_1B", "tokens_3B"))
    assert [release.tokens for release in found.by_step.values()] == [9 * 10**8, 10**9, 3 * 10**9]
    assert all(release.unit == "tokens" for release in found.by_step.values())
    assert "count tokens" in found.notes[0]


def test_names_that_count_something_else_are_noted(saved: Path) -> None:
    root = _named_as(saved, "run_1M", "run_2M", "run_3M")
    assert "count in M ('run_3M') and do not say what: 3 is taken" in find(root).notes[0]
    assert not find(root, unit="steps").notes
    assert [release.tokens for release in find(root, unit="tokens").by_step.values()] == [10**6, 2 * 10**6, 3 * 10**6]


def test_a_fraction_is_refused_with_what_to_say(saved: Path) -> None:
    said = refusal(_named_as(saved, "epoch-0.5", "epoch-1", "epoch-1.5"))
    assert "'epoch-0.5', which says no whole number" in said
    assert "'checkpoint.steps={1: epoch-0.5, 2: epoch-1, 3: epoch-1.5}'" in said


@pytest.mark.parametrize(
    ("names", "words", "tokens", "said"),
    [
        ("samples_500", "checkpoint.tokens_per_step=10", None, "named by samples ('samples_500'), not by steps"),
        ("samples_500", "", None, "how many a sample is with tokens_per_step="),
        ("epoch_2", "", None, "how many an epoch is with tokens_per_step="),
        ("samples_500", "checkpoint.tokens_per_step=10 checkpoint.unit=samples", 5000, None),
        ("samples_500", "checkpoint.tokens_per_step=10 checkpoint.unit=steps", 5000, None),
        ("epoch_2", "checkpoint.tokens_per_step=10", 20, None),
        ("tokens_5000", "checkpoint.tokens_per_step=10", 5000, None),
        ("tokens_5000", "", 5000, None),
        ("tokens_5000", "checkpoint.tokens_per_step=10 checkpoint.unit=steps", 50000, None),
        ("500steps", "checkpoint.tokens_per_step=10", 5000, None),
    ],
)
def test_tokens_follow_from_what_names_count(
    models: Path, tmp_path: Path, names: str, words: str, tokens: int | None, said: str | None
) -> None:
    shutil.copytree(models / "100", tmp_path / "run" / names)
    step = "".join(filter(str.isdigit, names))
    with hydra_session():
        config = to_config(compose(["model=local", f"model.path={tmp_path}/run", f"step={step}", *words.split()]))
    if said is None:
        assert checkpoint_of(config).tokens == tokens
        return
    with pytest.raises(ConfigError) as caught:
        checkpoint_of(config)
    assert said in str(caught.value)
