"""A checkpoint is answered with its own weights, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from completion_server import CompletionServer, serving
from evalrun import checkpoints
from evalrun.checkpoints.ready import ReadyCheckpoint
from evalrun.checkpoints.unloaded import describe
from evalrun.config.schema import Config, GenerationConf
from evalrun.errors import CheckpointError
from evalrun.scoring import scorers
from evalrun.scoring.engines import protocol
from evalrun.scoring.engines.opened import opened
from helpers import make_checkpoint
from scoring.test_server_engine import SERVER, TRUST, located

HOW: dict[str, dict[str, Any]] = {  # what a server may be able to tell
    "prompt": {},
    "written": {"scores": False, "logprobs": True},
    "llama.cpp": {"scores": False, "llama": True, "owner": "llamacpp"},
    "greedy": {"scores": False, "logprobs": False, "owner": "?"},
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    for step in (1, 2, 3):
        make_checkpoint(folder / f"step{step}", seed=step)
    return folder


@pytest.fixture
def server(steps: Path) -> Iterator[CompletionServer]:
    with serving(steps / "step1") as found:
        yield found


@pytest.fixture
def said(server: CompletionServer, steps: Path, tmp_path: Path) -> Callable[..., str]:
    """What is seen of a step's weights; `shared` where it may have another's."""

    def see(step: int, weights: str | None = None, shared: bool = False, **conf: Any) -> str:
        folder = steps / f"step{step}"
        place = located(folder)
        place = replace(place, cell=replace(place.cell, step=step))
        loaded = describe(place, folder, TRUST, "file")
        digest = weights or checkpoints.weights_digest(place, folder)
        scorer = replace(SERVER, url=server.url, cache=str(tmp_path / "cache"), **conf)
        config = Config(scorer=scorer, generation=GenerationConf(seed=0), allow_shared_weights=shared)
        ready = ReadyCheckpoint(place, folder, digest, "server", loaded, "float32")
        with opened(config, ready, scorers, tmp_path, lambda number: None) as lm:
            return lm.engine["weights_checked"]

    return see


@pytest.mark.parametrize("how", ["prompt", *(pytest.param(how, marks=pytest.mark.release) for how in [*HOW][1:])])
def test_weights_of_the_checkpoint_before_are_refused(
    how: str, server: CompletionServer, steps: Path, said: Callable[..., str]
) -> None:
    for name, value in HOW[how].items():
        setattr(server, name, value)
    seen = said(1)
    assert "transformers'" in seen
    assert said(1) == seen  # again
    with pytest.raises(CheckpointError, match=r"answers for toy-s step 2 gives the same .* as for toy-s step 1, whose"):
        said(2)
    server.load(steps / "step2")
    assert said(2).startswith("answers differ from those of 1 other checkpoint")
    server.load(steps / "step3")  # of a step that was never asked for
    with pytest.raises(CheckpointError, match=r"the weights of toy-s step 1 do not answer: "):
        said(1)


def test_whose_weights_answer_is_said(server: CompletionServer, steps: Path, said: Callable[..., str]) -> None:
    said(1)
    server.load(steps / "step2")
    said(2)
    for parameter in server.model.parameters():  # so that the digits are not those of step 2
        parameter.data.mul_(1.0005)
    with pytest.raises(
        CheckpointError, match=r"toy-s step 1 do not answer: .* and 0\.0\d+ from those of toy-s step 2\."
    ):
        said(1)
    with pytest.raises(CheckpointError, match=r"toy-s step 1 do not answer: .* of toy-s step 2\."):
        said(1, check_tolerance=100.0)  # near enough, but nearer to another


def test_without_a_reference_equal_answers_are_still_refused(
    server: CompletionServer, said: Callable[..., str]
) -> None:
    assert said(1, check_most="1KB").startswith("not compared with transformers: its weights are 0.0 GB, and scorer.ch")
    for conf, why in (({"check_most": "0"}, ""), ({"quantization": "q4_k_m"}, "another name for other answers")):
        if why:
            assert said(2, **conf) == "not compared with transformers: it is served as q4_k_m"
            continue
        with pytest.raises(CheckpointError, match=r"same log-probabilities, to the last digit, as for toy-s step 1"):
            said(2, **conf)
        said(2, shared=True, **conf)


def test_files_with_equal_weights_may_answer_alike(server: CompletionServer, said: Callable[..., str]) -> None:
    said(1, weights="a")
    said(1, weights="a")
    with pytest.raises(CheckpointError, match=r"If the two do hold equal weights, say allow_shared_weights=true"):
        said(1, weights="b")


def told_of(number: int, own: list[int], bytes_told: list[int]) -> dict[str, Any]:
    """What llama.cpp tells of a token: the bytes of the parts of a character before it are told with it."""
    likeliest = {"id": number, "bytes": own, "logprob": -1.5}
    return {"id": number, "bytes": bytes_told, "logprob": -1.5, "top_logprobs": [likeliest]}


def test_parts_of_characters_which_llama_cpp_tells_together_are_not_read_as_one_token() -> None:
    whole, joined = told_of(64, [97], [97]), told_of(69, [101], [206, 101])

    def written(*content: dict[str, Any]) -> protocol.WrittenTokens | None:
        return protocol.written_tokens({"choices": [{"text": "", "logprobs": {"content": list(content)}}]})

    assert written(whole, whole, joined, whole) == protocol.WrittenTokens([-1.5, -1.5], [64, 64])
    assert written(joined, whole) is None  # then it is held to its texts
    bare = {key: whole[key] for key in ("id", "logprob")}
    assert written(bare) == protocol.WrittenTokens([-1.5], [64])
