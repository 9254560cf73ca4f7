"""lm-eval's own progress bars, four a task, kept quiet: the job's one bar tells the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import lm_eval.api.model
import lm_eval.api.task
import lm_eval.models.huggingface
from tqdm import tqdm

MODULES = (lm_eval.api.model, lm_eval.api.task, lm_eval.models.huggingface)


@contextlib.contextmanager
def quiet_bars() -> Iterator[None]:
    """Silence the bars for a while."""

    def quiet(*args: Any, **kwargs: Any) -> Any:
        return tqdm(*args, **{**kwargs, "disable": True})

    kept = [module.tqdm for module in MODULES]
    for module in MODULES:
        module.tqdm = quiet
    try:
        yield
    finally:
        for module, usual in zip(MODULES, kept, strict=True):
            module.tqdm = usual
