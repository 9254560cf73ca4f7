"""Files of the suite, each written whole or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from evalrun.checkpoints.tiny.corpus import Corpus
from evalrun.core.errors import StorageError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write `path` into one sentence.

    Raises:
        StorageError: no room, no right, or something in the way.
    """
    try:
        yield
    except Exception as error:  # safetensors and tokenizers report a full disk by errors of their own
        raise StorageError(
            f"{path} cannot be written ({error}); make room or choose another folder with root=..."
        ) from error


def save_checkpoint(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a checkpoint beside its place, then rename: a folder with its name is complete."""
    partial = folder.with_name(f".{folder.name}.partial")
    with writing(folder), _no_bars():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)


def write_items(corpus: Corpus, folder: Path) -> None:
    """Write the evaluation items, one file of JSON lines for each task: prompt, choices, gold."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, items in corpus.items.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(asdict(item)) + "\n" for item in items))


def write_text(path: Path, text: str) -> None:
    """Write a text file; one that holds the text already is left as it is, time stamp included."""
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file: the training has its own."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
