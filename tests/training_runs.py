"""Training runs as people have them: a real Hugging Face Trainer's, and folders of saved models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import WORDS, make_checkpoint

TOKENS_A_STEP = 4 * 2 * 16  # sequences in a batch x accumulation x length


def train(
    folder: Path, steps: int = 12, save: int = 4, count_tokens: bool = False, seed: int = 0, dropout: float = 0.0,
    callbacks: Sequence[Any] = (), use_cpu: bool = True,
) -> Path:  # fmt: skip
    """Train a small GPT-NeoX with transformers' Trainer; it leaves checkpoint-N, and the end at the root."""
    import torch
    from transformers import (
        AutoTokenizer,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    make_checkpoint(folder / "tokenizer", seed=0)

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    shutil.rmtree(folder / "tokenizer")
    size = len(WORDS) + 2
    torch.manual_seed(seed)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=512, bos_token_id=0, eos_token_id=0, use_cache=False, hidden_dropout=dropout,
        )
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in torch.randint(0, size, (200, 16))]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, save_steps=save, logging_steps=save, per_device_train_batch_size=4,
        gradient_accumulation_steps=2, learning_rate=1e-2, seed=seed, report_to=[], use_cpu=use_cpu, disable_tqdm=True,
        include_num_input_tokens_seen="all" if count_tokens else "no", save_total_limit=None,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=default_data_collator,
        callbacks=list(callbacks),
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    return folder


def save_steps(root: Path, names: dict[str, int], **how: int) -> Path:
    """Folders of saved models; name -> seed of its random weights."""
    for name, seed in names.items():
        make_checkpoint(root / name, seed=seed, **how)
    return root


def write_state(
    folder: Path, step: int, tokens: int = 0, flos: float = 0, losses: dict[int, float] | None = None
) -> None:
    """What a Trainer writes beside a checkpoint."""
    history = [{"step": at, "loss": loss, "epoch": 0.1} for at, loss in (losses or {}).items()]
    state = {"global_step": step, "num_input_tokens_seen": tokens, "total_flos": flos, "log_history": history}
    (folder / "trainer_state.json").write_text(json.dumps(state))
