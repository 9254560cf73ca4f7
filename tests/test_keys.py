"""Keys of results that are in people's journals: they stay what they were, and what determines a number is in them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.config.scoring_settings import ScoringSettings
from evalrun.grid import job_keys
from evalrun.tasks import recorded, task_file

IDENTITY = "hub:EleutherAI/pythia-70m@abc"
# The run's key, those of its results and the name of the job's state, as the builds before had them.
KEYS = {
    "": "1f8cddcafc3b 8fee26b1c5c2 67d40d5470c7 3bc53d51e6d1",
    "num_fewshot=3": "4af30574da51 bc70a61f0dd2 aa6a06fa4280 4b66d2ee7ebd",
    "limit=10": "70a85da77b27 a7737ace30c8 e81912f035c2 4e8c0b101ce3",
    "profile=as_published": "78f9f82a4034 3ad0d49bb1e3 8f6d4d4a227a fb81da052291",
    "scorer=lm_eval": "a260223e2159 33983bfd58ec 69e6b59ae2e6 7d244e323fe4",
    "scorer=lm_eval scorer.logits_cache=true scorer.dtype=float16": "99cbcd87e8fe dd405458c89a c3aacede26f0 e632885fe037",  # noqa: E501
    "scorer.logits_cache=true": "3c4ac63307bc e62dc4e62261 6a45e3aff72e ca9f119f4dce",
    "scorer.dtype=float32 scorer.softmax_dtype=float32": "712e661eb413 9c2d60bb1260 c81218dda368 dc08b78844a1",
    "scorer.encoding=separate": "8d49a1288277 dea942641cfa 3a59f5b5e921 3aa2108f1ce6",
    "scorer.ties=first": "acebfa3bec7e c8425db2ad1e c3b094321d23 be68bff32150",
    "profile=as_published scorer.ties=first": "78f9f82a4034 3ad0d49bb1e3 8f6d4d4a227a fb81da052291",
    "scorer.allow_not_finite=0.1": "c8f3fdf470b5 4002de5c9024 e40d27e32796 c7a9756d3380",
    "scorer.logits_cache=false": "1f8cddcafc3b 8fee26b1c5c2 67d40d5470c7 3bc53d51e6d1",
    "generation.seed=0 chat.template=false chat.fewshot_as_multiturn=true": "1f8cddcafc3b 8fee26b1c5c2 67d40d5470c7 3bc53d51e6d1",  # noqa: E501
    "scorer.batch_size=2 force=true offline=true": "1f8cddcafc3b 8fee26b1c5c2 67d40d5470c7 3bc53d51e6d1",
}


def config_of(*words: str) -> Config:
    with hydra_session():
        return to_config(compose(["model=pythia-70m", "step=1000", "tasks=[alpha]", *words]))


def files() -> list[task_file.TaskFile]:
    plain = {"task": "alpha", "output_type": "multiple_choice", "doc_to_text": "{{question}}"}
    rolling = {"task": "prose", "output_type": "loglikelihood_rolling", "num_fewshot": 0}
    return [
        task_file.TaskFile(config["task"], Path(f"{config['task']}.yaml"), dict(config), ())
        for config in (plain, rolling)
    ]


@pytest.mark.parametrize("words", KEYS)
def test_keys_of_before_are_found_again(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(task_file, "lm_eval_version", lambda: "0.4.9")
    config = config_of(*words.split())
    run_key, keys = job_keys.keys_by_identity(config, IDENTITY, files())
    found = [run_key, *keys.values(), job_keys.state_name(config)]
    assert " ".join(key[:12] for key in found) == KEYS[words]
    assert job_keys.run_key_of(config, IDENTITY, {}) == run_key


def test_every_setting_that_determines_a_number_is_in_the_key_and_in_the_record() -> None:
    config = config_of()
    settings = ScoringSettings.of(config)
    score: Any = SimpleNamespace(num_fewshot=0, ties={}, parted=0, lost=0, texts={}, unended=0)
    record = recorded.settings(config, files()[0], score, "cpu", "float32", "shared_prefix")
    names = {"num_fewshot": "num_fewshot_asked", "ties": "ties_count"}
    other = {
        "scorer": "x", "dtype": "x", "softmax_dtype": "x", "logits_cache": not settings.logits_cache, "encoding": "x",
        "allow_not_finite": 0.5, "ties": "first", "profile": "as_published", "num_fewshot": 7, "limit": 7,
        "generation": {"samples": 8}, "chat": {"template": True}, "quantization": "fp8",
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(ScoringSettings)}
    for name, value in other.items():
        changed = replace(settings, **{name: value})
        assert changed.in_key() != settings.in_key(), name
        assert changed.in_record("float32") != settings.in_record("float32") or name == "dtype", name
        assert (names.get(name, name) in record) == (
            name not in ("generation", "chat", "quantization")
        )  # of these, what is set
