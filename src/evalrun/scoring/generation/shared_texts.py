"""Texts for a task: written together, each as lm-eval's own code writes it where it is alone."""

from __future__ import annotations

import contextlib
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from evalrun.core.errors import CheckpointError, TaskError
from evalrun.core.text import counted
from evalrun.scoring import attention, scorable
from evalrun.scoring.generation import text_check
from evalrun.scoring.generation.ending import Ending
from evalrun.scoring.generation.generated import Done, Generated
from evalrun.scoring.generation.prompt_tokens import prompt_tokens
from evalrun.scoring.generation.token_draws import TokenDraw, draw_of, shares
from evalrun.scoring.generation.writer import Text, Writer
from evalrun.scoring.shared_answers import Counts
from evalrun.scoring.shared_lm import Form, SharedLM
from evalrun.scoring.trie import LONGEST_ROW
from evalrun.scoring.unsupported import UnsupportedError

log = logging.getLogger(__name__)

_checked: dict[Form, int] = {}  # -> tokens of the longest prompt that was checked in this process
AT_ONCE = 256  # texts that are written at the same time, where memory allows it
_SHARE = 4  # one so many-th of the free memory is for what texts have to themselves
_LENGTHS = ("dynamic", "longrope")  # rotations that depend on how long the longest text of a batch is


class SharedTextsLM(SharedLM):
    """lm-eval's Hugging Face model with a faster way to the same texts."""

    def _begin(self) -> None:
        super()._begin()
        self._left_texts: str | None = None  # why this checkpoint's texts are left to lm-eval's own path
        self._texts_probed = False
        self._at_once = AT_ONCE

    def generate(self, requests: Sequence[Any], done: Done | None = None) -> list[Generated]:
        """What the checkpoint writes after each prompt.

        Args:
            requests: lm-eval's instances; `args` of each is (prompt, generation_kwargs). One that is there again is
                another sample.
            done: Told of each text as soon as it has ended, in any order.

        Raises:
            TaskError: a prompt without tokens or with unknown ones, a limit that leaves it none.
            CheckpointError: memory is short even for one text, nothing can be drawn, or `verify` finds a difference.
        """
        if not requests:
            return []
        reason = self._why_not() or self._left_texts or self._depends_on_length()
        if reason is None:
            try:
                texts = self._texts_of(requests)
            except UnsupportedError as error:
                reason = str(error)
            else:
                try:
                    return self._shared_texts(requests, texts, done)
                except UnsupportedError as error:
                    self._left_texts = reason = str(error)
            self._say_once("texts are written", reason)
        self.used = f"lm_eval: {reason}"
        return super().generate(requests, done)

    def _depends_on_length(self) -> str | None:
        rope = getattr(self.model.config.get_text_config(), "rope_parameters", None) or {}
        kind = rope.get("rope_type") if isinstance(rope, dict) else None
        return f"its rotations ({kind}) depend on the length of a text" if kind in _LENGTHS else None

    def _texts_of(self, requests: Sequence[Any]) -> list[Text]:
        """One text to be written for each request; requests that would be given the same text share one.

        Raises:
            UnsupportedError: settings that are left to lm-eval's own path.
        """
        endings: dict[str, tuple[Ending, TokenDraw | None]] = {}
        for request in requests:
            wanted = repr(request.args[1])
            if wanted not in endings:
                endings[wanted] = Ending(self, request.args[1]), draw_of(self, request.args[1])
        coded = self._coded({request.args[0]: request for request in reversed(requests)})
        longest, lost = 0, 0
        seen: Counter[int] = Counter()
        same: dict[Any, Text] = {}
        texts = []
        for request in requests:
            wanted, tokens = repr(request.args[1]), coded[request.args[0]]
            ending, draw = endings[wanted]
            room = self.max_length - ending.limit
            if room <= 0:
                raise TaskError(
                    f"task '{request.task_name}' asks for up to {ending.limit} tokens, and the model reads "
                    f"{self.max_length} at once: set max_gen_toks in its generation_kwargs to less."
                )
            lost, longest = lost + (len(tokens) > room), max(longest, len(tokens) - room)
            prompt = tokens[-room:]
            if draw is None:
                texts.append(same.setdefault((prompt, wanted), Text(prompt, ending, ending.limit)))
            else:
                at = shares(self.seed, request, seen[id(request)], ending.limit)
                texts.append(Text(prompt, ending, ending.limit, draw, at))
            seen[id(request)] += 1
        if lost:
            log.warning(
                "%d of %d prompts leave too little of the model's window of %d tokens for an answer: up to %d tokens "
                "are cut from their beginning, as lm-eval does",
                *(lost, len(requests), self.max_length, longest),
            )
        return texts

    def _coded(self, first: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Tokens of prompts, each as lm-eval makes them where it is alone.

        Args:
            first: Prompt -> the first request that has it.

        Raises:
            TaskError: none, or such that the model does not know.
        """
        found = prompt_tokens(self, first)
        scorable.check(
            self, [first[prompt] for prompt in found], [(found[prompt], found[prompt][-1:] or (0,)) for prompt in found]
        )
        return found

    def _shared_texts(self, requests: Sequence[Any], texts: Sequence[Text], done: Done | None) -> list[Generated]:
        """Check the checkpoint, write the texts, and say what became of each request."""
        places: dict[int, list[int]] = defaultdict(list)
        for place, text in enumerate(texts):
            places[id(text)].append(place)
        distinct = list({id(text): text for text in texts}.values())
        self.counts = Counts()
        if not self._texts_probed:
            self._hold_against(text_check.probes(distinct))
            self._texts_probed = True
        longest = max(len(text.prompt) for text in distinct)
        if longest > _checked.get(self._form, 0):
            self._hold_against(text_check.sample(distinct))
            _checked[self._form] = longest
        checked = self.counts
        self.counts = Counts(len(requests), checked=checked.checked, ties=checked.ties)
        found: dict[int, Generated] = {}

        def told(text: Text) -> None:
            of = places[id(text)]
            self.lost_texts += len(of) * text.lost
            found.update(dict.fromkeys(of, text.ending.generated(text.tokens, text.finish)))
            self._tick(len(of))
            if done is not None:
                for place in of:
                    done(place, found[place])

        self._write(distinct, told)
        self._verify_texts(distinct)
        self.used = "shared_prefix"
        for place, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, found[place].text)
        return [found[place] for place in range(len(requests))]

    def _write(self, texts: Sequence[Text], told: Callable[[Text], None]) -> None:
        """Write texts; those that had not ended when memory ran out are begun again, fewer at a time.

        Raises:
            CheckpointError: one at a time is too much.
        """
        slots = min(self._at_once, self._fitting(texts))
        while some := [text for text in texts if not text.finish]:
            for text in some:
                text.tokens.clear()
                text.largest.clear()
                text.lost = False
            try:
                with attention.replaced(self.model):
                    Writer(self.model, self.device, self.counts, told).write(some, slots, self._budget)
            except (torch.OutOfMemoryError, MemoryError):
                if slots == 1 or self._budget > LONGEST_ROW:
                    self._halve_budget()
                slots = self._at_once = max(1, slots // 2)

    def _fitting(self, texts: Sequence[Text]) -> int:
        """How many texts fit a share of the memory that is free, if all get as long as they may; at least a batch."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        a_token = 2 * config.num_hidden_layers * heads * width * self.model.dtype.itemsize
        longest = max(len(text.prompt) + text.limit for text in texts)
        fitting: int = free_memory(self.device) // _SHARE // (a_token * longest)
        return max(int(self.batch_size), fitting)

    def _hold_against(self, texts: Sequence[Text]) -> None:
        """Write a few texts and compare them with lm-eval's own path.

        Raises:
            UnsupportedError: they differ by more than rounding.
        """
        self._write(texts, lambda text: None)
        self._compare_texts(texts)

    def _compare_texts(self, texts: Sequence[Text]) -> None:
        """Hold written texts against lm-eval's, or raise UnsupportedError."""
        with self._unrecorded():
            known: dict[tuple[int, ...], list[int]] = {}
            for text in texts:
                if text.lost:
                    continue
                if text.draw is None and text.prompt not in known:
                    known[text.prompt] = text_check.written_alone(self, text)
                tied, wrong = (
                    text_check.drawn_fault(self, text)
                    if text.draw
                    else text_check.fault(self, text, known[text.prompt])
                )
                self.counts.ties += tied
                if wrong is not None:
                    raise UnsupportedError(f"a self-check found another text ({wrong})")
        self.counts.checked += len(texts)

    def _verify_texts(self, texts: Sequence[Text]) -> None:
        """Compare texts that `scorer.verify` draws, whole.

        Raises:
            CheckpointError: they differ by more than rounding.
        """
        if not self._conf.verify:
            return
        drawn = random.sample(list(texts), min(self._conf.verify, len(texts)))
        before = self.counts.ties
        try:
            self._compare_texts(drawn)
        except UnsupportedError as error:
            raise CheckpointError(
                f"scorer.verify found a wrong result: {error}; use scorer=lm_eval and report it."
            ) from None
        said = "verify: %s written again by lm-eval's own path, %d of them part where two tokens are equally likely"
        log.info(said, counted(len(drawn), "text"), self.counts.ties - before)

    @contextlib.contextmanager
    def _unrecorded(self) -> Iterator[None]:
        """Let what lm-eval's own path writes for a check count for nothing."""
        lost, written = self.lost_texts, self._written
        try:
            yield
        finally:
            self.lost_texts, self._written = lost, written


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a model is."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        known = dict(line.split(":") for line in file)
        return int(known["MemAvailable"].split()[0]) * 1024
    return 1 << 32
