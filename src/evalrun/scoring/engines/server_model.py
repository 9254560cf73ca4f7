"""A checkpoint that a server holds: what it can answer is found out once, with what every checkpoint is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, suggest
from evalrun.scoring.engines import protocol
from evalrun.scoring.engines.engine_model import EngineLM, TextOrder
from evalrun.scoring.engines.known_answers import (
    GREEDY,
    PROMPT,
    PROMPT_TOKENS,
    TEXTS,
    WRITTEN,
    WRITTEN_TOKENS,
    FixedAnswers,
)
from evalrun.scoring.engines.protocol import PromptScores
from evalrun.scoring.engines.server_client import Answer, RefusedError, ServerClient
from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.generation.prompt_tokens import Tokens, prompt_tokens
from evalrun.scoring.generation.thinking import answer_in

log = logging.getLogger(__name__)
_ALL_TOKENS = {"vllm": 0, "llamacpp": 0, "sglang": -1}  # what `owned_by` says -> the top_k that leaves none out


@dataclass(frozen=True)
class _Manner:
    """How a server is to be asked.

    Attributes:
        takes_tokens: Prompts are given as tokens; else as text, which it parts itself.
        begins: It puts the beginning of a text before a prompt that is text.
        scores: It returns log-probabilities of prompts, and rightly.
        why: If it does not: the tail of a sentence.
    """

    takes_tokens: bool
    begins: bool
    scores: bool = False
    why: str = ""


class ServerLM(EngineLM):
    """lm-eval's Hugging Face model on a server that speaks OpenAI's protocol."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        conf: ScorerConf,
        client: ServerClient,
        named: str | None,
        tick: Callable[[int], None],
    ) -> None:
        """Ask a server what it is and what it can do.

        Args:
            model: The checkpoint's shape, on torch's device `meta`.
            tokenizer: Its own.
            conf: The scorer's settings.
            client: The server.
            named: What it is asked for; None for the first that it lists.
            tick: Told of requests that are answered.

        Raises:
            CheckpointError: it does not serve that, or nothing that can be asked.
        """
        card = _card(client, named)
        super().__init__(model, tokenizer, conf, tick, _window(card))
        self._client, self._name, self._owner = client, str(card["id"]), str(card.get("owned_by", ""))
        self.engine = {"server": _version(client, self._owner), "server_url": client.url, "served_model": self._name}
        self._fixed: FixedAnswers | None = None
        self._manner = self._found_out()

    def why_no_scores(self) -> str | None:
        """`EngineLM.why_no_scores` of a server."""
        return None if self._manner.scores else f"{self.engine['server']} at {self._client.url} {self._manner.why}"

    def score_prompts(self, prompts: Sequence[Tokens], done: Callable[[int, PromptScores], None]) -> None:
        """`EngineLM.score_prompts` of a server.

        Raises:
            CheckpointError: an answer is not what was asked for.
        """

        def take(place: int, answer: Answer) -> None:
            scores = protocol.prompt_scores(answer, len(prompts[place]))
            if scores is None:
                raise CheckpointError(
                    f"{self._client.url} returned no log-probabilities for one of {len(prompts)} prompts, of "
                    f"{len(prompts[place])} tokens, though it does for others: it may have parted it otherwise, or cut "
                    "it short; look at its window and its log."
                )
            done(place, scores)

        self._ask([self._echo(self._given(prompt)) for prompt in prompts], take)

    def write_texts(self, orders: Sequence[TextOrder], done: Callable[[int, Generated], None]) -> None:
        """`EngineLM.write_texts` of a server.

        Raises:
            CheckpointError: a text is broken off; what ends a thinking part cannot be seen in it.
        """
        if isinstance(self.think_end_token, int) and self._owner != "vllm":
            raise CheckpointError(
                f"chat.think_end is a special token, {self.think_end_token}, which {self.engine['server']} leaves out "
                "of texts without telling their tokens: serve with vLLM, or take scorer=shared_prefix."
            )

        def take(place: int, answer: Answer) -> None:
            done(place, self._generated(orders[place], answer))

        self._ask([self._to_write(order) for order in orders], take)

    def fixed_answers(self) -> FixedAnswers:
        """`EngineLM.fixed_answers` of a server."""
        if self._fixed is None:
            self._fixed = self._written_answers()
        return self._fixed

    def _ask(self, payloads: Sequence[Answer], take: Callable[[int, Answer], None]) -> None:
        try:
            self._client.complete_all(payloads, take)
        except RefusedError as error:
            raise CheckpointError(f"{self._client.url} refuses a request: {error}.") from None

    def _to_write(self, order: TextOrder) -> dict[str, Any]:
        """What is asked of a text: what it leaves out a server would take from settings of its own.

        A thinking part may hold stop strings: where one is cut afterwards, none is sent, and the answer is cut here.
        """
        eos = self.tok_decode(self.eot_token_id, False)
        stops = [stop for stop in order.ending.stops if stop and stop != eos and not self.think_end_token]
        asked = {
            "model": self._name,
            "prompt": self._given(order.prompt) if self._manner.takes_tokens or order.text is None else order.text,
            "max_tokens": order.ending.limit,
            "seed": order.seed,
            **({"stop": stops} if stops else {}),
        }
        sampling = dict(order.sampling)
        if sampling["temperature"] > 0:
            sampling = {"top_p": 1.0, **sampling}
            if self._owner in _ALL_TOKENS:
                all_tokens = _ALL_TOKENS[self._owner]
                sampling = {"min_p": 0.0, **sampling, "top_k": sampling.get("top_k") or all_tokens}
        return asked | sampling | ({"return_token_ids": True} if self._owner == "vllm" else {})

    def _generated(self, order: TextOrder, answer: Answer) -> Generated:
        try:
            choice = protocol.first_choice(answer)
            finish = protocol.finish_of(choice, bool(order.ending.stops))
        except ValueError as error:
            raise CheckpointError(f"{self._client.url} answered with {error}: look at its log.") from None
        tokens = choice.get("token_ids")
        if isinstance(tokens, list):  # vLLM's own text lacks the beginning of a character that was not finished
            return order.ending.generated(list(map(int, tokens)), finish)
        whole, stops = str(choice.get("text") or ""), order.ending.stops
        return Generated(answer_in(whole, (), self.tok_decode, stops, self.think_end_token), whole, None, finish)

    def _echo(self, prompt: list[int] | str) -> dict[str, Any]:
        return {
            "model": self._name, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True,
        }  # fmt: skip

    def _given(self, prompt: Tokens) -> list[int] | str:
        """A prompt as the server takes it."""
        if self._manner.takes_tokens:
            return list(prompt)
        begun = self._manner.begins and self._has_begin(prompt)
        return str(self.tok_decode(list(prompt[1:] if begun else prompt), False))

    def _found_out(self) -> _Manner:
        """Find out how to ask, with a text that every checkpoint is asked.

        Raises:
            CheckpointError: neither tokens nor text can be given.
        """
        text, tokens = self._fixed_text()
        whys = []
        for prompt in (list(tokens), text):
            try:
                answer = self._client.complete(self._echo(prompt))
            except RefusedError as error:
                whys.append(f"refuses `echo` ({error})")
                continue
            manner = self._manner_of(prompt, tokens, answer)
            scores = protocol.prompt_scores(answer, len(tokens))
            if manner is not None and scores is not None and manner.begins == self._has_begin(tokens):
                self._fixed = FixedAnswers(PROMPT, tokens, None, tuple(scores.logprobs))
                return replace(manner, scores=True)
            whys.append("returns no log-probabilities of prompts")
        return self._without_scores(text, tokens, whys[0])

    def _manner_of(self, prompt: list[int] | str, tokens: Tokens, answer: Answer) -> _Manner | None:
        """How a server took a prompt, by the number of tokens that it counts; None: not as it was given."""
        told, own = protocol.prompt_length(answer), len(tokens) - self._has_begin(tokens)
        if not isinstance(prompt, str):
            return _Manner(True, self._has_begin(tokens)) if told in (None, len(tokens)) else None
        return _Manner(False, told == own + 1 if told is not None else self._has_begin(tokens))

    def _has_begin(self, tokens: Tokens) -> bool:
        return tokens[:1] == (self.prefix_token_id,)

    def _without_scores(self, text: str, tokens: Tokens, why: str) -> _Manner:
        """How to ask a server that can write and no more.

        Raises:
            CheckpointError: it cannot.
        """
        said = "it gives no choices"
        for prompt in (list(tokens), text):
            try:
                answer = self._client.complete(self._plain(prompt, 1))
                protocol.first_choice(answer)
            except (RefusedError, ValueError) as error:
                said = str(error)
                continue
            manner = self._manner_of(prompt, tokens, answer)
            if manner is None:  # numbers that were read as text
                continue
            if not manner.takes_tokens and protocol.prompt_length(answer) not in (None, len(tokens)):
                log.warning(
                    "%s parts a text into %s tokens, and the checkpoint's tokenizer into %d: texts follow its own",
                    *(self._client.url, protocol.prompt_length(answer), len(tokens)),
                )
            return replace(manner, why=why)
        raise CheckpointError(f"{self._client.url} writes nothing after a text under /v1/completions: {said}.")

    def _plain(self, prompt: list[int] | str, most: int) -> dict[str, Any]:
        return {"model": self._name, "prompt": prompt, "max_tokens": most, "temperature": 0, "logprobs": 1}

    def _written_answers(self) -> FixedAnswers:
        """What is known of the weights of a server that gives no log-probabilities of prompts."""
        text, tokens = self._fixed_text()
        more = {"return_token_ids": True} if self._owner == "vllm" else {}
        given = list(tokens) if self._manner.takes_tokens else text
        answer = self._client.complete(self._plain(given, WRITTEN_TOKENS) | more)
        written = protocol.written_tokens(answer)
        if written is not None:
            named = None if written.tokens is None else tuple(written.tokens)
            said = str(protocol.first_choice(answer).get("text") or "")
            return FixedAnswers(WRITTEN, tokens, named, tuple(written.logprobs), (said,))
        texts = []
        for one, prompt in zip(TEXTS, self.text_prompts(), strict=True):
            answer = self._client.complete(
                self._plain(list(prompt) if self._manner.takes_tokens else one, WRITTEN_TOKENS)
            )
            texts.append(str(protocol.first_choice(answer).get("text") or ""))
        return FixedAnswers(GREEDY, tokens, texts=tuple(texts))

    def _fixed_text(self) -> tuple[str, Tokens]:
        """What every checkpoint is asked, as text and as tokens: as many of some sentences as fit."""
        most, found = min(PROMPT_TOKENS, self.window // 2), ""
        for count in range(1, len(TEXTS) + 1):
            text = ". ".join(TEXTS[:count])
            tokens = prompt_tokens(self, [text])[text]
            if len(tokens) > most and found:
                break
            found = text
        return found, prompt_tokens(self, [found])[found][: self.window - 1]


def _card(client: ServerClient, named: str | None) -> Mapping[str, Any]:
    """What a server says of the model that it is asked for.

    Raises:
        CheckpointError: it does not list it.
    """
    models = client.models()
    card = models[0] if named is None else next((one for one in models if one["id"] == named), None)
    if card is None:
        known = [str(one["id"]) for one in models]
        raise CheckpointError(f"{client.url} serves no '{named}' (scorer.served_model): {suggest(str(named), known)}")
    return card


def _window(card: Mapping[str, Any]) -> int | None:
    """The tokens that a server takes, where it says it: vLLM does, and llama.cpp says those that were trained with."""
    meta = card.get("meta")
    said = card.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    return said if isinstance(said, int) and said > 2 else None


def _version(client: ServerClient, owner: str) -> str:
    """What a server is, as it says itself."""
    if isinstance(said := client.get("/version"), Mapping) and "version" in said:
        return f"{owner or 'server'} {said['version']}"
    if isinstance(said := client.get("/props"), Mapping) and "build_info" in said:
        return f"llama.cpp {said['build_info']}"
    if isinstance(said := client.get("/get_server_info"), Mapping) and "version" in said:
        return f"{owner or 'server'} {said['version']}"
    return owner or "a server"
