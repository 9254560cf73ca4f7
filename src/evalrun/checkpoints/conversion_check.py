"""Whether what a converter made is the model that was trained: asked of its loss on a short text.

Names and shapes are held by loading. What they cannot show, a square matrix that was left transposed or a tensor that
was filled with something else, shows in the loss. Three questions are asked of it: whether it would fall if a square
matrix were transposed; whether it is far above that of guessing; and how it stands to the neighbouring steps of the
run. A loss that rose in training is no fault of the converter, so a rise is said and refuses nothing, unless the step
before was far better than guessing and this one is no better than that.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints.conversions import Conversion, neighbours
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.records import Checkpoint

log = logging.getLogger(__name__)
NONE = "none"  # of checkpoint.convert_text: nothing is tried
_TOKENS = 512  # of the text, at most
_FALLS = 0.05, 4.0  # nats a token and standard errors, of the loss by transposing: more than honest models showed
_FALLS_FROM_NONE = 0.01, 2.0  # the same from the model without these matrices
_ABOVE = 1.25  # of guessing's loss: where it is too far above
_BETTER = 0.8  # of guessing's loss: below it something has been learnt
_RISES = 1.15  # of the step before: where a rise is said
_REMEDY = "mend the converter (or say checkpoint.convert_text=none if you know that this is how it was trained)"
TEXT = """\
A river begins as rain on high ground. The water runs down the slope and gathers in small streams, and the streams meet
in a valley where the first villages were built. People have always lived near water: they drink it, they wash with it,
and they send their boats down to the sea. In spring, when the snow melts, the river may leave its bed and cover the
fields, and what it leaves behind makes the soil rich. So the farmers of the plain looked at the hills every morning and
asked whether the clouds were dark. When they were, they drove the animals to the upper fields and carried the grain to
the second floor of the barn. Most years nothing happened. But once in a while the water came in the night, quietly, and
in the morning only the roofs and the tops of the trees stood out of it. After such a flood the school was closed for a
week, because everyone was needed. The children learned how to clean a well and how to mend a fence, and the old people
told them about the years when it had been worse. Today there is a wall along the bank, and a lake behind a dam that
holds back the first rain of the year. The river is quiet, and the fields have to be fed with other things.
"""


@dataclass(frozen=True)
class _Tried:
    """A model's losses on the text."""

    losses: Any  # [tokens - 1] of its tokens after the first, in nats, as float64
    guessing: float  # that of guessing among all that its head has a place for

    @property
    def mean(self) -> float:
        return float(self.losses.mean())


def try_out(conversion: Conversion, model: Any, tokenizer: Any, place: str | None, text: str | None) -> None:
    """See that a model that was converted predicts a text as one that was trained does; tried once, and noted.

    Args:
        conversion: What it was made by.
        model: As it was loaded.
        tokenizer: Its own.
        place: checkpoint.converted.
        text: checkpoint.convert_text.

    Raises:
        CheckpointError: it does not, with what is wrong as far as that can be told.
    """
    label, noted = conversion.cell.label, conversion.record()
    if text == NONE or (noted.get("loss") is not None and noted.get("text") == text):
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    others = neighbours(conversion, place)
    unlike = next((said for said in others.values() if said["parameters"] != parameters), None)
    if unlike is not None:
        raise CheckpointError(
            f"the converter of {label} left a model of {parameters:,} parameters, and {unlike['parameters']:,} at step "
            f"{unlike['step']} of the same run: one of the two lacks tensors; mend the converter."
        )
    tokens = _tokens(tokenizer, TEXT if text is None else _text(text), model)
    if tokens is None:
        log.warning("%s: what was converted is not tried, for its text has no two tokens", label)
        return
    tried = _losses(model, tokens)
    if not math.isfinite(tried.mean):
        raise CheckpointError(f"the converter of {label} left a model whose loss is not finite: {_REMEDY}.")
    _refuse_transposed(label, model, tokens, tried)
    _compare(conversion.cell, tried, {step: said for step, said in others.items() if said.get("text") == text})
    conversion.note(loss=tried.mean, guessing=tried.guessing, parameters=parameters, text=text)


def _text(file: str) -> str:
    """The user's text.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8")[: 100 * _TOKENS]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint.convert_text '{file}' cannot be read: {first_line(error)}.") from None


def _tokens(tokenizer: Any, text: str, model: Any) -> Any:
    """The text as one row of tokens [1, tokens] on the model's device; None where there are no two."""
    import torch

    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or _TOKENS
    found = tokenizer(text, add_special_tokens=False)["input_ids"][: min(_TOKENS, window)]
    if len(found) < 2 or max(found) >= model.get_input_embeddings().weight.shape[0]:
        return None
    return torch.tensor([found], device=model.device)


def _losses(model: Any, tokens: Any) -> _Tried:
    """The loss of each token after the first.

    Args:
        model: In eval mode.
        tokens: [1, tokens].
    """
    import torch

    with torch.inference_mode():
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:].to(logits.device), reduction="none")
    return _Tried(losses.double().cpu(), math.log(logits.shape[-1]))


def _refuse_transposed(label: str, model: Any, tokens: Any, tried: _Tried) -> None:
    """See that no square matrix does better transposed: one alone, those of one name in all layers, or all.

    Raises:
        CheckpointError: naming the first of the set that does best.
    """
    best: tuple[float, list[str]] | None = None
    known = _frequencies(tokens)
    for names, parameters in _sets(model):
        with _changed(parameters, lambda tensor: tensor.transpose(-1, -2)):
            turned = _losses(model, tokens)
        # A loss on a text that is strange to a model says little.
        if turned.mean < known and _is_fall(tried, turned, *_FALLS) and (best is None or turned.mean < best[0]):
            with _changed(parameters, lambda tensor: tensor.new_zeros(()).expand_as(tensor)):
                emptied = _losses(model, tokens)
            # In a bad moment of its training a model does better with anything else.
            if _is_fall(emptied, turned, *_FALLS_FROM_NONE):
                best = turned.mean, names
    if best is not None:
        more = f" and {len(best[1]) - 1} more" if best[1][1:] else ""
        raise CheckpointError(
            f"the converter of {label} left {best[1][0]}{more} transposed, by all signs: the other way round the loss "
            f"on a text falls from {tried.mean:.3f} to {best[0]:.3f} nats a token; {_REMEDY}."
        )


def _frequencies(tokens: Any) -> float:
    """The loss, in nats a token, of one who knows how often each token of a text [1, tokens] is in it, and no more."""
    shares = tokens[0].unique(return_counts=True)[1].double() / tokens.shape[1]
    return float(-(shares * shares.log()).sum())


def _sets(model: Any) -> Iterator[tuple[list[str], list[Any]]]:
    """Square matrices, or stacks of them, that may be transposed together: their names and they themselves."""
    ends = {id(end.weight) for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None}
    square = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.ndim in (2, 3) and parameter.shape[-1] == parameter.shape[-2] > 1
        and parameter.is_floating_point() and id(parameter) not in ends
    ]  # fmt: skip
    alike: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for name, parameter in square:
        alike["".join("#" if letter.isdigit() else letter for letter in name)].append((name, parameter))
    sets = [square, *alike.values(), *([one] for one in square)]
    for some in {tuple(name for name, _ in some): some for some in sets if some}.values():
        yield [name for name, _ in some], [parameter for _, parameter in some]


@contextlib.contextmanager
def _changed(parameters: list[Any], change: Callable[[Any], Any]) -> Iterator[None]:
    """Meanwhile other tensors stand in the place of some of a model's."""
    before = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data = change(parameter.data)
        yield
    finally:
        for parameter, tensor in zip(parameters, before, strict=True):
            parameter.data = tensor


def _is_fall(before: _Tried, after: _Tried, nats: float, errors: float) -> bool:
    """Whether the loss falls by more than so many nats a token, and so many of its standard errors."""
    falls = before.losses - after.losses
    return float(falls.mean()) > max(nats, errors * float(falls.std()) / math.sqrt(len(falls)))


def _compare(cell: Checkpoint, tried: _Tried, others: Mapping[int, Mapping[str, Any]]) -> None:
    """Hold the loss against that of guessing, and against the nearest steps before and after.

    Args:
        cell: The checkpoint.
        tried: Its losses.
        others: Step -> what is noted of the run's other checkpoints, tried on the same text.

    Raises:
        CheckpointError: it is far above guessing, or no better than that where the step before was.
    """
    loss, guessing = tried.mean, tried.guessing
    before = max((step for step in others if step < cell.step), default=None)
    after = min((step for step in others if step > cell.step), default=None)
    said = (
        f"the converter of {cell.label} left a model with a loss of {loss:.3f} nats a token on a text, where guessing"
    )
    if loss > _ABOVE * guessing:
        raise CheckpointError(
            f"{said} has {guessing:.3f}: its weights are not where they were, or the text is nothing like its "
            "training's (name another with checkpoint.convert_text=FILE, or none)."
        )
    if before is not None:
        earlier = float(others[before]["loss"])
        if loss >= guessing and earlier < _BETTER * guessing:
            raise CheckpointError(f"{said} has {guessing:.3f} and step {before} has {earlier:.3f}: {_REMEDY}.")
        _say_rise(cell.label, loss, before, earlier)
    if after is not None:
        _say_rise(f"step {after}", float(others[after]["loss"]), cell.step, loss)


def _say_rise(label: str, loss: float, before: int, earlier: float) -> None:
    if loss > _RISES * earlier:
        log.warning(
            "%s, as it was converted, has a loss of %.3f nats a token on a text, and step %d before it has %.3f: its "
            "training may have had such a rise; if it had none, look at the converter",
            *(label, loss, before, earlier),
        )
