"""The settings that determine a result's numbers: its key and its record both follow from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evalrun.config.asking import chat_in, generation_in
from evalrun.config.schema import Config


@dataclass(frozen=True)
class ScoringSettings:
    """All of a config that can change a number, beside the checkpoint and the tasks. What is not here, cannot."""

    scorer: str
    dtype: str  # as asked for: auto is the checkpoint's own
    softmax_dtype: str | None  # None: the model's
    logits_cache: bool
    encoding: str
    allow_not_finite: float
    ties: str
    profile: str
    num_fewshot: int | None  # None: each task's own
    limit: int | None  # items a task; None: all
    generation: Mapping[str, Any]  # how texts are sampled, where tasks' files do not say it
    chat: Mapping[str, Any]  # how prompts become a conversation; empty: they do not
    quantization: str | None  # of what an engine serves in place of the checkpoint's own numbers

    @classmethod
    def of(cls, config: Config) -> ScoringSettings:
        """Those of a job."""
        scorer = config.scorer
        return cls(
            scorer=scorer.name,
            dtype=scorer.dtype,
            softmax_dtype=scorer.softmax_dtype,
            logits_cache=scorer.logits_cache,
            encoding=scorer.encoding,
            allow_not_finite=scorer.allow_not_finite,
            ties=scorer.ties,
            profile=config.profile,
            num_fewshot=config.num_fewshot,
            limit=config.limit,
            generation=generation_in(config),
            chat=chat_in(config),
            quantization=scorer.quantization,
        )

    def in_key(self) -> dict[str, Any]:
        """What is hashed. Of a setting that came later its first meaning is left out: keys of before stay."""
        asked = {"generation": dict(self.generation), "chat": dict(self.chat)}
        before_ties = "first" if self.profile == "as_published" else "expected"
        return {
            "scorer": [self.scorer, self.dtype, self.softmax_dtype, self.logits_cache, self.encoding]
            + [self.allow_not_finite] * (self.allow_not_finite > 0)
            + [self.ties] * (self.ties != before_ties),
            "profile": self.profile,
            "num_fewshot": self.num_fewshot,
            "limit": self.limit,
            **{name: said for name, said in asked.items() if said},
            **({} if self.quantization is None else {"quantization": self.quantization}),
        }

    def in_record(self, dtype: str) -> dict[str, Any]:
        """What a result keeps, for a person to read.

        Args:
            dtype: Of the model that was scored.
        """
        names = {"num_fewshot": "num_fewshot_asked", "ties": "ties_count"}  # a result's own are called that
        said = {names.get(name, name): value for name, value in asdict(self).items() if value != {}}
        if self.quantization is None:
            del said["quantization"]
        return said | {"dtype": dtype, "softmax_dtype": self.softmax_dtype or dtype}
