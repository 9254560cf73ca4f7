"""One token of every text that is being written: attention to shared pieces of prompts, and to what each has alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from evalrun.scoring.generation.keys_values import Segment, Slots
from evalrun.scoring.trie import Ints


@dataclass
class DecodeStep:
    """One pass: row i is the text in slot i.

    The scores of a text with all that it sees lie side by side, so that one softmax goes over the shared pieces and its
    own part; keys that several texts see are never copied.

    Attributes:
        tokens: [N] what was written last.
        position: [N] its place in the text.
        own: [N] tokens that are in the slot before it.
        segments: Shared pieces, each with the rows that see it (None: all) and where its scores begin.
        above: Most tokens of shared pieces that a row sees.
        slots: Keys and values of the texts' own parts.
    """

    tokens: Ints
    position: Ints
    own: Ints
    segments: Sequence[tuple[Segment, Tensor | None, int]]
    above: int
    slots: Slots
    layers: set[int] = field(default_factory=set)
    _masks: dict[int | None, Tensor | None] = field(default_factory=dict)
    _index: tuple[Tensor, Tensor] | None = None

    def inputs(self) -> tuple[Ints, Ints]:
        """[N] tokens, and their places in their texts."""
        return self.tokens, self.position

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scale: float | None,
        window: int | None,
        softcap: float | None,
        sinks: Tensor | None,
        bias: Callable[[int], Tensor] | None,
    ) -> Tensor:
        """Attention of one layer: as `attention.attend` has it."""
        device, count, longest = query.device, query.shape[2], int(self.own.max()) + 1
        rows, places = self._at(device)
        new = key[0].transpose(0, 1), value[0].transpose(0, 1)
        for mine, one in zip(self.slots.layer(layer, *new), new, strict=True):
            mine[rows, :, places] = one
        keys, values = (one[:count, :, :longest] for one in self.slots.layers[layer])
        heads, kinds = query.shape[1], keys.shape[1]
        asked = query[0].transpose(0, 1).reshape(count, kinds, heads // kinds, -1)
        scale = query.shape[3] ** -0.5 if scale is None else scale
        if asked.dtype == torch.float32:
            asked, scale = asked * scale, 1.0
        biases = None if bias is None else bias(int(self.position.max()) + 1)
        scores = asked.new_full((count, heads, self.above + longest), float("-inf"), dtype=torch.float32)
        for segment, of, at in self.segments:
            some = asked if of is None else asked.index_select(0, of)
            raw = torch.matmul(some.permute(1, 0, 2, 3).flatten(1, 2), segment.layers[layer][0].transpose(1, 2))
            raw = raw.view(kinds, len(some), -1, segment.length).transpose(0, 1).reshape(len(some), heads, -1)
            there = slice(segment.begin, segment.begin + segment.length)
            raw = _shaped(raw, scale, None if biases is None else biases[:, there], softcap)
            self._hide(raw, of, segment, window)
            if of is None:
                scores[:, :, at : at + segment.length] = raw
            else:
                scores[of, :, at : at + segment.length] = raw
        raw = torch.bmm(asked.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2)).view(count, heads, longest)
        raw = _shaped(raw, scale, None if biases is None else self._own_biases(biases, longest), softcap)
        mask = self._mask(window, longest, device)
        scores[:, :, self.above :] = raw if mask is None else raw + mask
        if sinks is not None:
            aside = sinks.float().view(1, -1, 1).expand(count, heads, 1)
            shares = torch.cat([scores, aside], -1).softmax(-1)[..., :-1]
        else:
            shares = scores.softmax(-1)
        return self._summed(layer, shares.to(values.dtype), values)[None]

    def _summed(self, layer: int, shares: Tensor, values: Tensor) -> Tensor:
        """[N, heads, d] the values that are seen, by their shares [N, heads, above + longest]."""
        count, heads, kinds = *shares.shape[:2], values.shape[1]
        own = shares[:, :, self.above :].reshape(count * kinds, heads // kinds, -1)
        out = torch.bmm(own, values.flatten(0, 1)).view(count, heads, -1)
        for segment, of, at in self.segments:
            part = shares if of is None else shares.index_select(0, of)
            part = part[:, :, at : at + segment.length].view(len(part), kinds, heads // kinds, -1)
            seen = torch.matmul(part.permute(1, 0, 2, 3).flatten(1, 2), segment.layers[layer][1])
            seen = seen.view(kinds, len(part), heads // kinds, -1).transpose(0, 1).reshape(len(part), heads, -1)
            out = out + seen if of is None else out.index_add(0, of, seen)
        return out

    def _at(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Where the new keys go: slots, and places in them."""
        if self._index is None:
            self._index = (torch.arange(len(self.own), device=device), torch.from_numpy(self.own).to(device))
        return self._index

    def _mask(self, window: int | None, longest: int, device: torch.device) -> Tensor | None:
        """[N, 1, longest] 0, or -inf where a slot holds nothing yet or what has left the window; None: all is seen."""
        if window not in self._masks:
            here = np.arange(longest)
            seen = here <= self.own[:, None]
            if window is not None:
                seen &= self.own[:, None] - here < window
            hidden = torch.from_numpy(np.where(seen, np.float32(0), np.float32("-inf"))).to(device)
            self._masks[window] = None if seen.all() else hidden[:, None]
        return self._masks[window]

    def _hide(self, raw: Tensor, of: Tensor | None, segment: Segment, window: int | None) -> None:
        """Take what has left the window out of the scores [rows, heads, length] of a shared piece."""
        if window is None or int(self.position.max()) - segment.begin < window:
            return
        position = self.position if of is None else self.position[of.cpu().numpy()]
        far = position[:, None] - np.arange(segment.begin, segment.begin + segment.length) >= window
        raw.masked_fill_(torch.from_numpy(far).to(raw.device)[:, None], float("-inf"))

    def _own_biases(self, biases: Tensor, longest: int) -> Tensor:
        """[N, heads, longest] of the places of the texts' own parts, of [heads, places]."""
        places = (self.position - self.own)[:, None] + np.arange(longest)
        inside = torch.from_numpy(np.minimum(places, biases.shape[1] - 1)).to(biases.device)
        return biases[:, inside].transpose(0, 1)


def _shaped(raw: Tensor, scale: float, bias: Tensor | None, softcap: float | None) -> Tensor:
    """Products of queries and keys as scores, in float32: [rows, heads, keys]."""
    scores = raw.float() if scale == 1.0 else raw.float() * scale
    if bias is not None:
        scores = scores + bias.float()
    return torch.tanh(scores / softcap) * softcap if softcap else scores
