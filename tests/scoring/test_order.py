"""A checkpoint's numbers are its own: whatever was scored before it in the process, and by which scorer."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalrun import checkpoints
from evalrun.core.records import Checkpoint
from evalrun.scoring import open_lm, shared_prefix
from evalrun.scoring.scorer_cache import ScorerCache
from helpers import WORDS, make_checkpoint, whole_word_tokenizer
from random_models import CONF, assert_same

TRUST = {"remote_code": False, "pickle": False}
CONFS = {"shared_prefix": CONF, "lm_eval": replace(CONF, name="lm_eval")}


def says(**keys: Any) -> Callable[[Path], None]:
    """What changes keys of config.json."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | keys))

    return change


def turns_otherwise(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    says(rope_parameters=config["rope_parameters"] | {"partial_rotary_factor": 1.0})(folder)


def really_tied(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "embed_out.weight"}, file, metadata={"format": "pt"})
    says(tie_word_embeddings=True)(folder)


def more_words(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in ("embed_out.weight", "gpt_neox.embed_in.weight"):
        tensors[name] = torch.cat([tensors[name], tensors[name][:3] * 2])
    save_file(tensors, file, metadata={"format": "pt"})
    says(vocab_size=len(WORDS) + 5)(folder)


def other_words(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    whole_word_tokenizer(len(WORDS) + 2).save_pretrained(folder)


# Each changes one thing from what stands before it.
KINDS: dict[str, Callable[[Path], None]] = {
    "plain": lambda folder: None,
    "config ties, file does not": says(tie_word_embeddings=True),
    "tied": really_tied,
    "rope": turns_otherwise,
    "half": says(dtype="float16"),
    "vocabulary": more_words,
    "tokenizer": other_words,
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("suite")
    made = {}
    for number, (name, change) in enumerate(KINDS.items()):
        made[name] = make_checkpoint(root / str(number), seed=1)
        change(made[name])
    return made


def load(folder: Path) -> tuple[Any, Any]:
    located = checkpoints.locate(Checkpoint("s", "m", 1, 1, 1, 1, 1, None, str(folder), None))
    loaded = checkpoints.load(located, folder, "auto", "cpu", TRUST)
    return loaded.model, loaded.tokenizer


def fresh() -> ScorerCache:
    shared_prefix._checked.clear()
    return ScorerCache(open_lm)


class Request:
    """lm-eval's, as far as a scorer looks at it."""

    task_name = "words"

    def __init__(self, *args: str) -> None:
        self.args = args


REQUESTS = [Request(" ".join(WORDS[i : i + 6]), f" {word}") for i in range(8) for word in WORDS[i + 2 : i + 5]]


def answers(session: ScorerCache, folder: Path, conf: Any) -> list[tuple[float, bool]]:
    model, tokenizer = load(folder)
    with session.scorer(model, tokenizer, conf, lambda number: None) as lm:
        found: list[tuple[float, bool]] = lm.loglikelihood(REQUESTS)
        return found


@pytest.mark.parametrize("scorer", CONFS)
def test_a_checkpoint_in_a_sweep_is_the_same_alone_in_any_order(suite: dict[str, Path], scorer: str) -> None:
    alone = {name: answers(fresh(), folder, CONFS[scorer]) for name, folder in suite.items()}
    assert (
        len({str(found) for found in alone.values()}) == len(KINDS) - 1
    )  # all but the first two differ, so that a mix-up would show
    pairs = [(name, name) for name in KINDS]  # the second keeps the scorer of the first
    pairs += random.Random(0).sample(list(itertools.permutations(KINDS, 2)), 6 if scorer == "lm_eval" else 18)
    session = fresh()
    for name in itertools.chain.from_iterable(pairs):
        assert answers(session, suite[name], CONFS[scorer]) == alone[name], name


@pytest.mark.parametrize("scorer", CONFS)
def test_the_head_is_that_of_the_file(suite: dict[str, Path], scorer: str) -> None:
    """Where config.json ties it to the input embedding and the file holds another: the file's, from the first on."""
    folder = suite["config ties, file does not"]
    found = answers(fresh(), folder, CONFS[scorer])
    assert_same(found, answers(fresh(), suite["plain"], CONFS[scorer]), within=1e-5)
    model, tokenizer = load(folder)
    tokens = torch.tensor([tokenizer.encode("".join(REQUESTS[0].args))])
    with torch.inference_mode():
        hidden = model.gpt_neox(tokens).last_hidden_state[0, -2]
    logits = load_file(folder / "model.safetensors")["embed_out.weight"] @ hidden
    assert found[0][0] == pytest.approx(float(logits.log_softmax(-1)[tokens[0, -1]]), abs=1e-4)
