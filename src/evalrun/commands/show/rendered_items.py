"""What one task asks, item by item: taken from the very requests that a run would score."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalrun import scoring
from evalrun.commands.show.set_beside import chat_of, generation_of
from evalrun.commands.show.vocabulary import Vocabulary
from evalrun.config.asking import chat_in, generation_in
from evalrun.config.schema import Config
from evalrun.tasks import builder, right_answers
from evalrun.tasks.task_file import TaskFile

if TYPE_CHECKING:
    from evalrun.scoring.tokens import ScorerTokenizer

MEASURED = 2000  # items whose lengths are counted; tokenising more would take longer than a look should


@dataclass(frozen=True)
class RenderedChoice:
    """One continuation that is scored, with what stands before it; tokens are None without a tokenizer."""

    context: str
    text: str  # as scored: with the space or whatever the task puts before it
    right: bool
    context_tokens: list[str] | None
    tokens: list[str] | None


@dataclass(frozen=True)
class RenderedItem:
    """One row of the data."""

    row: int
    choices: tuple[RenderedChoice, ...]
    until: str | None = None  # of a task that generates: what ends it

    @property
    def prompt(self) -> str | None:
        """What all choices have before them; None where they differ in it."""
        contexts = {choice.context for choice in self.choices}
        return contexts.pop() if len(contexts) == 1 else None


@dataclass(frozen=True)
class Lengths:
    """Tokens of the prompts of some items, each with its longest choice."""

    items: int
    least: int
    median: float
    most: int
    cut: int  # items of which the model reads only the end
    parted: int  # items whose choices are scored from where their tokens part, because one spans the prompt's end


@dataclass(frozen=True)
class Shown:
    """A task, and some items of it."""

    name: str
    title: str
    file: str
    data: str
    rows: int
    output_type: str
    metrics: tuple[str, ...]
    chance: float | None
    num_fewshot: int
    profile: str
    chat: dict[str, Any]  # what is set of it, and the digest of the template; empty: prompts are plain text
    generation: dict[str, Any] | None  # of a task that generates: lm-eval's generation_kwargs, and `samples` of an item
    items: tuple[RenderedItem, ...]
    lengths: Lengths | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys stay, and what is not known is null."""
        return asdict(self)


def look(file: TaskFile, config: Config, vocabulary: Vocabulary, limit: int) -> Shown:
    """Build a task, check all of its rows, and take its first items.

    Raises:
        TaskError: data that cannot be had or does not fit the task.
        CheckpointError: no tokenizer, or no chat template, where prompts are made by one.
    """
    chat = chat_of(config, vocabulary)
    task = builder.build([file], config.num_fewshot, generation_in(config), chat)[file.name]
    requests = scoring.rendered(task, max(limit, MEASURED))
    items = tuple(_items(task, [r for r in requests if r.doc_id < limit], vocabulary, config.scorer.encoding))
    lengths = _lengths(requests, vocabulary, config.scorer.encoding)
    own_code = callable(task.config.process_results)
    return Shown(
        name=file.name,
        title=file.title,
        file=_near(file.path),
        data=", ".join(map(str, file.data_files)) or _dataset(file),
        rows=len(task.eval_docs),
        output_type=task.OUTPUT_TYPE,
        metrics=tuple(dict.fromkeys(str(metric["metric"]) for metric in task.config.metric_list or ())),
        chance=builder.chance(task),
        num_fewshot=int(task.get_config("num_fewshot") or 0),
        profile=config.profile,
        chat=chat_in(config) | ({} if chat is None else chat.said),
        generation=generation_of(task),
        items=items,
        lengths=lengths,
        notes=(
            *dict.fromkeys(_joins(items, task.OUTPUT_TYPE)),
            *([] if vocabulary.tokens is None else vocabulary.tokens.apart(requests)),
            *_parted(lengths),
            *_empty(items, vocabulary),
            *_unknown(items, vocabulary),
            *_placed(task),
            *(["its score is computed by code of its own"] if own_code else []),
        ),
    )


def _near(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _dataset(file: TaskFile) -> str:
    path, name = file.config.get("dataset_path"), file.config.get("dataset_name")
    return f"{path} ({name}) of the hub" if name else f"{path} of the hub"


def _items(task: Any, requests: Sequence[Any], vocabulary: Vocabulary, encoding: str) -> Iterator[RenderedItem]:
    """The requests of a task, gathered by item, as texts and tokens.

    Args:
        task: lm-eval's, with its documents.
        requests: All of its requests, those of an item together.
        vocabulary: Whose tokens are shown.
        encoding: `scorer.encoding`: whether prompt and choice are tokenised apart.
    """
    for row, group in groupby(requests, key=lambda request: request.doc_id):
        asked = list(group)
        if task.OUTPUT_TYPE == "multiple_choice":  # then come those without a prompt, where a metric wants them
            asked = asked[: len(task.doc_to_choice(asked[0].doc))]
        pairs = [_pair(request, task) for request in asked]
        right = _right(task, asked[0].doc, len(pairs))
        spelt = _spelt(pairs, vocabulary.tokens, encoding == "separate")
        choices = [
            RenderedChoice(context, text, place in right, *tokens)
            for place, ((context, text), tokens) in enumerate(zip(pairs, spelt, strict=True))
        ]
        until = asked[0].args[1].get("until") if task.OUTPUT_TYPE == "generate_until" else None
        yield RenderedItem(int(row), tuple(choices), None if until is None else str(until))


def _spelt(
    pairs: Sequence[tuple[str, str]], known: ScorerTokenizer | None, separate: bool
) -> list[tuple[list[str] | None, list[str] | None]]:
    """The tokens of each prompt and of what is scored after it, as text."""
    if known is None:
        return [(None, None)] * len(pairs)
    coded, _ = known.encode(pairs, [0] * len(pairs), separate)
    return [([known.piece(t) for t in before], [known.piece(t) for t in after]) for before, after in coded]


def _pair(request: Any, task: Any) -> tuple[str, str]:
    """Context and continuation; of a text that is scored whole, no context; of one to generate, the wanted answer."""
    if request.request_type == "loglikelihood":
        return str(request.args[0]), str(request.args[1])
    if request.request_type == "loglikelihood_rolling":
        return "", str(request.args[0])
    target = task.doc_to_target(request.doc)
    return str(request.args[0]), str(target[0] if isinstance(target, list) and target else target)


def _right(task: Any, document: dict[str, Any], choices: int) -> set[int]:
    if task.OUTPUT_TYPE != "multiple_choice":
        return set(range(choices))
    return set(right_answers.right(task, document, task.doc_to_choice(document)))


def _placed(task: Any) -> Iterator[str]:
    """A sentence about a task whose right choice stands at one place: there a tie would be right or wrong by order."""
    place = right_answers.only_place(task)
    if place is not None:
        yield (
            f"the right choice is the {right_answers.ordinal(place)} of every item: a model that says the same of all "
            f"choices gets {0 if place else 1} in lm-eval, and its share of the ties here"
        )


def _lengths(requests: Sequence[Any], vocabulary: Vocabulary, encoding: str) -> Lengths | None:
    """Tokens of the longest request of each item, and how many are cut; None without a tokenizer or log-likelihoods.

    Args:
        requests: Of a task.
        vocabulary: Whose tokens count.
        encoding: `scorer.encoding`.
    """
    known = vocabulary.tokens
    if known is None:
        return None
    asked = [r for r in requests if r.request_type == "loglikelihood"]
    if not asked:
        return None
    pairs = [(str(r.args[0]), str(r.args[1])) for r in asked]
    coded, parted = known.encode(pairs, [r.doc_id for r in asked], encoding == "separate")
    longest: dict[int, int] = {}
    for request, (context, continuation) in zip(asked, coded, strict=True):
        longest[request.doc_id] = max(longest.get(request.doc_id, 0), len(context) + len(continuation))
    lengths = list(longest.values())
    cut = sum(length > known.max_length + 1 for length in lengths)  # the last token is scored, not read
    return Lengths(
        len(lengths),
        min(lengths),
        statistics.median(lengths),
        max(lengths),
        cut,
        len({asked[i].doc_id for i in parted}),
    )


def _empty(items: Sequence[RenderedItem], vocabulary: Vocabulary) -> Iterator[str]:
    """A sentence about a choice that would be refused, because nothing of it could be scored."""
    for item in items:
        for choice in item.choices:
            if choice.tokens == []:
                yield (
                    f"item {item.row + 1}: '{choice.text.strip()}' gives no token of its own with the tokenizer of "
                    f"{vocabulary.model}, so that model cannot be scored on it"
                )
                return


def _parted(lengths: Lengths | None) -> Iterator[str]:
    """A sentence about choices of which too little would be scored by the tokens past the prompt's own."""
    if lengths is not None and lengths.parted:
        yield (
            f"in {lengths.parted:,} of {lengths.items:,} items a token spans the end of the prompt and the start of a "
            "choice, so that the choices' own tokens do not tell them apart: these are scored from where all their "
            "tokens part"
        )


def _joins(items: Sequence[RenderedItem], output_type: str) -> Iterator[str]:
    """Sentences about joins between prompt and choice that are seldom meant."""
    if output_type == "generate_until":  # nothing is put after the prompt: the model writes it
        return
    choices = output_type == "multiple_choice"  # lm-eval puts target_delimiter before nothing else
    close = 'set target_delimiter: ""' if choices else "begin doc_to_target without one"
    apart = 'set target_delimiter: " "' if choices else "begin doc_to_target with one"
    for item in items:
        for choice in item.choices:
            before, after = choice.context[-1:], choice.text[:1]
            if before.isspace() and after.isspace():
                yield (
                    f"item {item.row + 1}: the prompt ends in white space and a choice begins with it, so two stand "
                    f"there: {close} in the task's file, or take one out of the data"
                )
            elif before.isascii() and before.isalnum() and after.isascii() and after.isalnum():
                yield (
                    f"item {item.row + 1}: no space stands between the prompt and what is scored: {apart} in the "
                    "task's file, unless it is the end of a word"
                )


def _unknown(items: Sequence[RenderedItem], vocabulary: Vocabulary) -> Iterator[str]:
    """A sentence about words that a small tokenizer does not know: a task about them tells nothing of the model."""
    unknown = None if vocabulary.tokens is None else vocabulary.tokens.unknown
    spelt = [
        token
        for item in items
        for choice in item.choices
        for token in (*_of_text(choice, unknown), *(choice.tokens or ()))
    ]
    share = sum(token == unknown for token in spelt) / max(1, len(spelt))
    if share > 0.01:
        yield (
            f"{share:.0%} of these tokens are {unknown}, which {vocabulary.model} reads in place of words "
            "that it does not know: score this task with another model=, such as pythia-70m"
        )


def _of_text(choice: RenderedChoice, unknown: str | None) -> list[str]:
    """The tokens of a prompt without one that the scorer puts before it, which may be the unknown token's namesake."""
    tokens = choice.context_tokens or []
    put = tokens[:1] == [unknown] and not choice.context.startswith(str(unknown))
    return tokens[1:] if put else tokens
