"""That it is this checkpoint which answers: engines have gone on with the weights of the one before.

Three questions, of answers to what every checkpoint is asked. Are they, to the last digit, those of a checkpoint with
other weights? Are they what transformers computes from this one's files? And where they are near that, are they nearer
still to what it computes from another's?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evalrun.core.errors import CheckpointError
from evalrun.core.text import counted
from evalrun.scoring.engines.known_answers import GREEDY, PROMPT, WRITTEN, AnswerBook, FixedAnswers, KnownAnswers

_NEARER = 0.5  # of its distance: what another checkpoint's must be below to be taken for the one that answers


@dataclass(frozen=True)
class ReferenceAnswers:
    """What transformers makes of the same.

    Attributes:
        values: As those of `FixedAnswers`.
        beginnings: The first token of each text, as text.
    """

    values: tuple[float, ...] = ()
    beginnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedCheckpoint:
    """The checkpoint that is to answer.

    Attributes:
        label: In words.
        weights: Digest of its files.
        tolerance: Nats a token that its numbers may be from transformers'.
        may_share: Whether it may have the weights of another step.
    """

    label: str
    weights: str
    tolerance: float
    may_share: bool


def check(
    answers: FixedAnswers,
    checkpoint: CheckedCheckpoint,
    book: AnswerBook,
    reference: Callable[[], ReferenceAnswers] | str,
) -> str:
    """See that a checkpoint's own weights answer.

    Args:
        answers: What the engine answers.
        checkpoint: Which it is to be.
        book: What was answered for others of its model; this one is added.
        reference: Computes what transformers makes of it, or says why that is not done.

    Returns:
        What was seen, for the result's record.

    Raises:
        CheckpointError: other weights answer.
    """
    others = [one for one in book.read() if one.weights != checkpoint.weights]
    _refuse_equal(answers, checkpoint, others)
    said = [f"answers differ from those of {counted(len(others), 'other checkpoint')}"] if others else []
    values: tuple[float, ...] | None = None
    if isinstance(reference, str):
        said.append(f"not compared with transformers: {reference}")
    elif answers.kind == WRITTEN and answers.written is None:
        said.append("not compared with transformers: the server does not say which tokens it writes")
    else:
        theirs = reference()
        values = theirs.values
        if answers.kind == GREEDY:
            said.append(_compare_texts(answers, checkpoint, theirs))
        else:
            said.append(_compare_values(answers, checkpoint, theirs.values, others))
    book.add(KnownAnswers(checkpoint.label, checkpoint.weights, answers.values, answers.texts, values))
    return "; ".join(said)


def _refuse_equal(answers: FixedAnswers, checkpoint: CheckedCheckpoint, others: Sequence[KnownAnswers]) -> None:
    """See that no checkpoint with other weights gave the same answers.

    Raises:
        CheckpointError: one did.
    """
    mine = (answers.values, answers.texts)
    same = next((one for one in others if (one.values, one.texts) == mine), None)
    if same is not None and not checkpoint.may_share:
        what = "texts" if answers.kind == GREEDY else "log-probabilities, to the last digit,"
        raise CheckpointError(
            f"what answers for {checkpoint.label} gives the same {what} as for {same.label}, whose weight files are "
            "others: one of the two was answered with the other's weights. Start the server anew with this checkpoint; "
            f"if it was {same.label}, evaluate that again with force=true. If the two do hold equal weights, say "
            "allow_shared_weights=true."
        )


def _compare_values(
    answers: FixedAnswers, checkpoint: CheckedCheckpoint, theirs: Sequence[float], others: Sequence[KnownAnswers]
) -> str:
    """Hold log-probabilities against transformers'.

    Raises:
        CheckpointError: they are too far from this checkpoint's, or nearer to another's.
    """
    apart = distance(answers.values, theirs)
    nearest: tuple[float, str] | None = None
    if answers.kind == PROMPT:
        far = [(distance(answers.values, one.reference), one.label) for one in others if one.reference is not None]
        nearest = min(far, default=None)
    is_other = nearest is not None and nearest[0] < _NEARER * apart
    if apart <= checkpoint.tolerance and not is_other:
        return f"log-probabilities of a fixed text are {apart:.1e} nats a token from transformers'"
    whose = f", and {nearest[0]:.2g} from those of {nearest[1]}" if nearest is not None and is_other else ""
    raise CheckpointError(
        f"the weights of {checkpoint.label} do not answer: log-probabilities of a fixed text are {apart:.2g} nats a "
        f"token from those that transformers computes of its files{whose}. Serve this checkpoint; if it is served in "
        "another precision, name that with scorer.quantization=, or raise scorer.check_tolerance."
    )


def _compare_texts(answers: FixedAnswers, checkpoint: CheckedCheckpoint, theirs: ReferenceAnswers) -> str:
    """Hold greedy texts against the first token that transformers would write.

    Raises:
        CheckpointError: most begin otherwise.
    """
    begun = zip(answers.texts, theirs.beginnings, strict=True)
    agree = sum(text.startswith(beginning) for text, beginning in begun)
    if 2 * agree >= len(answers.texts):
        return f"{agree} of {len(answers.texts)} texts begin as transformers' (the server gives no log-probabilities)"
    raise CheckpointError(
        f"the weights of {checkpoint.label} do not answer: {len(answers.texts) - agree} of {len(answers.texts)} greedy "
        "texts begin otherwise than transformers computes of its files. Serve this checkpoint; if it is served in "
        "another precision, name that with scorer.quantization=."
    )


def distance(values: Sequence[float], theirs: Sequence[float]) -> float:
    """The mean difference in nats a token; infinite where only one of them is a number, or lengths differ."""
    if len(values) != len(theirs) or not values:
        return math.inf
    pairs = list(zip(values, theirs, strict=True))
    total = sum(
        0.0 if one == other or (math.isnan(one) and math.isnan(other)) else abs(one - other) for one, other in pairs
    )
    return total / len(pairs) if math.isfinite(total) else math.inf


def reference_of(
    model: Any, tokenizer: Any, answers: FixedAnswers, prompts: Sequence[Sequence[int]]
) -> ReferenceAnswers:
    """What transformers makes of what an engine was asked.

    Args:
        model: The checkpoint, in float32 on the CPU.
        tokenizer: Its own.
        answers: The engine's.
        prompts: Tokens of the texts that are gone on with, where it gives no number.
    """
    import torch

    with torch.inference_mode():
        if answers.kind == GREEDY:
            firsts = [int(model(torch.tensor([list(prompt)])).logits[0, -1].argmax()) for prompt in prompts]
            return ReferenceAnswers(
                beginnings=tuple(tokenizer.decode([first], skip_special_tokens=True) for first in firsts)
            )
        tokens = torch.tensor([[*answers.prompt, *(answers.written or ())]])
        logprobs = model(tokens).logits[0, :-1].float().log_softmax(-1)
        each = logprobs.gather(1, tokens[0, 1:, None])[:, 0].tolist()
    return ReferenceAnswers(tuple(each[-len(answers.values) :]))
