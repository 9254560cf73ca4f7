"""A checkpoint on a server: the answers of this process' own scorer, whatever befalls the connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from completion_server import CompletionServer, serving
from evalrun import checkpoints
from evalrun.checkpoints.unloaded import describe
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError, TaskError
from evalrun.scoring import open_lm
from evalrun.scoring.engines.engine_model import EngineLM
from evalrun.scoring.engines.server_client import ServerClient
from evalrun.scoring.engines.server_model import ServerLM
from evalrun.tasks.text_rule import TextRule
from helpers import make_checkpoint
from random_models import CONF

SERVER = replace(
    CONF, name="server", softmax_dtype=None, concurrency=4, retries=4, backoff_s=0.01, timeout_s=20, start_s=60,
    check_most="4GB", check_tolerance=0.1,
)  # fmt: skip
TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}
PAIRS = [("the cat sat", " on"), ("the cat sat", " mat tree"), ("", "a dog ran"), ("question : a b c", " yes no")]
UNTIL = {"until": ["dog"], "max_gen_toks": 6, "do_sample": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("served") / "step1", seed=1)


@pytest.fixture
def server(folder: Path) -> Iterator[CompletionServer]:
    with serving(folder) as found:
        yield found


def located(folder: Path) -> checkpoints.ResolvedCheckpoint:
    cell = Checkpoint(
        suite="toy", model="toy-s", n_params=1, n_params_nonembedding=1, n_params_nominal=1, step=1, tokens=1,
        seed=None, location=str(folder), revision=None,
    )  # fmt: skip
    return checkpoints.ResolvedCheckpoint(cell, "x", folder, None)


def on(server: CompletionServer, **conf: Any) -> ServerLM:
    loaded = describe(located(server.folder), server.folder, TRUST, "file")
    made = replace(SERVER, **conf)
    client = ServerClient(server.url + "/v1", made)
    return ServerLM(loaded.model, loaded.tokenizer, made, client, made.served_model, lambda number: None)


def local(folder: Path) -> Any:
    loaded = checkpoints.load(located(folder), folder, "float32", "cpu", TRUST)
    return open_lm(loaded.model, loaded.tokenizer, replace(CONF, name="lm_eval"), lambda number: None)


def asked(kind: str, *args: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, one, 0, metadata=("mine", place, 1)) for place, one in enumerate(args)]


def written(*prompts: str, **how: Any) -> list[Instance]:
    return asked("generate_until", *((prompt, {**UNTIL, **how}) for prompt in prompts))


def same(lm: EngineLM, folder: Path) -> None:
    """That log-likelihoods, whole texts and greedy texts are those of lm-eval's own path."""
    reference, choices = local(folder), asked("loglikelihood", *PAIRS)
    for (value, greedy), (expected, likeliest) in zip(
        lm.loglikelihood(choices), reference.loglikelihood(choices), strict=True
    ):
        assert value == pytest.approx(expected, abs=1e-4)
        assert greedy == likeliest
    texts = asked("loglikelihood_rolling", ("the cat sat on the mat",), ("a dog",))
    read, expected = lm.read_texts(texts, TextRule()), reference.read_texts(texts, TextRule())
    assert {text: one.nats for text, one in read.items()} == pytest.approx(
        {text: one.nats for text, one in expected.items()}, abs=1e-4
    )


def test_answers_are_those_of_the_local_scorer(server: CompletionServer, folder: Path) -> None:
    lm = on(server)
    same(lm, folder)
    requests = written("the cat sat", "question : yes", "a b c d")
    told: dict[int, Any] = {}
    found = lm.generate(requests, told.__setitem__)
    assert found == local(folder).generate(requests)
    assert [told[place] for place in range(3)] == found
    assert lm.engine["server"] == "vllm 0.0.test"


def test_samples_are_drawn_by_seeds_of_their_own(server: CompletionServer) -> None:
    lm = on(server)
    one, other = written("the cat sat", "a b", do_sample=True, temperature=5.0)
    found = lm.generate([one, one, one, other])
    assert len({text.whole for text in found[:3]}) > 1
    assert lm.generate([other, one, one])[1:] == found[:2]  # whatever else is asked
    for payload in server.texts:
        assert (payload["top_p"], payload["top_k"], payload["min_p"]) == (1.0, 0, 0.0)  # no settings of the server's


@pytest.mark.parametrize("fault", ["429", "500", "broken", "half", "garbage", "late"])
def test_what_is_lost_is_asked_again(fault: str, server: CompletionServer, folder: Path) -> None:
    lm = on(server, timeout_s=1.5 if fault == "late" else 20)
    requests = written("the cat sat", "question : yes", "a b c d")
    server.faults = [fault] * 3
    assert lm.generate(requests) == local(folder).generate(requests)


def test_a_server_that_stays_away_is_a_sentence(server: CompletionServer) -> None:
    lm = on(server, retries=2)
    server.faults = ["503"] * 30
    with pytest.raises(CheckpointError, match=r"does not answer /v1/completions after 3 tries: 503 told to answer 503"):
        lm.generate(written("the cat"))
    server.shutdown()
    server.server_close()
    with pytest.raises(CheckpointError, match=r"after 3 tries: the connection is refused\. Start it"):
        on(server, retries=2)


def test_what_a_server_cannot_do_is_refused_before_it_is_asked(server: CompletionServer, folder: Path) -> None:
    for how in ({"scores": False}, {"ignores_echo": True}):
        for name, value in {"scores": True, "ignores_echo": False, **how}.items():
            setattr(server, name, value)
        lm = on(server)
        before = len(server.said)
        with pytest.raises(
            TaskError, match=r"task 'mine' asks for log-likelihoods of given answers, and vllm .* echo|no"
        ):
            lm.loglikelihood(asked("loglikelihood", *PAIRS))
        with pytest.raises(TaskError, match=r"asks for log-likelihoods of whole texts"):
            lm.read_texts(asked("loglikelihood_rolling", ("the cat",)), TextRule())
        assert len(server.said) == before
        requests = written("the cat sat", "a b c d")
        assert lm.generate(requests) == local(folder).generate(requests)
    with pytest.raises(TaskError, match=r"task 'mine' has num_beams=4 in its generation_kwargs"):
        lm.generate(written("a", num_beams=4))


def test_a_server_that_takes_text_alone_gives_the_same(server: CompletionServer, folder: Path) -> None:
    server.takes_tokens, server.owner = False, "llama-cpp-python"
    lm = on(server)
    same(lm, folder)
    requests = written("the cat sat", "a b c d")
    for found, expected in zip(lm.generate(requests), local(folder).generate(requests), strict=True):
        assert (found.text, found.tokens) == (expected.text, None)


def test_names_and_addresses_that_are_wrong(server: CompletionServer) -> None:
    with pytest.raises(CheckpointError, match=r"serves no 'mine' \(scorer\.served_model\): choose from: /"):
        on(server, served_model="mine")
    with pytest.raises(CheckpointError, match=r"lists no models under /v1/models \(404 no such path\): scorer\.url is"):
        ServerClient(f"{server.url}/elsewhere", SERVER).models()


def test_a_key_is_sent_and_said_nowhere(
    server: CompletionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.key = "sk-very-secret"
    with pytest.raises(CheckpointError, match=r"wrong key None\): set EVALRUN_API_KEY"):
        on(server)
    monkeypatch.setenv("EVALRUN_API_KEY", "sk-another-secret")
    with pytest.raises(CheckpointError, match=r"wrong key Bearer \*\*\*"):
        on(server)
    monkeypatch.setenv("EVALRUN_API_KEY", "sk-very-secret")
    lm = on(server)
    lm.generate(written("the cat"))
    assert "secret" not in caplog.text + str(lm.engine)


def test_an_end_of_thinking_that_no_text_shows_is_refused_before_anything_is_asked(server: CompletionServer) -> None:
    server.owner = "llamacpp"
    lm = on(server)
    lm.think_end_token = 5
    before = len(server.said)
    with pytest.raises(CheckpointError, match="chat.think_end is a special token, 5"):
        lm.generate(written("the cat sat"))
    assert len(server.said) == before
