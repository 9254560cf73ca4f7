"""Keys and values while texts are written: of prompts' shared pieces once, of each text in a slot of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from evalrun.scoring.attention import KeysValues

_ROOM = 32  # tokens by which slots grow at the least


@dataclass
class Segment:
    """A piece of prompts that several texts hang on.

    Attributes:
        begin: Place of its first token in its text.
        length: Tokens.
        users: Texts that have yet to end.
        layers: Layer -> keys [key heads, length, d] and values.
    """

    begin: int
    length: int
    users: int
    layers: dict[int, KeysValues]


@dataclass
class Slots:
    """What texts have to themselves: the ends of their prompts, and what was written; the first rows are in use.

    Attributes:
        count: How many there are.
        room: Tokens that fit each.
        layers: Layer -> keys [count, key heads, room, d] and values.
    """

    count: int
    room: int = 0
    layers: dict[int, KeysValues] = field(default_factory=dict)

    def put(self, slot: int, layers: Mapping[int, KeysValues]) -> None:
        """Begin a text: layer -> keys [tokens, key heads, d] and values of the end of its prompt."""
        for layer, (keys, values) in layers.items():
            self.fit(len(keys) + 1)
            for own, one in zip(self.layer(layer, keys, values), (keys, values), strict=True):
                own[slot, :, : len(one)] = one.transpose(0, 1)

    def layer(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        """A layer's slots, made where they are not there for keys and values [tokens, key heads, d] such as these."""
        if layer not in self.layers:
            mine, theirs = (one.new_zeros(self.count, one.shape[1], self.room, one.shape[2]) for one in (keys, values))
            self.layers[layer] = mine, theirs
        return self.layers[layer]

    def fit(self, tokens: int) -> None:
        """Make room for so many tokens in each slot."""
        if tokens <= self.room:
            return
        self.room = max(tokens + _ROOM, self.room * 3 // 2)
        for layer, (keys, values) in self.layers.items():
            self.layers[layer] = self._grown(keys), self._grown(values)

    def _grown(self, tensor: Tensor) -> Tensor:
        larger = tensor.new_zeros(*tensor.shape[:2], self.room, tensor.shape[3])
        larger[:, :, : tensor.shape[2]] = tensor
        return larger

    def move(self, source: int, target: int, tokens: int) -> None:
        """Let a text go on in another slot."""
        for pair in self.layers.values():
            for one in pair:
                one[target, :, :tokens] = one[source, :, :tokens]

    def clear(self, slot: int) -> None:
        """Take what is no number out of a slot: 0 times it would be none either."""
        for pair in self.layers.values():
            for one in pair:
                one[slot] = 0
