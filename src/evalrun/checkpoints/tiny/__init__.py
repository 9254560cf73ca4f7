"""The embedded default: a suite of small real GPT-NeoX models, trained here on a made corpus in a few minutes on a CPU.

    settings.py   hyper-parameters and corpus sizes: the shape of conf/tiny.yaml, and its checks
    corpus.py     the made language: quotes, instructions that may contradict them, evaluation items
    model.py      tokenizer and models
    train.py      what is missing, the training loop
    files.py      checkpoints and items on disk

`train_suite` is found on first use, so that reading the settings does not start torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalrun.checkpoints.tiny.train import train_suite

__all__ = ["train_suite"]


def __getattr__(name: str) -> Any:
    if name == "train_suite":
        from evalrun.checkpoints.tiny.train import train_suite

        return train_suite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
