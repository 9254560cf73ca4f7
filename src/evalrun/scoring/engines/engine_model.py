"""Prompts, stops and windows by lm-eval's rules, whatever holds the weights."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.models.utils import normalize_gen_kwargs

from evalrun.config.schema import ScorerConf
from evalrun.core.errors import TaskError
from evalrun.scoring import scorable
from evalrun.scoring.engines.known_answers import TEXTS, FixedAnswers
from evalrun.scoring.engines.protocol import PromptScores
from evalrun.scoring.generation.ending import Ending
from evalrun.scoring.generation.generated import Done, Generated
from evalrun.scoring.generation.prompt_tokens import Tokens, prompt_tokens
from evalrun.scoring.generation.token_draws import draw_digest
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.trie import TokenRequest
from evalrun.scoring.whole_texts import ReadText, Scored
from evalrun.tasks.text_rule import TextRule

_READ = {"until", "max_gen_toks", "do_sample"}  # of a request's settings: what is not sent on under its own name
_SENT = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"}


@dataclass(frozen=True)
class TextOrder:
    """One text that is to be written.

    Attributes:
        prompt: Its tokens, those that fit before the longest answer.
        text: The same as text, where nothing had to be left out; None else.
        ending: Where it ends.
        seed: Of its draws.
        sampling: How tokens are chosen, by the names of OpenAI's protocol; `temperature` is among them.
    """

    prompt: Tokens
    text: str | None
    ending: Ending
    seed: int
    sampling: Mapping[str, float]


class EngineLM(CheckpointLM):
    """lm-eval's Hugging Face model without weights: what it would run, an engine runs.

    An engine writes one token at least after every prompt, so that prompts whose log-probabilities are asked for have
    one token less than fill its window.
    """

    def __init__(
        self, model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None], window: int | None
    ) -> None:
        """Take over a checkpoint's shape.

        Args:
            model: On torch's device `meta`: see `checkpoints.unloaded`.
            tokenizer: Its own.
            conf: The scorer's settings.
            tick: Told of requests that are answered.
            window: Tokens that the engine takes, prompt and answer; None where it does not say.
        """
        super().__init__(model, tokenizer, conf, tick)
        self.used = conf.name
        self.window = min(self.max_length, window or self.max_length)
        self._max_length = self.window - 2  # of what is read before the last scored token

    @abstractmethod
    def why_no_scores(self) -> str | None:
        """Why log-probabilities of prompts cannot be had, as the tail of a sentence; None: they can."""

    @abstractmethod
    def score_prompts(self, prompts: Sequence[Tokens], done: Callable[[int, PromptScores], None]) -> None:
        """Have the engine score prompts; `done` is told the place of each as it is there."""

    @abstractmethod
    def write_texts(self, orders: Sequence[TextOrder], done: Callable[[int, Generated], None]) -> None:
        """Have the engine write texts; `done` is told the place of each as it has ended."""

    @abstractmethod
    def fixed_answers(self) -> FixedAnswers:
        """What the engine answers to what every checkpoint is asked, by which its weights are known."""

    def text_prompts(self) -> list[Tokens]:
        """The tokens of the texts that a server without numbers goes on with."""
        return [prompt_tokens(self, [text])[text] for text in TEXTS]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """lm-eval's answers, from the engine's log-probabilities of prompts.

        Raises:
            TaskError: the engine gives none; nothing has been asked then.
        """
        self._refuse(requests, "log-likelihoods of given answers")
        return super().loglikelihood(requests, disable_tqdm)

    def score_encoded(self, requests: Sequence[Any], disable_tqdm: bool = True) -> Any:
        """Log-likelihood in nats, and whether it is greedy, of (pair or None, context tokens, continuation tokens)."""
        prompts = [tuple([*context, *said][-(self.max_length + 1) :]) for _, context, said in requests]
        scores = self._scores(prompts)
        lengths = [len(said) for _, _, said in requests]
        return [
            (float(sum(scores[prompt].logprobs[-length:])), all(scores[prompt].greedy[-length:]))
            for prompt, length in zip(prompts, lengths, strict=True)
        ]

    def read_texts(self, requests: Sequence[Any], rule: TextRule) -> dict[str, ReadText]:
        """What the checkpoint says of whole texts, as `CheckpointLM.read_texts`.

        Raises:
            TaskError: the engine gives no log-probabilities of prompts, or masses are asked for, which no engine gives.
        """
        self._refuse(requests, "log-likelihoods of whole texts")
        if rule.corrected and requests:
            raise TaskError(
                f"task '{requests[0].task_name}' asks for surprisals of words corrected by where words end, and "
                f"scorer={self.used} gives log-probabilities of single tokens alone: use scorer=shared_prefix."
            )
        return super().read_texts(requests, rule)

    def score_windows(self, requests: Sequence[TokenRequest], parts: Any) -> list[Scored]:
        """What the scored tokens of each window cost."""
        prompts = [tuple(int(token) for part in request for token in part) for request in requests]
        with self._untold():
            scores = self._scores(prompts)
        return [
            Scored(-np.array(scores[prompt].logprobs[len(prompt) - 1 - len(said) :]))
            for prompt, (_, said) in zip(prompts, requests, strict=True)
        ]

    def _scores(self, prompts: Sequence[Tokens]) -> dict[Tokens, PromptScores]:
        """Each distinct prompt's scores."""
        times = Counter(prompts)
        order = sorted(times, key=len, reverse=True)
        found: dict[Tokens, PromptScores] = {}

        def take(place: int, scores: PromptScores) -> None:
            found[order[place]] = scores
            self._tick(times[order[place]])

        if order:
            self.score_prompts(order, take)
        return found

    def generate(self, requests: Sequence[Any], done: Done | None = None) -> list[Generated]:
        """What the checkpoint writes after each prompt.

        Args:
            requests: lm-eval's instances; one that is there again is another sample.
            done: Told of each text as soon as it has ended, in any order.

        Raises:
            TaskError: a setting that an engine has not, or an answer as long as the window.
        """
        found: dict[int, Generated] = {}

        def take(place: int, text: Generated) -> None:
            found[place] = text
            self._tick(1)
            if done is not None:
                done(place, text)

        if requests:
            self.write_texts(self._orders(requests), take)
        return [found[place] for place in range(len(requests))]

    def _orders(self, requests: Sequence[Any]) -> list[TextOrder]:
        """What is to be written for each request.

        Raises:
            TaskError: see `generate`.
        """
        encoded = prompt_tokens(self, dict.fromkeys(request.args[0] for request in requests))
        known: dict[str, tuple[Ending, dict[str, float]]] = {}
        times: Counter[int] = Counter()
        orders = []
        for request in requests:
            text, wanted = request.args
            if (key := json.dumps(wanted, sort_keys=True, default=str)) not in known:
                known[key] = Ending(self, wanted), _sampling(self, request)
            ending, sampling = known[key]
            if (room := self.window - ending.limit) < 1:
                raise TaskError(
                    f"{scorable.place(request)} asks for answers of up to {ending.limit} tokens, and the window has "
                    f"{self.window}: lower its max_gen_toks."
                )
            tokens = encoded[text]
            if not tokens:
                raise TaskError(
                    f"{scorable.place(request)} has an empty prompt: begin it with a token, such as bos_token."
                )
            fits = text if len(tokens) <= room else None
            orders.append(TextOrder(tokens[-room:], fits, ending, self._seed_of(request, times[id(request)]), sampling))
            times[id(request)] += 1
        return orders

    def _seed_of(self, request: Any, sample: int) -> int:
        """Seed of a sample of an item, as an engine takes one."""
        return int.from_bytes(draw_digest(self.seed, request, sample)[:4], "big") >> 1

    def _refuse(self, requests: Sequence[Any], what: str) -> None:
        """See that what a task asks for can be had.

        Raises:
            TaskError: it cannot.
        """
        why = self.why_no_scores()
        if requests and why is not None:
            names = ", ".join(f"'{name}'" for name in dict.fromkeys(request.task_name for request in requests))
            raise TaskError(
                f"task {names} asks for {what}, and {why}: use scorer=shared_prefix for it, or a server that returns "
                "them (vLLM, SGLang)."
            )


def _sampling(lm: Any, request: Any) -> dict[str, float]:
    """How a request's tokens are chosen; greedy is temperature 0.

    Raises:
        TaskError: a setting that no engine is told of.
    """
    kwargs = dict(normalize_gen_kwargs(dict(request.args[1]), lm.max_gen_toks))
    strange = sorted(key for key, value in kwargs.items() if key not in _READ | _SENT and value is not None)
    if strange:
        raise TaskError(
            f"task '{request.task_name}' has {strange[0]}={kwargs[strange[0]]} in its generation_kwargs, which "
            f"scorer={lm.used} cannot pass on: take it out, or use scorer=lm_eval."
        )
    if not kwargs["do_sample"]:
        kwargs["temperature"] = 0.0
        for drawn in ("top_p", "top_k", "min_p"):
            kwargs.pop(drawn, None)
    return {key: kwargs[key] for key in sorted(_SENT & kwargs.keys()) if kwargs[key] is not None}
