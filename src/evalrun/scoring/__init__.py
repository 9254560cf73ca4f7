"""Log-likelihoods of choices: tasks and a loaded checkpoint in; metrics and per-item results out."""

from collections.abc import Callable
from typing import Any

from evalrun.config.schema import ScorerConf
from evalrun.scoring.departures import token_settings
from evalrun.scoring.evaluate import Score, score
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.not_finite import refused
from evalrun.scoring.not_finite import sentence as why_lost
from evalrun.scoring.requests import count_requests, group_by_shared_prompts, rendered
from evalrun.scoring.scorer_cache import ScorerCache

__all__ = [
    "CheckpointLM",
    "Score",
    "count_requests",
    "group_by_shared_prompts",
    "open_lm",
    "refused",
    "rendered",
    "score",
    "scorer",
    "scorers",
    "token_settings",
    "why_lost",
]


def open_lm(model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None]) -> CheckpointLM:
    """The scorer that a config asks for (conf/scorer), on a loaded checkpoint.

    Args:
        model: A transformers causal language model in eval mode.
        tokenizer: Its tokenizer.
        conf: Which scorer, and its settings.
        tick: Called with a number of requests whenever so many more are done.
    """
    if conf.name == "lm_eval":
        return CheckpointLM(model, tokenizer, conf, tick)
    from evalrun.scoring.shared_prefix import SharedPrefixLM

    return SharedPrefixLM(model, tokenizer, conf, tick)


scorers = ScorerCache(open_lm)
scorer = scorers.scorer
