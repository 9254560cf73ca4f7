"""What a set of requests costs, counted: nothing here runs a model or depends on the machine.

The *counted limit* is the FLOPs of scoring every request by itself, over the FLOPs that no exact scorer can avoid.

* **each by itself**: every token of every request (context and choice) through every layer, each attending to itself
  and what is before it, and the head at every position. Padding is left out, so the limit is a modest one.
* **unavoidable**: every distinct prefix through every layer once, with its attention, and the head once for every
  distinct prefix after which a choice's token is scored.

A matrix product of [a, b] and [b, c] is 2abc FLOPs. Norms, activations, softmax, rotary embedding and the log-softmax
over the vocabulary are left out on both sides; the last is why a measured ratio can exceed the counted limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Request = tuple[list[int], list[int]]  # tokens of the context, tokens of the choice


@dataclass(frozen=True)
class Shape:
    """A GPT-NeoX: layers, hidden width, attention heads, width inside the feed-forward part, rows of the head."""

    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int = 50304


@dataclass(frozen=True)
class Work:
    """Counts of one set of requests. FLOPs as the module says; the rest are numbers of tokens or positions."""

    requests: int
    tokens: int  # of all requests, as lm-eval runs them, without padding
    nodes: int  # distinct prefixes
    head_rows: int  # distinct prefixes after which a token is scored
    flops_each: int
    flops_shared: int

    @property
    def limit(self) -> float:
        """How many times faster sharing can be, at the same FLOPs a second."""
        return self.flops_each / self.flops_shared


def model_input(request: Request, max_length: int) -> list[int]:
    """The tokens that go through the model: cut from the left as lm-eval cuts, without the last, which is only scored.

    Args:
        request: Tokens of context and choice.
        max_length: Longest input of the model, in tokens.
    """
    context, choice = request
    return (context + choice)[-(max_length + 1) :][:-1]


def count(requests: Sequence[Request], shape: Shape, max_length: int) -> Work:
    """Count the work of scoring requests, each by itself and with everything shared.

    Args:
        requests: Tokens of context and choice.
        shape: The model.
        max_length: Longest input of the model, in tokens.
    """
    lengths = [len(model_input(request, max_length)) for request in requests]
    depths, head_rows = _prefix_tree(requests, max_length)
    tokens, nodes = sum(lengths), len(depths)
    return Work(
        requests=len(requests),
        tokens=tokens,
        nodes=nodes,
        head_rows=head_rows,
        flops_each=_flops(shape, tokens, sum(n * (n + 1) // 2 for n in lengths), head_rows=tokens),
        flops_shared=_flops(shape, nodes, sum(depths), head_rows=head_rows),
    )


def padded_tokens(requests: Sequence[Request], batch_size: int, max_length: int) -> int:
    """Tokens that lm-eval runs at a batch size: longest first, each batch as wide as its longest."""
    lengths = sorted((len(model_input(request, max_length)) for request in requests), reverse=True)
    batches = (lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size))
    return sum(len(batch) * batch[0] for batch in batches)


def shareable_requests(requests: Sequence[Request]) -> int:
    """How many rows lm-eval's own `logits_cache` saves: requests that another equals, the last token aside."""
    return len(requests) - len({tuple((context + choice)[:-1]) for context, choice in requests})


def _flops(shape: Shape, tokens: int, keys: int, head_rows: int) -> int:
    """FLOPs of a forward pass.

    Args:
        shape: The model.
        tokens: Through the layers.
        keys: Summed over those tokens, how many positions each attends to.
        head_rows: Positions at which the head is computed.
    """
    width = shape.width
    layer = tokens * (8 * width * width + 4 * width * shape.inner) + 4 * width * keys
    return shape.layers * layer + 2 * width * shape.vocabulary * head_rows


def _prefix_tree(requests: Sequence[Request], max_length: int) -> tuple[list[int], int]:
    """Depth of every distinct prefix (1: a first token), and after how many of them a token is scored."""
    scored: dict[tuple[int, ...], int] = {}  # input -> the longest choice scored at its end
    for request in requests:
        tokens = tuple(model_input(request, max_length))
        scored[tokens] = max(scored.get(tokens, 0), len(request[1]))
    depths: list[int] = []
    heads: set[int] = set()
    path: list[int] = []  # numbers of the nodes on the way to the last token
    before: tuple[int, ...] = ()
    for tokens in sorted(scored):
        shared = sum(1 for _ in _common(before, tokens))
        new = range(len(depths), len(depths) + len(tokens) - shared)
        depths.extend(range(shared + 1, len(tokens) + 1))
        path = [*path[:shared], *new]
        heads.update(path[-scored[tokens] :])
        before = tokens
    return depths, len(heads)


def _common(left: Sequence[int], right: Sequence[int]) -> Iterator[int]:
    """The longest common prefix."""
    for one, other in zip(left, right, strict=False):
        if one != other:
            return
        yield one
