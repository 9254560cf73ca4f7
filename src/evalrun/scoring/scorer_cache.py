"""The scorer, kept from one checkpoint to the next: what depends on tokenizer and tasks alone is made once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from evalrun.checkpoints import adapted
from evalrun.config.schema import ScorerConf
from evalrun.scoring.lm_eval_model import CheckpointLM


class ScorerCache:
    """Scorers of one process: at most one is kept, and it holds a model only while a job uses it."""

    def __init__(self, open_lm: Callable[[Any, Any, ScorerConf, Callable[[int], None]], CheckpointLM]) -> None:
        self._open_lm = open_lm
        self._lm: CheckpointLM | None = None
        self._key: tuple[Any, ...] = ()
        self._tick: Callable[[int], None] = lambda number: None

    @contextlib.contextmanager
    def scorer(self, model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None]) -> Iterator[Any]:
        """Score one checkpoint.

        The scorer of the checkpoint before is used again where architecture, tokenizer, device, dtype and settings are
        the same. When the block ends it lets go of the model, so that the next one finds its memory free;
        of an adapter the base stays.

        Args:
            model: A transformers causal language model in eval mode.
            tokenizer: Its tokenizer; the same object where it is the same tokenizer.
            conf: Which scorer, and its settings.
            tick: Called with a number of requests whenever so many more are done.
        """
        self._tick = tick
        key = (_architecture(model), dataclasses.astuple(conf))
        if self._lm is None or self._lm.tokenizer is not tokenizer or key != self._key:
            self._lm = self._open_lm(model, tokenizer, conf, lambda number: self._tick(number))
            self._key = key
        else:
            self._lm.replace_model(model)
        try:
            yield self._lm
        finally:
            self._lm.keeps = None
            adapted.let_go(model)


def _architecture(model: Any) -> tuple[Any, ...]:
    """What two models agree in when nothing but their weights differs: the class itself, whose code may be theirs."""
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    return (
        type(model),
        json.dumps(config, sort_keys=True, default=str),
        str(model.dtype),
        str(model.device),
    )
