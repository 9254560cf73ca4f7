"""Writes many texts at once: prompts run through in passes, and each text joins and leaves the batch by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalrun.scoring import attention
from evalrun.scoring.attention import KeysValues
from evalrun.scoring.generation.decode_step import DecodeStep
from evalrun.scoring.generation.ending import Ending
from evalrun.scoring.generation.keys_values import Segment, Slots
from evalrun.scoring.generation.lost_texts import undrawable
from evalrun.scoring.generation.prompt_tree import Leaf, PromptTree
from evalrun.scoring.generation.token_draws import TokenDraw
from evalrun.scoring.head import Head
from evalrun.scoring.shared_answers import Counts


@dataclass
class Text:
    """One text to be written, and what there is of it.

    Attributes:
        prompt: Tokens, at least one.
        ending: When it ends.
        limit: Most tokens.
        draw: How tokens are chosen; None: the likeliest.
        shares: [limit] where each is drawn; None: nothing is.
        tokens: Written so far.
        largest: The largest logit before each.
        finish: Why it ended; empty while it has not.
        lost: Whether a prediction was no number.
    """

    prompt: tuple[int, ...]
    ending: Ending
    limit: int
    draw: TokenDraw | None = None
    shares: NDArray[np.float64] | None = None
    tokens: list[int] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)
    finish: str = ""
    lost: bool = False


@dataclass
class _Started:
    """A text whose prompt was read and that waits for a slot."""

    text: Text
    leaf: Leaf
    layers: dict[int, KeysValues]  # of the end of its prompt


class Writer:
    """Texts on one checkpoint."""

    def __init__(
        self, model: torch.nn.Module, device: torch.device, counts: Counts, told: Callable[[Text], None]
    ) -> None:
        """Prepare to write.

        Args:
            model: Whose attention is `attention.replaced` while this writes.
            device: Where its embeddings are.
            counts: Told of what it costs.
            told: Of each text when it has ended.
        """
        self._model, self._device, self._counts, self._told = model, device, counts, told
        self._head = Head(model)
        self._apart = False

    @torch.inference_mode()
    def write(self, texts: Sequence[Text], slots: int, budget: int) -> None:
        """Write texts that have not ended.

        Args:
            texts: What to write.
            slots: How many at the same time.
            budget: Tokens of prompts in one pass.

        Raises:
            UnsupportedError: the model cannot be run this way.
            MemoryError, torch.OutOfMemoryError: too much at a time; what has ended stays so.
        """
        below: dict[tuple[int, ...], list[Text]] = {}
        for text in texts:
            below.setdefault(text.prompt, []).append(text)
        self._below = list(below.values())
        slots = min(slots, len(texts))
        self._tree = PromptTree(list(below), [len(some) for some in self._below], slots)
        self._slots = Slots(slots)
        self._kept: dict[int, KeysValues] = {}
        self._segments: dict[int, Segment] = {}
        self._waiting: deque[_Started] = deque()
        self._active: list[_Started] = []
        while self._active or self._waiting or not self._tree.done:
            while self._waiting and len(self._active) < slots:
                started = self._waiting.popleft()
                self._slots.put(len(self._active), started.layers)
                started.layers = {}
                self._active.append(started)
            if not self._tree.done and len(self._active) < slots:
                self._read(budget)
            elif self._active:
                self._step()

    def _read(self, budget: int) -> None:
        """Run the next pass of prompts, and write the first token of each that ends in it."""
        work, next_row = self._tree.peek(budget)
        step = attention.Step(self._tree.plan, work, self._kept, self._apart)
        leaves = self._tree.advance(work, next_row)
        new = [last for leaf in leaves for last in leaf.shared if last not in self._segments]
        fresh = list(dict.fromkeys(new))
        parts = [self._tree.pieces[last][0] for last in fresh] + [leaf.own for leaf in leaves]
        places = [
            np.where(nodes < work.start, self._tree.plan.position[nodes], work.path + nodes - work.start)
            for nodes in parts
        ]
        step.take = np.concatenate(places) if leaves and sum(map(len, places)) else None
        hidden = attention.hidden_states(self._model, step, self._device)
        ends = torch.tensor([leaf.node - work.start for leaf in leaves], dtype=torch.long, device=hidden.device)
        if not self._apart and not hidden[ends].isfinite().all():
            self._apart = step.apart = True  # what is no number must not reach prompts beside it
            hidden = attention.hidden_states(self._model, step, self._device)
        self._counts.passes += 1
        self._counts.body_tokens += work.stop - work.start
        self._kept = step.next_kept
        if not leaves:
            return
        cuts = np.cumsum([0, *map(len, parts)]).tolist()
        for number, last in enumerate(fresh):
            nodes, users = self._tree.pieces[last]
            layers = {layer: _whole(pair, cuts[number], cuts[number + 1]) for layer, pair in step.taken.items()}
            self._segments[last] = Segment(int(self._tree.plan.position[nodes[0]]), len(nodes), users, layers)
        started = []
        for number, leaf in enumerate(leaves, start=len(fresh)):
            own = {
                layer: (pair[0][cuts[number] : cuts[number + 1]], pair[1][cuts[number] : cuts[number + 1]])
                for layer, pair in step.taken.items()
            }
            started.append([_Started(text, leaf, own) for text in self._below[leaf.prompt]])
        rows = [row for row, some in enumerate(started) for _ in some]
        self._choose([one for some in started for one in some], hidden[ends], rows)
        self._waiting += [one for some in started for one in some if not one.text.finish]

    def _step(self) -> None:
        """Write one more token of every text in a slot."""
        active = self._active
        position = np.array([len(one.text.prompt) + len(one.text.tokens) - 1 for one in active], np.int64)
        own = np.array([len(one.leaf.own) + len(one.text.tokens) - 1 for one in active], np.int64)
        self._slots.fit(int(own.max()) + 1)
        segments, above = self._seen()
        tokens = np.array([one.text.tokens[-1] for one in active], np.int64)
        step = DecodeStep(tokens, position, own, segments, above, self._slots)
        hidden = attention.hidden_states(self._model, step, self._device)
        self._counts.passes += 1
        self._counts.body_tokens += len(active)
        self._choose(active, hidden, None)
        for place in reversed([place for place, one in enumerate(active) if one.text.finish]):
            self._leave(place)

    def _seen(self) -> tuple[list[tuple[Segment, Tensor | None, int]], int]:
        """The shared pieces that texts in slots hang on, as `DecodeStep` has them, and the most tokens above one."""
        rows: dict[tuple[int, int], list[int]] = {}
        above = 0
        for row, one in enumerate(self._active):
            at = 0
            for last in one.leaf.shared:
                rows.setdefault((last, at), []).append(row)
                at += self._segments[last].length
            above = max(above, at)
        found = []
        for (last, at), of in rows.items():
            index = None if len(of) == len(self._active) else torch.tensor(of, device=self._device)
            found.append((self._segments[last], index, at))
        return found, above

    def _leave(self, place: int) -> None:
        """Free a slot: the last text in use moves there."""
        one, last = self._active[place], self._active.pop()
        if one.text.lost:
            self._slots.clear(place)
        if last is not one:
            tokens = len(last.leaf.own) + len(last.text.tokens)
            self._slots.move(len(self._active), place, tokens)
            if last.text.lost:
                self._slots.clear(len(self._active))
            self._active[place] = last

    def _choose(self, some: Sequence[_Started], hidden: Tensor, rows: Sequence[int] | None) -> None:
        """Write the next token of some texts, and let go of what nobody hangs on any more.

        Args:
            some: The texts.
            hidden: [states, hidden] last hidden states.
            rows: [texts] which state each goes on from; None: one each, in order.
        """
        self._counts.head_rows += len(hidden)
        largest, likeliest, logits = self._head.likeliest(hidden, any(one.text.draw for one in some))
        highest = largest.cpu().numpy()
        sound = np.isfinite(highest)
        states = np.arange(len(some)) if rows is None else np.asarray(rows)
        chosen = likeliest.cpu().numpy()[states]
        for draw in dict.fromkeys(one.text.draw for one in some):
            of = [place for place, one in enumerate(some) if one.text.draw == draw]
            if draw is None or logits is None:
                continue
            if not sound[states[of]].all():
                raise undrawable()
            at = [
                one.text.shares[len(one.text.tokens)]
                for one in map(some.__getitem__, of)
                if one.text.shares is not None
            ]
            drawn = draw.draw(
                logits[torch.from_numpy(states[of]).to(logits.device)], torch.tensor(at, dtype=torch.float64)
            )
            chosen[of] = drawn.cpu().numpy()
        for place, one in enumerate(some):
            text = one.text
            text.lost |= not sound[states[place]]
            text.tokens.append(int(chosen[place]))
            text.largest.append(float(highest[states[place]]))
            text.finish = text.ending.reason(text.tokens, text.limit) or ""
            if text.finish:
                self._told(text)
                for last in one.leaf.shared:
                    self._drop(last)

    def _drop(self, last: int) -> None:
        segment = self._segments[last]
        segment.users -= 1
        if not segment.users:
            del self._segments[last]


def _whole(pair: KeysValues, begin: int, end: int) -> KeysValues:
    """Keys and values [tokens, key heads, d] of a shared piece, as `Segment` has them."""
    keys, values = (one[begin:end].transpose(0, 1).contiguous() for one in pair)
    return keys, values
