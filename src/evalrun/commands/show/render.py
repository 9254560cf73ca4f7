"""`show` for people: a task's head, then items with white space drawn and tokens parted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from evalrun.commands.show.rendered_items import Lengths, RenderedChoice, RenderedItem, Shown
from evalrun.commands.show.vocabulary import Vocabulary
from evalrun.core.text import counted
from evalrun.tasks import generation_settings

_MARKS = {" ": "·", "\t": "→", "\n": "⏎"}
_TOKENS = 60  # of a continuation that are spelt out
_LAST = 3  # tokens of the prompt that are
_SIDE_BY_SIDE = 40  # characters of the longest choice, for choices and their tokens to share lines


def write(shown: Shown, vocabulary: Vocabulary, last: bool = True) -> None:
    """Print a task; colour and bold only on a terminal.

    Args:
        shown: What `rendered_items.look` found.
        vocabulary: Whose tokens are shown.
        last: Whether no other task follows.
    """
    console = Console(highlight=False, soft_wrap=True)
    for line in _head(shown, vocabulary):
        console.print(line)
    for item in shown.items:
        console.print()
        for line in _item(item, shown):
            console.print(line)
    if not last:
        console.print()


def _head(shown: Shown, vocabulary: Vocabulary) -> Iterator[Text]:
    """Lines about the task: where it is from, how it is scored, how long it is in tokens, what is odd about it."""
    title = f"  {shown.title}" if shown.title != shown.name else ""
    yield Text.assemble((shown.name, "bold"), title)
    rows = counted(shown.rows, "row")
    yield _fact("file", shown.file)
    yield _fact("data", f"{shown.data}, {rows}")
    chance = "" if shown.chance is None else f", chance {shown.chance:.3f}"
    yield _fact("scored", f"{', '.join(shown.metrics) or 'by code of its own'} ({shown.output_type}){chance}")
    yield _fact("few-shot", f"{counted(shown.num_fewshot, 'example')} in the prompt")
    yield _fact("profile", shown.profile)
    if shown.chat:
        yield _fact("chat", _chat(shown.chat))
    if shown.generation is not None:
        yield _fact("generated", _generated(shown.generation))
    if vocabulary.problem is not None:
        yield _fact("tokens", f"not shown: {vocabulary.problem}")
    else:
        yield _fact("tokens", f"of {vocabulary.model} ({vocabulary.folder})")
    if shown.lengths is not None and vocabulary.tokens is not None:
        yield _fact("length", _lengths(shown.lengths, shown.rows, vocabulary.tokens.max_length))
    for note in shown.notes:
        yield Text.assemble("  ", ("note", "yellow"), f"      {note}.")


def _generated(how: Mapping[str, Any]) -> str:
    """How texts are written: how many, by which rule, with lm-eval's other settings as they are."""
    rule = "the most likely token each time" if generation_settings.is_greedy(how) else "drawn"
    shown_apart = ("until", "samples", "do_sample")
    rest = [f"{key} {value}" for key, value in how.items() if key not in shown_apart]
    return ", ".join([counted(how["samples"], "sample"), rule, *rest])


def _chat(chat: Mapping[str, Any]) -> str:
    """How a prompt becomes a conversation: the template by its digest, and what else is set."""
    template = chat.get("chat_template_sha256")
    turns = "examples as turns" if chat.get("fewshot_as_multiturn", True) else "examples in one message"
    words = [f"template {template[:8]} of the tokenizer, {turns}" if template else "plain text: no template"]
    words += [f"template_args {chat['template_args']}"] if chat.get("template_args") else []
    words += [f"system prompt {chat['system']!r}"] if chat.get("system") else []
    words += [f"thinking cut up to {chat['think_end']!r}"] if chat.get("think_end") else []
    return ", ".join(words)


def _fact(name: str, said: str) -> Text:
    return Text.assemble("  ", (f"{name:<10}", "dim"), said)


def _lengths(found: Lengths, rows: int, window: int) -> str:
    first = f"{found.items:,} items" if found.items > 1 else "item"
    of = "" if found.items == rows else f" of the first {first}"
    fate = f"{found.cut:,} are cut at the start" if found.cut else "none is cut"
    return (
        f"{found.least:,} to {found.most:,} tokens{of}, median {found.median:,.0f}, prompt and longest choice; "
        f"the model reads {window:,}: {fate}"
    )


def _item(item: RenderedItem, shown: Shown) -> Iterator[Text]:
    """Lines about one item: its prompt, then choices, or the text that the model is to write."""
    yield Text(f"item {item.row + 1} of {shown.rows:,}", style="bold")
    if item.prompt is None:
        yield Text("  texts, of which the parts after || are scored")
        for choice in item.choices:
            yield Text.assemble(
                _mark(choice.right), drawn(choice.context), (" || ", "cyan"), drawn(choice.text, start=True)
            )
        return
    if item.prompt:
        yield Text.assemble("  prompt", _counted(item.choices[0].context_tokens))
        for line in drawn(item.prompt).split("\n", allow_blank=True):
            yield Text.assemble(("  │ ", "dim"), line)
    if item.until is not None:
        yield Text(f"  the model writes on until {item.until}; wanted:")
    elif shown.output_type == "multiple_choice":
        yield Text("  choices")
    else:
        yield Text("  scored")
    yield from _choices(item.choices)


def _counted(tokens: Sequence[str] | None) -> Text:
    if tokens is None:
        return Text()
    more = "... | " if len(tokens) > _LAST else ""
    last = _parted(tokens[-_LAST:])
    return Text.assemble((f", {counted(len(tokens), 'token')}: {more}", "dim"), last, (" ||", "cyan"))


def _choices(choices: Sequence[RenderedChoice]) -> Iterator[Text]:
    """A line for each choice, its tokens beside it where all are short; the right one is marked."""
    drawings = [drawn(choice.text, start=True) for choice in choices]
    width = max(drawing.cell_len for drawing in drawings)
    beside = width <= _SIDE_BY_SIDE and not any("\n" in drawing.plain for drawing in drawings)
    for choice, drawing in zip(choices, drawings, strict=True):
        tokens = _spelt(choice.tokens)
        if choice.right and len(choices) > 1:
            drawing.stylize("bold green")
        if beside:
            gap = " " * (width - drawing.cell_len + 3) if tokens else ""
            yield Text.assemble(_mark(choice.right and len(choices) > 1), drawing, gap, tokens)
            continue
        first, *rest = drawing.split("\n", allow_blank=True)
        yield Text.assemble(_mark(choice.right and len(choices) > 1), first)
        yield from (Text.assemble(("    │ ", "dim"), line) for line in rest)
        if tokens:
            yield Text.assemble("      ", tokens)


def _mark(right: bool) -> Text:
    return Text("  ✓ ", style="bold green") if right else Text("    ")


def _spelt(tokens: Sequence[str] | None) -> Text:
    if tokens is None:
        return Text()
    more = f" | ... ({len(tokens) - _TOKENS} more)" if len(tokens) > _TOKENS else ""
    number = f"{counted(len(tokens), 'token')}: "
    return Text.assemble((number, "dim"), _parted(tokens[:_TOKENS]), (more, "dim"))


def _parted(tokens: Sequence[str]) -> Text:
    return Text.assemble((" | ", "dim")).join([drawn(token, start=True, everything=True) for token in tokens])


def drawn(text: str, start: bool = False, everything: bool = False) -> Text:
    """A text with the white space drawn that is easy to miss: at the ends of lines, doubled, tabs, line ends.

    Args:
        text: What is scored.
        start: Draw a single space at its start too.
        everything: Draw every space.
    """
    found = Text()
    spaces = r"[ \t\n]+" if everything else r"\t+|\n+| {2,}| (?=\n|$)" + (r"|^ " if start else "")
    for part in re.split(f"({spaces})", text):
        if part and not part.strip(" \t\n"):
            marks = "".join(_MARKS[mark] + ("\n" if mark == "\n" and not everything else "") for mark in part)
            found.append(marks, style="dim")
        else:
            found.append("".join(c if c.isprintable() else ascii(c)[1:-1] for c in part))
    return found
