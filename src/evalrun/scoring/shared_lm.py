"""What both ways of sharing have in common: which models they are for, and how much is run at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError
from evalrun.scoring import self_check
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.shared_answers import Counts
from evalrun.scoring.trie import LONGEST_ROW

log = logging.getLogger(__name__)

# What two checkpoints that are run by the same code on the same device have in common.
Form = tuple[type, str, torch.dtype, str]
_said: set[tuple[Form, str]] = set()  # why sharing is not exact: warned of once in this process


class SharedLM(CheckpointLM):
    """lm-eval's Hugging Face model, and what is known of the checkpoint that it holds."""

    def __init__(self, model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None]) -> None:
        self._conf = conf
        self.counts = Counts()
        super().__init__(model, tokenizer, conf, tick)
        self._begin()

    def replace_model(self, model: Any) -> None:
        """Go on with another checkpoint, of which nothing is known yet."""
        super().replace_model(model)
        self._begin()

    def _begin(self) -> None:
        """Forget what was learnt of a checkpoint: its result is the same wherever in a sweep it stands."""
        self._budget = self._conf.token_budget if self.device.type == "cpu" else self._conf.token_budget_gpu
        self._left: str | None = None  # why this checkpoint is left to lm-eval's own path

    @property
    def _form(self) -> Form:
        """The class itself is in it: code beside the weights may differ where the configs do not."""
        return type(self.model), self.model.config.to_json_string(), self.model.dtype, self.device.type

    def _why_not(self) -> str | None:
        """What rules sharing out before anything is run."""
        if self.backend != "causal":
            return "it is no causal language model"
        if self.model.dtype not in self_check.TOLERANCE:
            return f"its precision is {self.model.dtype}"
        return None

    def _say_once(self, what: str, reason: str) -> None:
        """Warn of what is left to lm-eval's own path, once for models of a form."""
        if (self._form, reason) not in _said:
            _said.add((self._form, reason))
            log.warning("%s with lm-eval's own path, which is slower: %s", what, reason)

    def _halve_budget(self) -> None:
        """Go on with smaller passes.

        Raises:
            CheckpointError: they cannot be smaller.
        """
        if self._budget <= LONGEST_ROW:
            raise CheckpointError(
                f"no memory left on {self.device} even for passes of {self._budget} tokens: close what else uses it, "
                "or choose another scorer.device or scorer.dtype."
            ) from None
        self._budget //= 2
        log.warning("memory on %s ran out: going on with passes of %d tokens", self.device, self._budget)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
