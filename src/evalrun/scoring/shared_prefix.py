"""The scorer: each distinct token through the model once, the head only where a choice is scored.

A drop-in for lm-eval's Hugging Face model: every task's log-likelihood requests come here, and the windows of whole
texts; `generation` writes texts. A model whose attention or head is not understood is left to lm-eval's own code.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, TaskError
from evalrun.core.text import counted
from evalrun.scoring import attention, scorable, self_check
from evalrun.scoring.generation.shared_texts import SharedTextsLM
from evalrun.scoring.head import ROWS, Head
from evalrun.scoring.parting import encode_items, items_of
from evalrun.scoring.passes import next_pass
from evalrun.scoring.self_check import Answers
from evalrun.scoring.shared_answers import Counts, Shared
from evalrun.scoring.shared_lm import Form
from evalrun.scoring.trie import TokenRequest, TokenTrie, make_forest, make_trie
from evalrun.scoring.trie_cache import Coded, TrieCache
from evalrun.scoring.unsupported import UnsupportedError
from evalrun.scoring.whole_texts import Scored

log = logging.getLogger(__name__)

_checked: dict[Form, int] = {}  # -> tokens of the longest input that was checked in this process


class SharedPrefixLM(SharedTextsLM):
    """lm-eval's Hugging Face model with a faster way to the same log-likelihoods."""

    def __init__(self, model: Any, tokenizer: Any, conf: ScorerConf, tick: Callable[[int], None]) -> None:
        self._plans = TrieCache(tokenizer, conf.cache)
        super().__init__(model, tokenizer, conf, tick)

    def _begin(self) -> None:
        """Forget what was learnt of a checkpoint: its result is the same wherever in a sweep it stands."""
        super()._begin()
        self._probed = False

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Answers:
        """Log-likelihood in nats of each continuation, and whether greedy decoding would say it.

        Args:
            requests: lm-eval's instances; `args` of each is (context, continuation).
            disable_tqdm: Of lm-eval's interface; there is no bar here.

        Raises:
            TaskError: a continuation that gives no token, or more than fit the model's window.
            CheckpointError: memory is short even for the smallest pass, or `verify` finds a difference.
        """
        if not requests:
            return []
        pairs, items = [request.args for request in requests], items_of(requests)
        rules = [self.prefix_token_id, self.add_bos_token, self._separate, scorable.embedded(self)]

        def tokens() -> Coded:
            coded, parted = encode_items(self, pairs, items, self._separate)
            scorable.check(self, requests, coded)
            return coded, parted

        shared = self._shared(lambda: self._plans.get([rules, pairs, items], self.max_length, tokens))
        if shared is None:
            found: Answers = super().loglikelihood(requests, disable_tqdm=True)
            return found
        self._note_parted(requests, np.flatnonzero(shared.plan.request_parted).tolist())
        for request, answer in zip(requests, shared.answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return shared.answers

    def score_tokens(self, requests: Sequence[TokenRequest]) -> Answers:
        """Log-likelihoods of requests that are tokens already, and whether each is greedy."""
        content = [[list(map(int, part)) for part in request] for request in requests]
        shared = self._shared(lambda: self._plans.get(content, self.max_length, lambda: (requests, ())))
        return self._reference(requests) if shared is None else shared.answers

    def score_windows(self, requests: Sequence[TokenRequest], parts: Tensor | None) -> list[Scored]:
        """What the scored tokens of each window cost: windows are requests that share next to nothing."""
        with self._untold():  # a text is told when its last window is read
            shared = self._shared(lambda: make_forest(requests, self.max_length), parts)
        return super().score_windows(requests, parts) if shared is None else shared.each()

    def _shared(self, plan_of: Callable[[], TokenTrie], parts: Tensor | None = None) -> Shared | None:
        """Score the requests of a plan, or say in `used` why lm-eval's own path has to.

        Args:
            plan_of: Makes the plan.
            parts: [parts, vocabulary] whose masses are asked for too.
        """
        reason = self._why_not() or self._left
        if reason is None:
            try:
                plan = plan_of()
            except ValueError as error:
                raise TaskError(f"{error}: a continuation must give a token and fit the window.") from None
            try:
                probed = self._probe(plan)
                shared = self._answers(plan, parts)
                self.counts.checked += probed
                self._check(shared)
                self._warn_of_truncation(plan)
                self.used = "shared_prefix"
                return shared
            except UnsupportedError as error:
                self._left = reason = str(error)
                self._say_once("the model is scored", reason)
        self.used = f"lm_eval: {reason}"
        return None

    def _why_not(self) -> str | None:
        """What rules sharing out before anything is run."""
        return super()._why_not() or ("scorer.logits_cache asks for lm-eval's own" if self._conf.logits_cache else None)

    def _answers(self, plan: TokenTrie, parts: Tensor | None = None) -> Shared:
        """Answers of all requests, each as if it were alone.

        What is no number reaches its neighbours in a row through attention, which multiplies by 0 what a token may not
        see. Only where such an answer is found is all run again with that kept apart.
        """
        shared = self._run(plan, parts)
        if np.isfinite(shared.logprobs).all():
            return shared
        with self._untold():
            return self._run(plan, parts, apart=True)

    @torch.inference_mode()
    def _run(self, plan: TokenTrie, parts: Tensor | None, apart: bool = False) -> Shared:
        """Walk through the trie, pass by pass: log-probabilities of all its pairs."""
        head = Head(self.model, self.softmax_dtype or self.model.dtype)
        self.counts = Counts(plan.requests, len(plan.token))
        answered = np.sort(plan.last_nodes())
        logprobs, greedy = np.empty(len(plan.pair_node)), np.empty(len(plan.pair_node), bool)
        masses = None if parts is None else np.empty((len(plan.pair_node), len(parts)))
        waiting: list[tuple[Tensor, slice]] = []  # hidden states that the head has yet to see, and their pairs

        def ask_head() -> None:
            pairs = slice(waiting[0][1].start, waiting[-1][1].stop)
            positions = np.unique(plan.pair_node[pairs], return_inverse=True)[1]
            on_device = [torch.from_numpy(array).to(head.device) for array in (positions, plan.pair_token[pairs])]
            states = torch.cat([hidden for hidden, _ in waiting]).to(head.device)
            logprobs[pairs], greedy[pairs] = (tensor.cpu().numpy() for tensor in head(states, *on_device))
            if masses is not None and parts is not None:
                masses[pairs] = head.masses(states, parts.to(head.device)).cpu().numpy()[positions]
            waiting.clear()

        row, kept = 0, dict[int, attention.KeysValues]()
        with attention.replaced(self.model):
            while row < len(plan.row_start) - 1:
                work, next_row = next_pass(plan, row, self._budget)
                step = attention.Step(plan, work, kept, apart)
                try:
                    hidden = attention.hidden_states(self.model, step, self.device)
                except (torch.OutOfMemoryError, MemoryError):
                    self._halve_budget()
                    continue
                pairs = slice(*np.searchsorted(plan.pair_node, (work.start, work.stop)))
                scored = np.unique(plan.pair_node[pairs]) - work.start
                if len(scored):
                    waiting.append((hidden[torch.from_numpy(scored).to(hidden.device)], pairs))
                if sum(len(states) for states, _ in waiting) >= ROWS:
                    ask_head()
                self.counts.passes += 1
                self.counts.body_tokens += work.stop - work.start
                self.counts.head_rows += len(scored)
                row, kept = next_row, step.next_kept
                self._tick(int(np.diff(np.searchsorted(answered, (work.start, work.stop)))[0]))
            if waiting:
                ask_head()
        return Shared(plan, logprobs, greedy, head.precision, masses)

    def _warn_of_truncation(self, plan: TokenTrie) -> None:
        cut = plan.request_lost[plan.request_lost > 0]
        if len(cut):
            log.warning(
                "%d of %d prompts with their continuations are longer than the model's window of %d tokens: up to %d "
                "tokens are cut from their beginning, as lm-eval does",
                *(len(cut), plan.requests, self.max_length, cut.max()),
            )

    def _probe(self, plan: TokenTrie) -> int:
        """Compare both paths on the ends of a few requests, before anything of a checkpoint is scored.

        Cheap enough for every checkpoint: code, weights or config may differ from those of the one before.

        Returns:
            How many requests lm-eval's own path scored.

        Raises:
            UnsupportedError: they differ; sharing is not exact for this checkpoint.
        """
        if self._probed:
            return 0
        ends = self_check.probe_requests(plan)
        with self._untold():
            self._compare(self._answers(make_trie(ends, self.max_length)).answers, self._reference(ends))
        self._probed = True
        return len(ends)

    def _check(self, shared: Shared) -> None:
        """Compare a handful of answers with lm-eval's own path, before the first results of a model count.

        Once for a class of models with one config in a process, and again for inputs longer than those that were
        checked: a window that slides shows only there.

        Raises:
            UnsupportedError: they differ; sharing is not exact for this model.
            CheckpointError: they differ among those that `verify` drew.
        """
        plan = shared.plan
        if plan.longest > _checked.get(self._form, 0):
            chosen = self_check.sample(plan)
            with self._ends_alone(self_check.ENDS):
                theirs = self._reference([self_check.end_of(plan.request(i)) for i in chosen])
            self._compare(shared.ends(chosen), theirs)
            self.counts.checked += len(chosen)
            _checked[self._form] = plan.longest
        if self._conf.verify:
            drawn = random.sample(range(plan.requests), min(self._conf.verify, plan.requests))
            ours, theirs = [shared.answers[i] for i in drawn], self._reference([plan.request(i) for i in drawn])
            self.counts.checked += len(drawn)
            worst = self._largest_difference(ours, theirs)
            said = "verify: %s scored again by lm-eval's own path, largest difference %.1e nats"
            log.info(said, counted(len(drawn), "request"), self.counts.difference)
            if worst is not None:
                raise CheckpointError(f"scorer.verify found a wrong result: {worst}; use scorer=lm_eval and report it.")

    def _compare(self, ours: Answers, theirs: Answers) -> None:
        worst = self._largest_difference(ours, theirs)
        if worst is not None:
            raise UnsupportedError(f"a self-check found another result ({worst})")

    def _largest_difference(self, ours: Answers, theirs: Answers) -> str | None:
        """The worst of the answers that are further from lm-eval's than rounding, in words; None: all are close."""
        largest, worst = self_check.compare(ours, theirs, self.model.dtype)
        self.counts.difference = max(self.counts.difference, largest)
        return worst

    def _reference(self, requests: Sequence[TokenRequest]) -> Answers:
        """lm-eval's own path, which tells no bar; long requests few at a time, whose logits take gigabytes."""
        whole = [(None, list(context), list(continuation)) for context, continuation in requests]
        longest = max(len(context) + len(continuation) for _, context, continuation in whole)
        at_once = max(1, self_check.CHECKED_TOKENS // longest)
        found: Answers = []
        with self._untold():
            for start in range(0, len(whole), at_once):
                found += self.score_encoded(whole[start : start + at_once])
        return found
