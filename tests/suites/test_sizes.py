"""Parameter counts: by headers and by config the same, and those of real modules; nothing of the weights is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalrun.checkpoints.suites import folders, sizes
from evalrun.errors import CheckpointError

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt_neox": SMALL | {"intermediate_size": 32},
    "gpt_neox tied": SMALL | {"intermediate_size": 32, "tie_word_embeddings": True},
    "llama": SMALL | {"intermediate_size": 32, "num_key_value_heads": 1, "tie_word_embeddings": False},
    "llama tied": SMALL | {"intermediate_size": 32, "tie_word_embeddings": True},
    "olmo2": SMALL | {"intermediate_size": 32, "tie_word_embeddings": False, "pad_token_id": 1, "eos_token_id": 0},
    "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "opt": SMALL | {"ffn_dim": 32, "max_position_embeddings": 32, "word_embed_proj_dim": 16, "pad_token_id": 1},
}


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(str(request.param).split()[0], **ARCHITECTURES[request.param])
    model = AutoModelForCausalLM.from_config(config)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder, model


def test_counts_are_those_of_the_module(
    saved: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, model = saved
    parameters = {id(p): p for p in model.parameters()}
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    without = [p for key, p in parameters.items() if key not in (id(embedding), id(head))]
    total, nonembedding = (sum(p.numel() for p in group) for group in (parameters.values(), without))
    by_headers = folders.parameters_of(folder)
    by_config = sizes.of_config((folder / "config.json").read_text(), "it")
    assert by_headers == by_config
    assert (by_config.total, by_config.nonembedding, by_config.rows) == (total, nonembedding, 40)
    assert by_config.counted == model.num_parameters(exclude_embeddings=True)


def test_a_head_that_differs_is_counted_though_the_config_ties_it(tmp_path: Path) -> None:
    """As transformers loads it: it ties no head to an embedding that differs from it in the file."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **ARCHITECTURES["llama"]))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    total = sum(parameter.numel() for parameter in loaded.parameters())
    counted = folders.parameters_of(tmp_path)
    assert counted.total == total == sum(parameter.numel() for parameter in model.parameters())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(
        tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, tmp_path / "model.safetensors"
    )
    assert folders.parameters_of(tmp_path).total == total - 40 * 16  # the same twice is one
    assert folders.parameters_of(tmp_path).nonembedding == counted.nonembedding


def test_a_config_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = json.dumps({"model_type": "gpt_neox"} | ARCHITECTURES["gpt_neox"])
    first = sizes.of_config(text, "it")
    (kept,) = (tmp_path / sizes.FOLDER).iterdir()
    kept.write_text(json.dumps({"total": 1, "nonembedding": 1, "counted": 1, "rows": 1}))
    assert sizes.of_config(text, "it").total == 1
    kept.write_text("damaged")
    assert sizes.of_config(text, "it") == first


def test_an_unknown_architecture_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot be counted.*model\.n_params="):
        sizes.of_config('{"model_type": "no_such_thing"}', "org/m")


def test_masks_saved_beside_the_weights_are_no_parameters() -> None:
    tensors = {
        "gpt_neox.embed_in.weight": ("F16", (10, 4)),
        "embed_out.weight": ("F16", (10, 4)),
        "gpt_neox.layers.0.attention.bias": ("BOOL", (1, 1, 64, 64)),
        "gpt_neox.layers.0.attention.masked_bias": ("F16", ()),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": ("F32", (2,)),
        "gpt_neox.layers.0.attention.dense.bias": ("F16", (4,)),
    }
    assert sizes.of_tensors(tensors, tied=False) == sizes.Parameters(84, 4, 44, 10)
    assert sizes.of_tensors(tensors, tied=True) == sizes.Parameters(44, 4, 4, 10)
    assert sizes.of_tensors(tensors, tied=None) is None
    assert sizes.of_tensors({"layer.weight": ("F16", (4, 4))}, tied=False) is None


@pytest.mark.parametrize(
    ("total", "said"),
    [(30_624, 31_000), (70_426_624, 70_000_000), (999, 1_000), (7, 7), (1_484_916_736, 1_500_000_000)],
)
def test_a_nominal_size_has_two_digits(total: int, said: int) -> None:
    assert sizes.nominal(total) == said
