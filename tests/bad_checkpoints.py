"""Folders that look like whole checkpoints and are not: what was changed, and what the sentence about each says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]


def says(folder: Path, **keys: Any) -> None:
    """Change keys of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def rewrites(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    """What changes the tensors of model.safetensors."""

    def rewrite(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return rewrite


def prefixed(prefix: str) -> Callable[[Path], None]:
    return rewrites(lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})


def with_an_adapter(folder: Path) -> None:
    """The adapter that was merged into the model, saved beside it: peft's files."""
    import torch
    from safetensors.torch import save_file

    adapter = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 8,
        "target_modules": ["query_key_value"],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter | {"base_model_name_or_path": "base"}))
    hidden = json.loads((folder / "config.json").read_text())["hidden_size"]
    torch.manual_seed(0)
    tensors = {}
    for layer in range(2):
        place = f"base_model.model.gpt_neox.layers.{layer}.attention.query_key_value"
        tensors |= {
            f"{place}.lora_A.weight": torch.randn(2, hidden),
            f"{place}.lora_B.weight": torch.randn(3 * hidden, 2),
        }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def with_shards(folder: Path, scale: float = 2.0) -> None:
    """Shards of another model, with their index, beside the single file."""
    from safetensors.torch import load_file, save_file

    tensors = {name: scale * tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    names, places = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, metadata={"format": "pt"})
        places |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def held_twice(folder: Path) -> None:
    """Two shards with one tensor, of which the index names the first and transformers reads the last."""
    with_shards(folder)
    (folder / "model.safetensors").unlink()
    from safetensors.torch import load_file, save_file

    one, other = sorted(folder.glob("model-*.safetensors"))
    name, tensor = min(load_file(one).items())
    save_file({**load_file(other), name: tensor + 1}, other, metadata={"format": "pt"})


def unindexed(folder: Path) -> None:
    with_shards(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").unlink()


def an_adapter_alone(folder: Path) -> None:
    """What a save of an adapter leaves that was cut short."""
    with_an_adapter(folder)
    (folder / "model.safetensors").unlink()
    (folder / "adapter_model.safetensors").unlink()


def a_states_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model_fsdp_0").mkdir()


def cut_short(folder: Path) -> None:
    """A save over an older checkpoint that was killed: what safetensors was writing is there, and the old weights."""
    shutil.copy(folder / "model.safetensors", folder / ".tmpA1b2C3")


def fewer_layers(folder: Path) -> None:
    says(folder, num_hidden_layers=1)


def narrower(folder: Path) -> None:
    says(folder, intermediate_size=16)


def of_no_known_quantisation(folder: Path) -> None:
    says(folder, quantization_config={"quant_method": "homemade"})


def ungathered(tensors: Tensors) -> Tensors:
    import torch

    return {name: torch.empty(0) if "4h_to_h.weight" in name else tensor for name, tensor in tensors.items()}


def unmerged(tensors: Tensors) -> Tensors:
    import torch

    place = "gpt_neox.layers.0.attention.query_key_value.lora_"
    return tensors | {f"{place}A.default.weight": torch.ones(2, 16), f"{place}B.default.weight": torch.ones(48, 2)}


def wrapped_by_peft(tensors: Tensors) -> Tensors:
    return {
        "base_model.model." + name.replace("query_key_value.", "query_key_value.base_layer."): tensor
        for name, tensor in unmerged(tensors).items()
    }


def in_integers(tensors: Tensors) -> Tensors:
    import torch

    return {n: (t * 20).round().to(torch.int8) if "dense" in n and t.dim() == 2 else t for n, t in tensors.items()}


def scaled(tensors: Tensors) -> Tensors:
    import torch

    scales = {
        f"{name}_scale": torch.ones(1) for name, tensor in tensors.items() if "dense" in name and tensor.dim() == 2
    }
    return tensors | scales


def with_two_heads(tensors: Tensors) -> Tensors:
    """Of which transformers would take embed_out, and say nothing."""
    return tensors | {"lm_head.weight": tensors["embed_out.weight"] * 2}


def with_a_value_head(tensors: Tensors) -> Tensors:
    import torch

    return tensors | {"v_head.summary.weight": torch.ones(1, 16)}


# Found before anything is loaded. Kind -> how it is made of a whole checkpoint, and what its sentence must name.
BY_THEIR_FILES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "adapter beside": (with_an_adapter, ["adapter_config.json", "on top", "allow_unused_weights=true"]),
    "shards beside": (
        with_shards,
        ["model.safetensors and the shards of model.safetensors.index.json", "reads the first", "allow_unused_weights"],
    ),
    "save cut short": (cut_short, [".tmpA1b2C3", "older than its config.json", "allow_unused_weights=true"]),
    "a tensor in two shards": (
        held_twice,
        ["has two of ", "model-00001-of-00002.safetensors and another in model-00002", "allow_unused_weights=true"],
    ),
    "shards without index": (unindexed, ["model-00001-of-00002.safetensors", "no model.safetensors.index.json"]),
    "adapter alone": (an_adapter_alone, ["adapter_config.json and neither", "its adapter has no weights"]),
    "sharded state": (a_states_shards, ["FSDP's sharded state (pytorch_model_fsdp_0)", "merge-weights"]),
}
# Found when the weights are compared with the model.
BY_THEIR_WEIGHTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "fewer layers": (
        fewer_layers,
        ["gpt_neox.layers.1", "config.json says 1 layers and the file has 2", "allow_unused_weights=true"],
    ),
    "two heads": (rewrites(with_two_heads), ["lm_head.weight", "second head", "allow_unused_weights=true"]),
    "LoRA inside": (rewrites(unmerged), ["lora_A.default.weight", "not merged", "allow_unused_weights=true"]),
    "value head": (rewrites(with_a_value_head), ["v_head.summary.weight", "allow_unused_weights=true"]),
    "scales": (rewrites(scaled), ["weight_scale", "no quantization_config", "allow_unused_weights=true"]),
    "integers": (rewrites(in_integers), ["dense.weight as I8", "no quantization_config"]),
    "unknown quantisation": (of_no_known_quantisation, ["quantised by 'homemade'", "does not know"]),
    "DDP": (prefixed("module."), ["module.gpt_neox.", "DistributedDataParallel", "save the model inside"]),
    "compiled": (prefixed("_orig_mod."), ["_orig_mod.gpt_neox.", "torch.compile"]),
    "both": (prefixed("_orig_mod.module."), ["_orig_mod.module.gpt_neox.", "DeepSpeed and torch.compile"]),
    "peft's names": (rewrites(wrapped_by_peft), ["base_model.model.gpt_neox.", "merge_and_unload"]),
    "narrower": (narrower, ["is [16, 32] in the file and [16, 16] in the model", "config.json"]),
    "ZeRO-3": (rewrites(ungathered), ["empty tensors", "4h_to_h.weight", "ZeRO-3"]),
}
