"""Runs of adapters, trained by nobody: peft's own files with random weights, or those of zeros that it begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LAYERS = ["query_key_value", "dense_h_to_4h"]


def settings(kind: str) -> Any:
    """One of peft's configs."""
    import peft

    how = {"target_modules": list(LAYERS), "task_type": "CAUSAL_LM"}
    if kind == "IA3":
        return peft.IA3Config(feedforward_modules=["dense_h_to_4h"], **how)
    kept = ["lm_head"] if kind == "LoRA with a head" else None
    return peft.LoraConfig(r=2, lora_dropout=0.5, use_dora=kind == "DoRA", modules_to_save=kept, **how)


def save_adapter(base: Path, folder: Path, kind: str = "LoRA", seed: int | None = 0) -> Any:
    """Write an adapter's folder as peft does.

    Args:
        base: The folder of its base model.
        folder: Where to.
        kind: LoRA, DoRA, IA3, or LoRA with a head.
        seed: Of its weights; None: it changes nothing.

    Returns:
        The model that it is merged into.
    """
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings(kind))
    if seed is not None:
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.merge_and_unload().eval()
