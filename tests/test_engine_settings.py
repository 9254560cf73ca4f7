"""Settings of servers and of vLLM: what cannot be right, or would be heeded by nobody, is a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from evalrun.checkpoints import devices
from evalrun.config.engine_settings import command_words, engine_problems
from evalrun.config.schema import Config, ScorerConf
from evalrun.errors import ConfigError
from helpers import ROOT

URL, SERVE = "http://127.0.0.1:8000", "vllm serve {path} --port {port}"


def conf(name: str, **changed: Any) -> ScorerConf:
    """A scorer of conf/, with some settings changed."""
    values: dict[str, Any] = {}
    for file in ("lm_eval", name):
        values |= yaml.safe_load((ROOT / "conf" / "scorer" / f"{file}.yaml").read_text())
    values.pop("defaults", None)
    return ScorerConf(**{**values, **changed})


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("server", {"url": URL, "serve": SERVE}, "and scorer.serve would start a server of its own: leave one"),
        ("server", {"url": "127.0.0.1:8000"}, "scorer.url is '127.0.0.1:8000': write http://HOST:PORT"),
        (
            "server",
            {"url": "http://a:b@host"},
            "scorer.url holds a password or query, which would be kept: set the key as",
        ),
        ("server", {"url": f"{URL}?key=x"}, "EVALRUN_API_KEY in the environment."),
        ("server", {"serve": "vllm serve {path}"}, "it must be a command with {port} and with {path} or {repo}"),
        ("server", {"serve": "vllm 'serve"}, "it must be a command with {port} and with {path} or {repo}"),
        ("server", {"url": URL, "dtype": "float16"}, "scorer.dtype is float16, and the server would not hear of it"),
        (
            "server",
            {"url": URL, "device": "cuda:0"},
            "scorer.device is 'cuda:0', and scorer=server does not choose one",
        ),
        ("server", {"url": URL, "concurrency": 0}, "scorer.concurrency is 0: it must be more than 0."),
        ("server", {"url": URL, "retries": -1}, "scorer.retries is -1: it must be 0 or more."),
        ("server", {"url": URL, "check_most": "big"}, "scorer.check_most is 'big': write a size such as 4GB"),
        (
            "server",
            {"url": URL, "check_tolerance": 0},
            "scorer.check_tolerance is 0: it must be more than 0 nats a token.",
        ),
        ("server", {"url": URL, "verify": 3}, "scorer.verify is 3, which scorer=server has not: leave it out."),
        ("server", {"url": URL, "engine": {"seed": 1}}, "and the scorer is server: it is a setting of scorer=vllm."),
        ("shared_prefix", {"url": URL}, "and the scorer is shared_prefix: it is a setting of scorer=server."),
        ("vllm", {"engine": {"dtype": "half"}}, "scorer.engine has 'dtype', which is set elsewhere: use scorer.dtype="),
        ("vllm", {"logits_cache": True}, "scorer.logits_cache is True, which scorer=vllm has not"),
    ],
)
def test_what_cannot_be_right_is_a_sentence(name: str, changed: dict[str, Any], sentence: str) -> None:
    (said,) = engine_problems(conf(name, **changed))
    assert sentence in said


def test_what_is_right_is_taken() -> None:
    for one in (
        conf("server", url=URL),
        conf("server", serve=SERVE + " --dtype {dtype}", dtype="float16"),
        conf("vllm", dtype="bfloat16"),
        conf("shared_prefix"),
        conf("lm_eval"),
    ):
        assert list(engine_problems(one)) == []


def test_no_shell_reads_what_goes_in_the_places_of_a_command() -> None:
    places = {"path": "a folder/$(x) {port}", "port": "80", "revision": None}
    assert command_words("'my server' -m {path}/x.gguf --port={port} {revision}", places) == [
        "my server", "-m", "a folder/$(x) {port}/x.gguf", "--port=80", "{revision}",
    ]  # fmt: skip


def test_vllm_that_is_not_installed_is_a_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"scorer=vllm needs vLLM, which is not installed here: pip install vllm into"
    ):
        devices.check([Config(scorer=replace(conf("vllm")))])
