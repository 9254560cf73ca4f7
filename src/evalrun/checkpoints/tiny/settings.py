"""The typed shape of conf/tiny.yaml. Values live there alone; here are names, types, meanings and checks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from evalrun.core.errors import ConfigError


@dataclass
class CorpusConf:
    """The made language: how much of what."""

    seed: int = MISSING  # fixes the quotes and the evaluation items, for all training seeds
    quotes: int = MISSING  # quotes to memorise
    zipf_exponent: float = MISSING  # the quote of rank r is met with frequency 1 / (r + zipf_offset) ** zipf_exponent
    zipf_offset: float = MISSING
    instruction_share: float = MISSING  # share of lines: an instruction about a sentence that is met once
    quote_instruction_share: float = MISSING  # share of lines: an instruction about a quote
    agreement: float = MISSING  # share of instructions about a quote that ask for its own last word
    famous: int = MISSING  # the most frequent quotes kept out of all instructions, on which obedience is tested
    items_per_task: int = MISSING  # evaluation items


@dataclass
class TinyConf:
    """How the suite is trained."""

    root: str = MISSING  # folder of the suite
    seeds: int = MISSING  # training seeds 0 ... seeds - 1
    threads: int = MISSING  # CPU threads; part of what determines the weights
    batch_size: int = MISSING  # sequences a step
    sequence_length: int = MISSING  # tokens a sequence
    max_position_embeddings: int = MISSING  # longest input of the models, in tokens
    learning_rate: float = MISSING  # constant after the warm-up
    warmup_steps: int = MISSING  # linear
    beta1: float = MISSING  # AdamW
    beta2: float = MISSING
    weight_decay: float = MISSING
    gradient_clip: float = MISSING  # largest norm of the gradient
    initializer_range: float = MISSING  # standard deviation of the initial weights
    corpus: CorpusConf = field(default_factory=CorpusConf)

    def check(self) -> None:
        """Refuse values that cannot be right.

        Raises:
            ConfigError: names every such value at once.
        """
        c = self.corpus
        share = c.instruction_share + c.quote_instruction_share
        rules = {
            f"seeds={self.seeds} must be at least 1.": self.seeds >= 1,
            f"threads={self.threads} must be at least 1.": self.threads >= 1,
            f"batch_size={self.batch_size} must be at least 1.": self.batch_size >= 1,
            f"sequence_length={self.sequence_length} must be from 2 to max_position_embeddings="
            f"{self.max_position_embeddings}.": 2 <= self.sequence_length <= self.max_position_embeddings,
            f"learning_rate={self.learning_rate} must be above 0.": self.learning_rate > 0,
            f"warmup_steps={self.warmup_steps} must be at least 1.": self.warmup_steps >= 1,
            f"corpus.famous={c.famous} must be from 1 to half of corpus.quotes={c.quotes}, because every second quote "
            "is kept out of the instructions.": 1 <= c.famous <= c.quotes // 2,
            f"corpus.quotes={c.quotes} must be at most 100000, so that sentences remain that are no quotes.": c.quotes
            <= 100_000,
            f"corpus.items_per_task={c.items_per_task} must be from 1 to 100 for each of corpus.famous={c.famous} "
            "quotes, as words to ask for are limited.": 1 <= c.items_per_task <= 100 * c.famous,
            f"corpus.instruction_share={c.instruction_share} and corpus.quote_instruction_share="
            f"{c.quote_instruction_share} must be at least 0 and together below 1.": min(
                c.instruction_share, c.quote_instruction_share
            )
            >= 0
            and share < 1,
            f"corpus.agreement={c.agreement} must be from 0 to 1.": 0 <= c.agreement <= 1,
        }
        problems = [sentence for sentence, holds in rules.items() if not holds]
        if problems:
            raise ConfigError(problems)

    def digest(self, architecture: Mapping[str, int], steps: list[int], language: str) -> str:
        """Sha256 of all that determines one size's weights, the training seed apart.

        Args:
            architecture: The size's hidden_size, num_hidden_layers, ...
            steps: Checkpoints.
            language: Digest of the corpus as generated, so that a change of its code is noticed too.
        """
        settings: dict[str, Any] = dataclasses.asdict(self)
        # Where it lies and how many seeds there are do not change a model that is there.
        del settings["root"], settings["seeds"]
        text = json.dumps([settings, dict(architecture), steps, language], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
