"""The reference: lm-eval's own Hugging Face model on a loaded checkpoint."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from evalrun.checkpoints.word_beginnings import word_beginnings
from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, TaskError
from evalrun.scoring import scorable, self_check
from evalrun.scoring.head import Head
from evalrun.scoring.parting import encode_items, items_of
from evalrun.scoring.text_tokens import TextTokens, score, tokens_of
from evalrun.scoring.unsupported import UnsupportedError

ALONE = 64  # answers that are no numbers are asked again alone, until so many show that no neighbour is at fault


class CheckpointLM(HFLM):
    """lm-eval's Hugging Face model on a loaded checkpoint, with one progress bar of ours for the job."""

    def __init__(self, model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None]) -> None:
        """Wrap a loaded model as lm-eval's; its head is left as it was loaded.

        Args:
            model: A causal model of transformers, on its device.
            tokenizer: Its own.
            conf: The scorer's settings.
            tick: Called with the number of requests that were scored since the last call.
        """
        self._tick = tick
        self.used = "lm_eval"  # what scored the last requests, and why if it is not what was asked for
        self.parted: set[tuple[str, int]] = set()  # task and item, where choices were parted (see `parting`)
        self.lost_texts = 0  # generated while a prediction was no number
        self._separate = conf.encoding == "separate"
        self._bare = False  # whether texts are tokenised without the tokenizer's own special tokens
        chatter = logging.getLogger("lm_eval.models.huggingface")
        chatter.disabled = True  # it warns at each start that the model is loaded already, which is the point
        try:
            with _head_as_loaded(model):
                super().__init__(
                    pretrained=model,
                    tokenizer=tokenizer,
                    batch_size=conf.batch_size,
                    softmax_dtype=conf.softmax_dtype,
                    logits_cache=conf.logits_cache,
                )
        finally:
            chatter.disabled = False

    def replace_model(self, model: Any) -> None:
        """Go on with another checkpoint of the same architecture, tokenizer and device."""
        self._model = self.pretrained = model
        self._config = model.config

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """lm-eval's answers; items whose choices it cannot tell apart by its tokens are parted."""
        if self.backend != "causal":
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        pairs = [request.args for request in requests]
        coded, parted = encode_items(self, pairs, items_of(requests), self._separate)
        scorable.check(self, requests, coded)
        self._note_parted(requests, parted)
        whole = [(pair, list(a), list(b)) for pair, (a, b) in zip(pairs, coded, strict=True)]
        return self.score_encoded(whole, disable_tqdm)

    def score_encoded(self, requests: Sequence[Any], disable_tqdm: bool = True) -> Any:
        """lm-eval's own answers to (pair or None, context tokens, continuation tokens)."""
        return self._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """lm-eval's answers, where every text has a beginning and tokens that the model knows.

        The text is scored after one beginning-of-text token. What the tokenizer would add is left out: lm-eval keeps
        it, so that a second beginning or an end stands inside the text.
        """
        scorable.check_begin(self, requests)
        begin = self.prefix_token_id
        self._bare = True
        try:
            largest = ([max([begin, *self.tok_encode(request.args[0])])] for request in requests)
            scorable.check(self, requests, [([begin], token) for token in largest])
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self._bare = False

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, *args: Any, **kwargs: Any) -> list[int]:
        """lm-eval's tokens of a text, also by a tokenizer that has no token for a text's beginning or end."""
        if add_special_tokens is None and self._bare:
            add_special_tokens = False
        elif add_special_tokens is None and self.prefix_token_id is None:
            add_special_tokens = self.add_bos_token is not False
        tokens: list[int] = super().tok_encode(string, add_special_tokens, *args, **kwargs)
        return tokens

    def _note_parted(self, requests: Any, places: Iterable[int]) -> None:
        self.parted.update((requests[place].task_name, requests[place].doc_id) for place in places)

    def _model_generate(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        """lm-eval's texts; those are counted in whose making a prediction was no number.

        Raises:
            CheckpointError: nothing can be drawn from such a prediction.
        """
        unsound = torch.zeros(len(context), dtype=torch.bool, device=context.device)

        def look(module: Any, given: Any, output: Any) -> None:
            unsound.logical_or_(~output.logits[:, -1].amax(-1).isfinite().to(unsound.device))

        hook = self.model.register_forward_hook(look)
        try:
            return super()._model_generate(context, *args, **kwargs)
        except RuntimeError:
            if unsound.any():
                raise CheckpointError(
                    "no text can be drawn from this checkpoint, because what it predicts is NaN or infinite: the "
                    "training diverged, a file is damaged, or its precision overflows (scorer.dtype=float32)."
                ) from None
            raise
        finally:
            hook.remove()
            self.lost_texts += int(unsound.sum())

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of a prompt and of what is scored after it.

        lm-eval 0.4 tokenises both as one text and splits it; 0.3.0 tokenises each alone and leaves spaces where they
        are. The two differ where a token would span the join, or the prompt ends in white space.
        """
        if self._separate:
            return self.tok_encode(context), self.tok_encode(continuation, add_special_tokens=False)
        pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
        return pair

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        """lm-eval's answers; what is no number is asked again alone.

        In a batch, padding and attention carry one row's NaN, or that of the padding token, to others.
        """
        found = list(super()._loglikelihood_tokens(requests, *args, **kwargs))
        lost = [place for place, (value, _) in enumerate(found) if not math.isfinite(value)]
        if len(requests) > 1:
            with self._untold():
                for count, place in enumerate(lost, start=1):
                    (found[place],) = super()._loglikelihood_tokens([requests[place]], disable_tqdm=True)
                    if count == ALONE and not any(math.isfinite(found[place][0]) for place in lost[:ALONE]):
                        break  # the checkpoint is at fault, and not its neighbours
        return found

    def text_tokens(self, requests: Sequence[Any], corrected: bool) -> list[TextTokens]:
        """The tokens of whole texts with their nats, as `loglikelihood_rolling` adds them up.

        Args:
            requests: Its instances.
            corrected: With the mass of words' beginnings.

        Raises:
            TaskError: a model whose head is no matrix, or that is not causal; texts that cannot be scored.
            CheckpointError: the sum over a text's tokens is not lm-eval's answer.
        """
        scorable.check_begin(self, requests)
        if self.backend != "causal":
            raise TaskError("surprisal of tokens is of causal language models: take surprisal out of the task's file.")
        try:
            head = Head(self.model, self.softmax_dtype or self.model.dtype)
        except UnsupportedError as error:
            raise TaskError(f"surprisal of tokens cannot be had of this model: {error}.") from None
        words = word_beginnings(self.tokenizer, len(self.model.get_output_embeddings().weight)) if corrected else None
        self._bare = True
        try:
            found = [tokens_of(self.tokenizer, self.tok_encode, one.args[0], corrected) for one in requests]
        finally:
            self._bare = False
        largest = [([self.prefix_token_id], [max([0, *one.token])]) for one in found]
        scorable.check(self, requests, largest)
        score(self.model, head, found, self.prefix_token_id, self.max_length, words)
        self._tick(len(requests))
        self._check_sums(requests, found)
        return found

    def _check_sums(self, requests: Sequence[Any], found: Sequence[TextTokens]) -> None:
        """Hold the shortest text against lm-eval's own answer.

        Raises:
            CheckpointError: they differ by more than rounding.
        """
        place = min(range(len(found)), key=lambda one: (len(found[one].token) < 2, len(found[one].token)))
        with self._untold():
            theirs = [(float(self.loglikelihood_rolling([requests[place]])[0]), False)]
        _, worst = self_check.compare([(-float(found[place].nats.sum()), False)], theirs, self.model.dtype)
        if worst is not None:
            raise CheckpointError(f"tokens of texts do not add up to lm-eval's answer: {worst}; report it.")

    @contextlib.contextmanager
    def _untold(self) -> Iterator[None]:
        """Let no bar be told of requests for a while."""
        tick, self._tick = self._tick, lambda rows: None
        try:
            yield
        finally:
            self._tick = tick

    def _model_call(self, inps: Any, *args: Any, **kwargs: Any) -> Any:
        """One forward pass, [batch, tokens] -> [batch, tokens, vocabulary]; tells the bar how many rows."""
        logits = super()._model_call(inps, *args, **kwargs)
        self._tick(inps.shape[0])
        return logits


@contextlib.contextmanager
def _head_as_loaded(model: Any) -> Iterator[None]:
    """Keep lm-eval's constructor from tying the weights by the config.

    Loading has tied what the file ties. Where the config ties the head to the input embedding and the file holds
    another, loading keeps the file's; lm-eval would overwrite it in the first model of a process and in no later one.
    """
    model.tie_weights = lambda *args, **kwargs: None
    try:
        yield
    finally:
        del model.tie_weights
