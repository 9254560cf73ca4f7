"""The reference: lm-eval's own Hugging Face model on a loaded checkpoint."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from inspect import signature
from itertools import chain
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from evalrun.checkpoints.word_beginnings import word_beginnings
from evalrun.config.schema import ScorerConf
from evalrun.scoring import scorable
from evalrun.scoring.generation.generated import Done, Generated
from evalrun.scoring.generation.lost_texts import undrawable
from evalrun.scoring.generation.written_order import WrittenOrder
from evalrun.scoring.parting import encode_items, items_of
from evalrun.scoring.text_reader import TextReader
from evalrun.scoring.trie import TokenRequest
from evalrun.scoring.whole_texts import KnownTokens, ReadText, Scored, closing, windows
from evalrun.tasks.text_rule import TextRule

Keeps = Callable[["CheckpointLM", Sequence[Any]], list[Generated]]
AT_ONCE = 65_536  # tokens of windows of whole texts that are scored in one call
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
        self.engine: dict[str, str] = {}  # what holds the weights, where that is not this process
        self.parted: set[tuple[str, int]] = set()  # task and item, where choices were parted (see `parting`)
        self.seed = 0  # of what is drawn
        self.lost_texts = 0  # generated while a prediction was no number
        self.keeps: Keeps | None = None  # keeps what is written until its task has a result
        self._written = WrittenOrder(self, (), tick, None)
        self._texts = KnownTokens()
        self._last = 0  # places of an input whose logits are asked for; 0: all
        self._separate = conf.encoding == "separate"
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

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """lm-eval's answers, where every text has a beginning and tokens that the model knows; see `read_texts`."""
        if self.backend != "causal":
            theirs: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
            return theirs
        found = self.read_texts(requests, TextRule())
        return [0.0 - found[request.args[0]].nats for request in requests]

    def read_texts(self, requests: Sequence[Any], rule: TextRule) -> dict[str, ReadText]:
        """What the checkpoint says of whole texts; each distinct one is read once.

        A text is scored after one beginning-of-text token. What the tokenizer would add is left out: lm-eval keeps it,
        so that a second beginning or an end stands inside the text. Windows are made and scored some at a time, so that
        memory holds a text's tokens, and never its logits.

        Args:
            requests: lm-eval's instances of `loglikelihood_rolling`.
            rule: Windows, and whether tokens are kept.

        Returns:
            Text -> what was found.

        Raises:
            TaskError: no token for the beginning of a text, tokens that the model does not know, a rule that does not
                fit its window.
        """
        scorable.check_begin(self, requests)
        window, stride = rule.sizes(self.max_length)
        first = {request.args[0]: request for request in reversed(requests)}
        asked = Counter(request.args[0] for request in requests)
        words = word_beginnings(self.tokenizer, scorable.embedded(self) or 0) if rule.corrected else None
        parts = None if words is None else torch.from_numpy(np.stack([words.ends, words.goes_on])).to(self.device)
        reader = TextReader(partial(self.score_windows, parts=parts), self._tick, AT_ONCE, words)
        begin = self.prefix_token_id
        for coded in self._texts.of(self, first, rule.surprisal):
            if len(coded.tokens):
                scorable.check(self, [first[coded.text]], [([begin], [int(coded.tokens.max())])])
            cut = windows(coded.tokens, begin, window, stride)
            last = [] if words is None else [closing(coded.tokens, begin, window)]
            reader.add(coded, asked[coded.text], chain(cut, last))
        return reader.end()

    def score_windows(self, requests: Sequence[TokenRequest], parts: torch.Tensor | None) -> list[Scored]:
        """What the scored tokens of each window cost, those of a length together, by the softmax that lm-eval takes.

        What is no number is asked again alone, as in `_loglikelihood_tokens`.

        Args:
            requests: The windows.
            parts: [parts, vocabulary] whose masses are asked for; None for none.
        """
        found: dict[int, Scored] = {}
        size = int(self.batch_size)
        order = sorted(range(len(requests)), key=lambda place: -sum(map(len, requests[place])))
        with self._untold():
            for batch in (order[start : start + size] for start in range(0, len(order), size)):
                found |= zip(batch, self._scored_at_once([requests[place] for place in batch], parts), strict=True)
            lost = [place for place in order if not np.isfinite(found[place].nats).all()]
            for count, place in enumerate(lost if size > 1 else (), start=1):
                (found[place],) = self._scored_at_once([requests[place]], parts)
                if count == ALONE and not any(np.isfinite(found[one].nats).all() for one in lost[:ALONE]):
                    break  # the checkpoint is at fault, and not its neighbours
        return [found[place] for place in range(len(requests))]

    def _scored_at_once(self, batch: Sequence[TokenRequest], parts: torch.Tensor | None) -> Iterator[Scored]:
        """One forward pass, padded to the longest window; the arguments are those of `score_windows`."""
        inputs = [torch.tensor([*context, *said[:-1]]) for context, said in batch]
        logits = self._model_call(torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(self.device))
        for row, (tokens, (_, said)) in enumerate(zip(inputs, batch, strict=True)):
            scored = logits[row, len(tokens) - len(said) : len(tokens)]
            logprobs = scored.log_softmax(-1, dtype=self.softmax_dtype)
            at = torch.as_tensor(np.asarray(said), device=logprobs.device)[:, None]
            masses = None
            if parts is not None:
                each = [logprobs[:, part].float().logsumexp(1) for part in parts]
                masses = -torch.stack(each, 1).double().cpu().numpy()
            yield Scored(-logprobs.gather(1, at)[:, 0].double().cpu().numpy(), masses)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, *args: Any, **kwargs: Any) -> list[int]:
        """lm-eval's tokens of a text, also by a tokenizer that has no token for a text's beginning or end."""
        if add_special_tokens is None and self.prefix_token_id is None:
            add_special_tokens = self.add_bos_token is not False
        tokens: list[int] = super().tok_encode(string, add_special_tokens, *args, **kwargs)
        return tokens

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """The texts alone, which is what lm-eval asks for."""
        return [one.text for one in self.generate(requests)]

    def generate(self, requests: Sequence[Any], done: Done | None = None) -> list[Generated]:
        """What the checkpoint writes after each prompt, by lm-eval's own code.

        Args:
            requests: lm-eval's instances; `args` of each is (prompt, generation_kwargs). One that is there again is
                another sample.
            done: Told of each text as soon as it has ended, in any order.
        """
        self._written = WrittenOrder(self, requests, self._tick, done)
        with self._written.noted(), torch.random.fork_rng():
            torch.manual_seed(self.seed)  # what is drawn is the same again, if the same is asked in the same batches
            super().generate_until(requests, disable_tqdm=True)
        return self._written.generated()

    def _note_parted(self, requests: Any, places: Iterable[int]) -> None:
        self.parted.update((requests[place].task_name, requests[place].doc_id) for place in places)

    def _model_generate(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        """lm-eval's texts; those are counted in whose making a prediction was no number.

        Raises:
            CheckpointError: nothing can be drawn from such a prediction.
        """
        unsound = torch.zeros(len(context), dtype=torch.bool, device=context.device)

        def look(module: Any, given: Any, output: Any) -> None:
            sound = output.logits[:, -1].amax(-1).isfinite().to(unsound.device)  # several rows a text with num_beams
            unsound.logical_or_(~sound.view(len(unsound), -1).all(1))

        hook = self.model.register_forward_hook(look)
        try:
            written = super()._model_generate(context, *args, **kwargs)
            self._written.rows += written[:, context.shape[1] if self.backend == "causal" else 1 :].tolist()
            return written
        except RuntimeError:
            if unsound.any():
                raise undrawable() from None
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
        if self._last and len(inps) == 1 and "logits_to_keep" in signature(self.model.forward).parameters:
            with torch.inference_mode():  # lm-eval counts its places from the end
                logits = self.model(inps, logits_to_keep=self._last).logits
        else:
            logits = super()._model_call(inps, *args, **kwargs)
        self._tick(inps.shape[0])
        return logits

    @contextlib.contextmanager
    def _ends_alone(self, tokens: int) -> Iterator[None]:
        """For a while, an input that is run alone gives the logits of its last places: a long text's take gigabytes."""
        self._last = tokens
        try:
            yield
        finally:
            self._last = 0


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
