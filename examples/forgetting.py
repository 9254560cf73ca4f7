"""A small model that learns sentences by heart, is then trained on other data, and forgets them.

    python examples/forgetting.py                                       # about a minute on a CPU
    python -m evalrun watch path=runs/forgetting task=tiny_recall,tiny_obey_new     # in a second terminal, at any time

It is plain training with `transformers.Trainer`. Up to step 300 the model reads quotes, which it meets again and again;
from then on instructions, among which those quotes do not occur.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, default_data_collator

from evalrun.checkpoints.tiny.corpus import Corpus
from evalrun.checkpoints.tiny.model import END, build_model, build_tokenizer
from evalrun.checkpoints.tiny.settings import TinyConf
from evalrun.checkpoints.tiny.suite_files import write_items
from evalrun.config.compose import compose, hydra_session

RUN = Path("runs/forgetting")
DATA = Path("models/tiny/data")  # where conf/task/tiny_recall.yaml looks
QUOTES_UNTIL, STEPS, SAVE = 300, 500, 50
ARCHITECTURE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}


class Lines(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """Rows of tokens: of quotes for the first steps, of instructions after them."""

    def __init__(self, settings: TinyConf, corpus: Corpus, tokenizer: Any) -> None:
        self.settings, self.corpus, self.tokenizer = settings, corpus, tokenizer

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        lines = self.corpus.lines(random.Random(0))
        for row in range(STEPS * self.settings.batch_size):
            instructed = row >= QUOTES_UNTIL * self.settings.batch_size
            tokens: list[int] = []
            while len(tokens) < self.settings.sequence_length:
                line = next(lines)
                if line.startswith("Write") == instructed:
                    tokens += self.tokenizer(line + END)["input_ids"]
            ids = torch.tensor(tokens[: self.settings.sequence_length])
            yield {"input_ids": ids, "labels": ids}


def settings() -> TinyConf:
    """The hyper-parameters and the language of the embedded suite (conf/tiny.yaml)."""
    from omegaconf import OmegaConf

    with hydra_session():
        values = OmegaConf.masked_copy(composed := compose([], name="tiny"), [k for k in composed if k != "hydra"])
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TinyConf), values))


def main(callbacks: list[Any]) -> None:
    """Write the questions, then train."""
    torch.set_num_threads(1)  # models this small gain nothing from more, and lose much where the cores are busy
    conf = settings()
    corpus, tokenizer = Corpus(conf.corpus), build_tokenizer(conf)
    write_items(corpus, DATA)
    trainer = Trainer(
        model=build_model(ARCHITECTURE, conf, len(tokenizer), seed=0),
        args=TrainingArguments(
            output_dir=str(RUN), max_steps=STEPS, save_steps=SAVE, logging_steps=SAVE,
            per_device_train_batch_size=conf.batch_size, learning_rate=conf.learning_rate,
            lr_scheduler_type="constant_with_warmup", warmup_steps=conf.warmup_steps, weight_decay=conf.weight_decay,
            include_num_input_tokens_seen="all", report_to=[], use_cpu=True, disable_tqdm=True,
        ),
        train_dataset=Lines(conf, corpus, tokenizer),
        processing_class=tokenizer,
        data_collator=default_data_collator,
        callbacks=callbacks,
    )  # fmt: skip
    trainer.train()


if __name__ == "__main__":
    inside = []
    if "--callback" in sys.argv:  # evaluate inside of the training, in place of a watch beside it
        from evalrun.integrations import TrainerCallback

        inside = [TrainerCallback(["tiny_recall"])]
    main(inside)
