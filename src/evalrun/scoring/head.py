"""The head where something is scored, and nowhere else: log-probabilities without a matrix of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evalrun.scoring.unsupported import UnsupportedError

ROWS = 1024  # positions at a time
BLOCK = 4096  # tokens of the vocabulary at a time: the block of logits stays in the cache


class Head:
    """A model's output embedding.

    In float32 the logits are too, whatever the model's precision. Another precision gives what lm-eval gives in it:
    logits in the model's, the log-softmax in the one asked for.
    """

    def __init__(self, model: Any, precision: torch.dtype = torch.float32) -> None:
        """Raises UnsupportedError if the logits are no matrix times the last hidden state, scaled or bent."""
        linear = model.get_output_embeddings()
        if not isinstance(linear, torch.nn.Linear):
            raise UnsupportedError(f"its head is a {type(linear).__name__}")
        config = model.config.get_text_config()
        self._factor = (getattr(config, "logit_scale", None) or 1) / (getattr(config, "logits_scaling", None) or 1)
        self._cap = getattr(config, "final_logit_softcapping", None)
        self._weight, self._bias = linear.weight, linear.bias
        self._score = self._by_blocks if precision == torch.float32 else self._rounded
        self.precision = precision

    @property
    def device(self) -> torch.device:
        """The device that the head is on."""
        return self._weight.device

    def __call__(self, hidden: Tensor, rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of tokens.

        Args:
            hidden: [positions, hidden] last hidden states.
            rows: [pairs] which position, ascending.
            tokens: [pairs] which token.

        Returns:
            [pairs] float32 log-probability in nats, and whether the token is the most likely (the first of equals).
        """
        found = []
        for start in range(0, len(hidden), ROWS):
            first, last = torch.searchsorted(rows, torch.tensor([start, start + ROWS], device=rows.device)).tolist()
            part = slice(first, last)
            found.append(self._score(hidden[start : start + ROWS], rows[part] - start, tokens[part]))
        logprobs, greedy = zip(*found, strict=True)
        return torch.cat(logprobs), torch.cat(greedy)

    def likeliest(self, hidden: Tensor, whole: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """What generation goes on with: logits in the model's precision, read as float32.

        Args:
            hidden: [positions, hidden] last hidden states.
            whole: Whether the logits are wanted; else blocks of them are looked at while they are in the cache.

        Returns:
            [positions] the largest logit, and the first token that has it; [positions, vocabulary] logits or None.
        """
        columns = hidden.T  # a product of the weights by few states is faster than one of the states by the weights
        if whole:
            logits = self._logits(columns, slice(None)).T.contiguous()
            return *logits.max(1), logits
        largest = hidden.new_full((len(hidden),), float("-inf"), dtype=torch.float32)
        tokens = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
        for start in range(0, len(self._weight), BLOCK):
            highest, place = self._logits(columns, slice(start, start + BLOCK)).max(0)
            tokens = torch.where(highest > largest, place + start, tokens)
            largest = torch.maximum(largest, highest)  # what is no number stays so
        return largest, tokens, None

    def _logits(self, columns: Tensor, part: slice) -> Tensor:
        """[tokens of the part, positions] float32, of [hidden, positions]."""
        logits = self._weight[part] @ columns
        if self._bias is not None:
            logits += self._bias[part, None]
        return self._changed(logits).float()

    def masses(self, hidden: Tensor, parts: Tensor) -> Tensor:
        """Log-probabilities of parts of the vocabulary.

        Args:
            hidden: [positions, hidden] last hidden states.
            parts: [parts, vocabulary] which tokens each part has.

        Returns:
            [positions, parts] float32, in nats.
        """
        found = [self._masses(hidden[start : start + ROWS], parts.T.float()) for start in range(0, len(hidden), ROWS)]
        return torch.cat(found) if found else hidden.new_empty(0, len(parts), dtype=torch.float32)

    def _masses(self, hidden: Tensor, member: Tensor) -> Tensor:
        """The sums of `_by_blocks`, of the whole vocabulary and of its parts (`member`: [vocabulary, parts])."""
        exact = self.precision == torch.float32
        hidden = hidden.float() if exact else hidden
        largest = hidden.new_full((len(hidden),), float("-inf"), dtype=torch.float32)
        total = hidden.new_zeros(len(hidden), 1 + member.shape[1], dtype=torch.float32)
        for start in range(0, len(self._weight), BLOCK):
            weight = self._weight[start : start + BLOCK]
            bias = None if self._bias is None else self._bias[start : start + BLOCK]
            if exact:
                weight, bias = weight.float(), None if bias is None else bias.float()
            logits = self._changed(torch.nn.functional.linear(hidden, weight, bias)).float()
            above = torch.maximum(largest, logits.amax(1))
            start_at = above.masked_fill(above == float("-inf"), 0)
            share = logits.sub_(start_at[:, None]).exp_()
            own = torch.cat([share.sum(1, keepdim=True), share @ member[start : start + BLOCK]], 1)
            total = total * (largest - start_at).exp()[:, None] + own
            largest = above
        return total[:, 1:].log() - total[:, :1].log()

    def _changed(self, logits: Tensor) -> Tensor:
        """What a model does to its logits, in their place: Cohere multiplies, Granite divides, Gemma 2 bends them."""
        if self._factor != 1:
            logits *= self._factor
        if self._cap:
            logits.div_(self._cap).tanh_().mul_(self._cap)
        return logits

    def _rounded(self, hidden: Tensor, rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._changed(torch.nn.functional.linear(hidden, self._weight, self._bias))
        logprobs = logits.log_softmax(-1, dtype=self.precision)
        return logprobs[rows, tokens].float(), logprobs.argmax(-1)[rows] == tokens

    def _by_blocks(self, hidden: Tensor, rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the vocabulary grows block by block, kept relative to the largest logit so far.

        (Online normaliser calculation for softmax, Milakov and Gimelshein 2018.)
        """
        hidden = hidden.float()
        count, size = len(hidden), len(self._weight)
        largest = hidden.new_full((count,), float("-inf"))
        total = hidden.new_zeros(count)
        scored, first = hidden.new_empty(len(tokens)), torch.empty(len(tokens), dtype=torch.bool, device=hidden.device)
        order = tokens.argsort()
        bounds = torch.searchsorted(tokens[order], torch.arange(0, size + BLOCK, BLOCK, device=tokens.device)).tolist()
        buffer = hidden.new_empty(count, BLOCK)
        for block, start in enumerate(range(0, size, BLOCK)):
            weight = self._weight[start : start + BLOCK].float()
            logits = buffer if len(weight) == BLOCK else hidden.new_empty(count, len(weight))
            torch.mm(hidden, weight.T, out=logits)
            if self._bias is not None:
                logits += self._bias[start : start + BLOCK].float()
            self._changed(logits)
            here = order[bounds[block] : bounds[block + 1]]
            position, column, highest = rows[here], tokens[here] - start, logits.amax(1)
            found = logits[position, column]
            leads = (found >= highest[position]) & (found > largest[position])
            lead = leads.nonzero()[:, 0]  # few: whole rows are looked at for these alone
            leads[lead] = logits[position[lead]].argmax(1) == column[lead]
            scored[here], first[here] = found, leads
            above = torch.maximum(largest, highest)
            start_at = above.masked_fill(above == float("-inf"), 0)  # a block that a bias masks has no largest
            total = total * (largest - start_at).exp() + logits.sub_(start_at[:, None]).exp_().sum(1)
            largest = above
        return scored - (largest + total.log())[rows], first & (scored >= largest[rows])
