"""Attention over the rows of a pass, inside any model that goes through transformers' attention interface.

The model runs on one flat sequence of nodes [1, N] without padding, so that every linear layer sees each node once.
This replaces the attention alone: for each bucket of rows it gathers queries, and the keys and values of the rows and
of their ancestors, and calls torch's scaled_dot_product_attention with the mask of the trie; or goes step by step where
a model does something to the scores. Models with attention of their own come here by `own_attention`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from evalrun.core.errors import first_line
from evalrun.scoring import own_attention
from evalrun.scoring.attention_rows import chosen, rows_of, span_of
from evalrun.scoring.attention_scores import by_scores
from evalrun.scoring.passes import Bucket, Pass
from evalrun.scoring.trie import Ints, TokenTrie
from evalrun.scoring.unsupported import UnsupportedError

KeysValues = tuple[Tensor, Tensor]  # [nodes, key heads, d] each
NAME = "evalrun_shared_prefix"
PLAIN = ("position_ids", "dropout", "cache_position", "s_aux")  # arguments that say nothing about who sees whom


@dataclass
class _Rows:
    """A bucket's tensors on one device."""

    query: Tensor  # [rows * width] padding replaced by node 0
    key: Tensor  # [rows * keys]
    visible: Tensor  # [rows, 1, width, keys]
    real: Tensor | None  # positions of `query` that are not padding; None: all
    target: Tensor  # where their outputs go
    rows: int
    span: tuple[slice, slice] | None = None  # of one row whose queries, and keys, lie side by side: no copy is needed

    def meet(self, unsound: Tensor) -> Tensor:
        """[rows, 1, width, 1] whether a query sees one of some keys."""
        there = unsound.index_select(0, self.key).view(self.rows, 1, 1, -1)
        return ((self.visible == 0) & there).any(-1, keepdim=True)


@dataclass
class Step:
    """One pass while the model runs it: kept keys and values in, those that the next pass needs out."""

    plan: TokenTrie
    work: Pass
    kept: dict[int, KeysValues]
    apart: bool = False  # keep what is no number from tokens that do not see it, which costs a look at all of it
    take: Ints | None = None  # which of (kept path, this pass) are wanted when it is done
    next_kept: dict[int, KeysValues] = field(default_factory=dict)
    taken: dict[int, KeysValues] = field(default_factory=dict)
    layers: set[int] = field(default_factory=set)
    _rows: dict[tuple[torch.device, torch.dtype, int | None], list[_Rows]] = field(default_factory=dict)

    def inputs(self) -> tuple[Ints, Ints]:
        """[N] tokens, and their places in their texts."""
        interval = slice(self.work.start, self.work.stop)
        return self.plan.token[interval], self.plan.position[interval]

    def rows(self, device: torch.device, dtype: torch.dtype, window: int | None) -> list[_Rows]:
        """The buckets on a device, made once a pass and used by every layer."""
        key = (device, dtype, window)
        if key not in self._rows:
            self._rows[key] = [self._to_device(bucket, device, dtype, window) for bucket in self.work.buckets]
        return self._rows[key]

    def _to_device(self, bucket: Bucket, device: torch.device, dtype: torch.dtype, window: int | None) -> _Rows:
        """A bucket's indices and mask as tensors.

        Args:
            bucket: Rows of the trie that are computed together.
            device: Where to.
            dtype: Of the mask, which is added to the scores: 0 or -inf.
            window: Of sliding attention, in tokens; None sees everything before.
        """
        query, key, end = (torch.from_numpy(array).to(device) for array in (bucket.query, bucket.key, bucket.end))
        rows, width = bucket.query.shape
        above = bucket.key.shape[1] - width
        here = torch.arange(width, device=device)
        visible = torch.empty(rows, 1, width, above + width, dtype=torch.bool, device=device)
        visible[:, 0, :, :above] = (key[:, :above] >= 0)[:, None]
        visible[:, 0, :, above:] = (here <= here[:, None]) & (here[:, None] < end[:, None])
        if window is not None and window < self.plan.longest:
            at = self.places(device)
            visible[:, 0] &= (
                at[query.clamp(min=0) + self.work.path][:, :, None] - at[key.clamp(min=0)][:, None] < window
            )
        complete = bool((bucket.query >= 0).all())
        real = None if complete else (query >= 0).flatten().nonzero().squeeze(1)
        return _Rows(
            query=query.clamp(min=0).flatten(),
            key=key.clamp(min=0).flatten(),
            visible=torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, float("-inf")),
            real=real,
            target=query.flatten() if real is None else query.flatten()[real],
            rows=rows,
            span=span_of(bucket),
        )

    def places(self, device: torch.device) -> Tensor:
        """[kept + N] the place of each key in its text, counted from 0."""
        own = torch.from_numpy(self.plan.position[self.work.start : self.work.stop]).to(device)
        return torch.cat([torch.arange(self.work.path, device=device), own])


class OtherStep(Protocol):
    """A pass that attends by itself: as `Step` has it."""

    layers: set[int]

    def inputs(self) -> tuple[Ints, Ints]:
        """[N] tokens, and their places in their texts."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float | None, window: int | None,
        softcap: float | None, sinks: Tensor | None, bias: Callable[[int], Tensor] | None,
    ) -> Tensor:  # fmt: skip
        """Attention of one layer; the arguments are those of the module's function."""


_step: ContextVar[Step | OtherStep] = ContextVar("step")


@contextlib.contextmanager
def replaced(model: Any) -> Iterator[None]:
    """Let a model's attention go through this module for a while."""
    usual = model.config._attn_implementation
    chatter = logging.getLogger("transformers.modeling_utils")
    chatter.disabled = True  # a model that does not take part is noticed, and said in our words
    try:
        model.set_attn_implementation(NAME)
    finally:
        chatter.disabled = False
    try:
        with own_attention.led_to(attend, model):
            yield
    finally:
        model.set_attn_implementation(usual)


def hidden_states(model: Any, step: Step | OtherStep, device: torch.device) -> Tensor:
    """[N, hidden] the last hidden states of a pass through a model whose attention is `replaced`.

    Raises:
        MemoryError, torch.OutOfMemoryError: it was too large.
        UnsupportedError: the model cannot be run this way, or not all of its attention came along.
    """
    try:
        hidden = forward(model.base_model, step, device)
    except (UnsupportedError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a model's own code; lm-eval's path will show whether the model is at fault
        if "can't allocate memory" in str(error):  # a CPU's allocator has no class of its own
            raise MemoryError from None
        raise UnsupportedError(f"its code does not run on shared prefixes ({first_line(error)})") from error
    layers = model.config.get_text_config().num_hidden_layers
    if len(step.layers) != layers:
        absent = layers - len(step.layers)
        raise UnsupportedError(f"{absent} of its {layers} layers do not attend through transformers' interface")
    return hidden


def forward(body: Any, step: Step | OtherStep, device: torch.device) -> Tensor:
    """Run the body of a model on a pass.

    Args:
        body: The model without its head.
        step: The pass; `next_kept` and `layers` are filled.
        device: Where the embeddings are.

    Returns:
        [N, hidden] the last hidden state of every node of the pass.

    Raises:
        UnsupportedError: attention that does not come here, or asks for what is not done here.
    """
    tokens, positions = (torch.from_numpy(array).to(device)[None] for array in step.inputs())
    token = _step.set(step)
    try:
        hidden = body(input_ids=tokens, position_ids=positions, use_cache=False).last_hidden_state
    finally:
        _step.reset(token)
    return hidden[0]  # type: ignore[no-any-return]


def shared_prefix_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention of a pass: query [1, heads, N, d], key and value [1, key heads, N, d] -> [1, N, heads, d]."""
    _refuse_unknown(module, attention_mask, kwargs)
    out = attend(
        module, query, key, value, scale=kwargs.get("scaling"), window=kwargs.get("sliding_window"),
        softcap=kwargs.get("softcap"), sinks=kwargs.get("s_aux"),
    )  # fmt: skip
    return out, None


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    bias: Callable[[int], Tensor] | None = None,
    layer: int | None = None,
) -> Tensor:
    """Attention of a pass, of one layer.

    Args:
        module: The layer.
        query: [1, heads, N, d].
        key: [1, key heads, N, d].
        value: As the keys.
        scale: Of the scores; None: one over the root of d.
        window: Of sliding attention, in tokens.
        softcap: Scores are bent to lie between minus this and this (Gemma 2).
        sinks: [heads] a score each that takes its share of the probability and gives nothing (gpt-oss).
        bias: Number of places -> [heads, places], added to the scores of the keys at these places of a text (ALiBi).
        layer: Its number, where it is not `module.layer_idx`.

    Returns:
        [1, N, heads, d].
    """
    step, layer = _step.get(), int(module.layer_idx if layer is None else layer)
    step.layers.add(layer)
    if not isinstance(step, Step):
        asked = layer, query, key, value
        return step.attend(*asked, scale=scale, window=window, softcap=softcap, sinks=sinks, bias=bias)
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [N, heads, d]
    if layer in step.kept:
        keys, values = (torch.cat(pair) for pair in zip(step.kept[layer], (keys, values), strict=True))
    if len(step.work.keep):
        step.next_kept[layer] = (chosen(keys, step.work.keep), chosen(values, step.work.keep))
    if step.take is not None:
        step.taken[layer] = (chosen(keys, step.take), chosen(values, step.take))
    unsound = None
    if step.apart:  # 0 times what is no number is none either
        unsound = ~(keys.isfinite().flatten(1).all(1) & values.isfinite().flatten(1).all(1))
        keys, values = (tensor.masked_fill(unsound[:, None, None], 0) for tensor in (keys, values))
    count, heads, groups = *queries.shape[:2], queries.shape[1] // keys.shape[1]
    out = torch.empty(count, heads, values.shape[2], dtype=queries.dtype, device=queries.device)
    biases = None  # [heads, kept + N]
    if bias is not None:
        biases = bias(step.plan.longest).index_select(1, step.places(queries.device))
    for rows in step.rows(queries.device, queries.dtype, window):
        asking, seen = rows.span or (rows.query, rows.key)
        parts = (
            rows_of(queries, asking, rows.rows),
            rows_of(keys, seen, rows.rows, groups),
            rows_of(values, seen, rows.rows, groups),
        )
        if softcap or sinks is not None or biases is not None:
            added = None if biases is None else biases.index_select(1, rows.key).view(heads, rows.rows, 1, -1)
            attended = by_scores(*parts, rows.visible, scale, softcap, sinks, added)
        else:
            attended = scaled_dot_product_attention(*parts, attn_mask=rows.visible, scale=scale)
        if unsound is not None:
            attended = attended.masked_fill(rows.meet(unsound), float("nan"))
        attended = attended.transpose(1, 2).flatten(0, 1)  # [rows * width, heads, d]
        out[rows.target] = attended if rows.real is None else attended[rows.real]
    return out[None]


AttentionInterface.register(NAME, shared_prefix_attention)


def _refuse_unknown(module: Any, attention_mask: Tensor | None, kwargs: dict[str, Any]) -> None:
    if attention_mask is not None:
        raise UnsupportedError("it makes an attention mask of its own")
    if not hasattr(module, "layer_idx"):
        raise UnsupportedError("its attention layers are not numbered")
    for name, value in kwargs.items():
        if isinstance(value, Tensor) and name not in PLAIN:
            raise UnsupportedError(f"its attention takes '{name}'")
