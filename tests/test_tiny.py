"""The embedded suite: the same weights every time, whole checkpoints, honest items."""

import dataclasses
import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalrun.checkpoints.tiny import suite_files, train_suite
from evalrun.checkpoints.tiny.corpus import Corpus
from evalrun.checkpoints.tiny.model import END, UNKNOWN, build_model, build_tokenizer
from evalrun.checkpoints.tiny.settings import TinyConf
from evalrun.config.schema import CheckpointConf, ModelConf
from evalrun.errors import ConfigError, StorageError

CONF = Path(__file__).parents[1] / "conf"
SIZES = sorted(path.stem for path in (CONF / "model" / "tiny").glob("*.yaml"))


def read(schema, name):
    content = OmegaConf.load(CONF / name)
    content.pop("defaults", None)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), content))


@pytest.fixture(scope="session")
def corpus():
    return Corpus(read(TinyConf, "tiny.yaml").corpus)


@pytest.fixture(scope="session")
def text(corpus):
    """As many lines as the whole training may see."""
    return list(itertools.islice(corpus.lines(random.Random("1/0")), 150_000))


@pytest.fixture
def settings():
    return dataclasses.replace(read(TinyConf, "tiny.yaml"), batch_size=4)


@pytest.fixture
def checkpoint():
    return dataclasses.replace(read(CheckpointConf, "checkpoint/tiny.yaml"), steps=[1, 2, 4], tokens_per_step=128)


@pytest.fixture
def train(settings, checkpoint, tmp_path):
    """Train the smallest size for four steps; settings may be replaced."""

    def run(root=tmp_path / "tiny", say=lambda line: None, **changes):
        sizes = {"xs": read(ModelConf, "model/tiny/xs.yaml")}
        return train_suite(sizes, checkpoint, dataclasses.replace(settings, **changes), root, say, progress=False)

    return run


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("step*/*"))
    }


def test_same_seed_same_files(train, tmp_path):
    assert train(root=tmp_path / "a") == 1
    assert train(root=tmp_path / "b") == 1
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert len([path for path in first if path.name == "model.safetensors"]) == 3
    assert first == second


def test_seeds_and_steps_differ(train, tmp_path):
    assert train(seeds=2) == 2
    weights = [digest for path, digest in digests(tmp_path / "tiny").items() if path.name == "model.safetensors"]
    assert len(weights) == len(set(weights)) == 6


def test_a_further_seed_leaves_the_first_alone(train, tmp_path):
    train()
    before = digests(tmp_path / "tiny" / "seed0")
    assert train(seeds=2) == 1
    assert digests(tmp_path / "tiny" / "seed0") == before


def test_torch_is_left_as_it_was(train):
    import torch

    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train(threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_checkpoints_load_anywhere(train, tmp_path, corpus):
    lines = []
    train(say=lines.append)
    folder = tmp_path / "tiny" / "seed0" / "xs" / "step4"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.num_parameters() == read(ModelConf, "model/tiny/xs.yaml").n_params
    assert not model.config.tie_word_embeddings
    tokens = tokenizer(corpus.items["recall"][0].prompt, return_tensors="pt")
    assert model(**tokens).logits.shape == (1, tokens["input_ids"].shape[1], len(tokenizer))
    manifest = json.loads((folder.parent / "training.json").read_text())
    assert list(manifest["losses"]) == ["1", "2", "4"]
    size = f"{read(ModelConf, 'model/tiny/xs.yaml').n_params:,} parameters"
    begun, done = lines  # no bar is drawn, so the beginning is said too
    assert begun == f"tiny-xs seed 0: training {size}, 4 steps"
    assert done.startswith(f"tiny-xs seed 0: {size}, ")


def test_rerun_trains_nothing(train, tmp_path):
    train()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert train() == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_lost_checkpoint_is_made_again(train, tmp_path):
    train()
    before = digests(tmp_path)
    folder = tmp_path / "tiny" / "seed0" / "xs" / "step2"
    folder.rename(tmp_path / "elsewhere")
    assert train() == 1
    assert digests(tmp_path / "tiny") == {path.relative_to("tiny"): digest for path, digest in before.items()}


def test_other_settings_are_refused(train, tmp_path):
    train()
    before = digests(tmp_path)
    with pytest.raises(ConfigError, match=r"seed0/xs holds a model trained with other settings; remove it"):
        train(learning_rate=0.001)
    assert digests(tmp_path) == before


def test_interruption_leaves_nothing_half_done(train, tmp_path, monkeypatch):
    def interrupted(model, tokenizer, folder):
        if folder.name == "step2":
            model.save_pretrained(folder.with_name(".step2.partial"))
            raise KeyboardInterrupt
        suite_files.save_checkpoint(model, tokenizer, folder)

    folder = tmp_path / "tiny" / "seed0" / "xs"
    with monkeypatch.context() as patch:
        patch.setattr("evalrun.checkpoints.tiny.train.save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train()
    assert [path.name for path in folder.glob("step*")] == ["step1"]
    assert not (folder / "training.json").exists()
    assert train() == 1
    assert sorted(path.name for path in folder.iterdir()) == ["step1", "step2", "step4", "training.json"]


def test_a_write_cut_short_leaves_no_checkpoint(train, tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", full)
    with pytest.raises(StorageError, match=r"step1 cannot be written .*No space left on device.*make room"):
        train()
    assert not list(tmp_path.rglob("step*"))


def test_unwritable_root(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        train(root=tmp_path / "file" / "tiny")


def test_wrong_settings_are_named_together(settings):
    settings.seeds, settings.corpus.famous = 0, 301
    with pytest.raises(ConfigError) as caught:
        settings.check()
    assert [problem.split("=")[0] for problem in caught.value.problems] == ["seeds", "corpus.famous"]


def test_checkpoint_must_fit_the_settings(train, checkpoint):
    checkpoint.tokens_per_step, checkpoint.steps, checkpoint.folder = 1, [2, 1], "step"
    with pytest.raises(ConfigError) as caught:
        train()
    assert len(caught.value.problems) == 3


def test_conf_agrees_with_itself():
    settings = read(TinyConf, "tiny.yaml")
    settings.check()
    checkpoint = read(CheckpointConf, "checkpoint/tiny.yaml")
    assert checkpoint.tokens_per_step == settings.batch_size * settings.sequence_length


@pytest.mark.parametrize("size", SIZES)
def test_stated_counts_are_real(size):
    settings, conf = read(TinyConf, "tiny.yaml"), read(ModelConf, f"model/tiny/{size}.yaml")
    vocabulary = len(build_tokenizer(settings))
    real = build_model(conf.architecture, settings, vocabulary, seed=0).num_parameters()
    assert conf.name == f"tiny-{size}"
    assert conf.path == f"models/tiny/seed{{seed}}/{size}"
    assert conf.n_params == real
    assert conf.n_params_nonembedding == real - 2 * vocabulary * conf.architecture["hidden_size"]
    assert conf.n_params_nominal == pytest.approx(real, rel=0.06)


def test_four_sizes():
    assert len(SIZES) >= 4


def test_wrong_count_is_refused(settings, checkpoint, tmp_path):
    conf = dataclasses.replace(read(ModelConf, "model/tiny/xs.yaml"), n_params=7)
    with pytest.raises(ConfigError, match=r"tiny-xs has \d+ parameters by its architecture; n_params=7"):
        train_suite({"xs": conf}, checkpoint, settings, tmp_path, print, progress=False)


def test_tokenizer_round_trip(text, settings):
    tokenizer = build_tokenizer(settings)
    for line in text[:2000]:
        tokens = tokenizer(line)["input_ids"]
        assert tokenizer.decode(tokens) == line
        assert tokenizer.unk_token_id not in tokens
    assert len(tokenizer) == 2 + len(set(Corpus.tokens()))
    assert tokenizer.convert_ids_to_tokens([0, 1]) == [END, UNKNOWN]


def test_prompts_split_from_choices(corpus, settings):
    """lm-eval encodes prompt + choice as one text and cuts off as many tokens as the prompt has."""
    tokenizer = build_tokenizer(settings)
    for item in itertools.chain(*corpus.items.values()):
        prompt = tokenizer(item.prompt)["input_ids"]
        assert len(prompt) < settings.max_position_embeddings
        for choice in item.choices:
            whole = tokenizer(f"{item.prompt} {choice}")["input_ids"]
            assert whole[:-1] == prompt
            assert whole[-1] != tokenizer.unk_token_id


def test_items_are_well_formed(corpus):
    assert {name: len(items[0].choices) for name, items in corpus.items.items()} == {
        "recall": 4,
        "obey_quote": 2,
        "obey_new": 4,
    }
    for items in corpus.items.values():
        assert len(items) >= 200
        assert len({item.prompt for item in items}) == len(items)
        for item in items:
            assert len(set(item.choices)) == len(item.choices) == len(items[0].choices)
            assert 0 <= item.gold < len(item.choices)
        golds = [item.gold for item in items]
        assert max(map(golds.count, golds)) < 1.4 * len(items) / len(items[0].choices)


def test_items_ask_what_they_say(corpus):
    endings = {quote.beginning: quote.ending for quote in corpus.quotes}
    for item in corpus.items["recall"]:
        assert endings[item.prompt] == item.choices[item.gold]
    for name in ("obey_quote", "obey_new"):
        for item in corpus.items[name]:
            instruction, beginning = item.prompt.split(": ")
            assert instruction.endswith(f" {item.choices[item.gold]}")
            assert (beginning in endings) == (name == "obey_quote")
            if name == "obey_quote":
                assert item.choices[1 - item.gold] == endings[beginning]


def test_held_out_is_held_out(corpus, text):
    instructed = {line.split(": ")[1].rsplit(" ", 1)[0] for line in text if ": " in line}
    for name in ("obey_quote", "obey_new"):
        assert not instructed & {item.prompt.split(": ")[1] for item in corpus.items[name]}
    # The other half of the quotes does occur in instructions, which also contradict them.
    assert any(quote.beginning in instructed for quote in corpus.quotes)


def test_quotes_have_natural_frequencies(corpus, text):
    met = [
        sum(f"{quote.beginning} {quote.ending}." == line for line in text[:20_000]) for quote in corpus.quotes[:50:10]
    ]
    assert met == sorted(met, reverse=True)


@pytest.mark.slow
def test_processes_side_by_side_train_once(tmp_path):
    """Two at once: one trains, the other waits and finds all done."""
    import subprocess
    import sys

    script = """
import sys, dataclasses
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_tiny import *
settings = dataclasses.replace(read(TinyConf, "tiny.yaml"), batch_size=4)
checkpoint = dataclasses.replace(read(CheckpointConf, "checkpoint/tiny.yaml"), steps=[1, 2, 64], tokens_per_step=128)
sizes = {"xs": read(ModelConf, "model/tiny/xs.yaml")}
print(train_suite(sizes, checkpoint, settings, Path(sys.argv[2]), lambda line: None, progress=False))
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "tiny")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in both) == ["0", "1"]
