"""The benchmark's four workloads: items made of prompts and choices, from published files or from made text."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import jinja2
import lm_eval
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from made_text import SEED, Question, Row, Tables

END = "<|endoftext|>"
SHOTS_SHARED, SHOTS_DRAWN = 5, 5
FILES = TRUTHFULQA, LAMBADA, MEMO_TRAP, NEQA, ARC_EASY = (
    "truthfulqa_multiple_choice.jsonl",
    "lambada_openai_test.jsonl",
    "memo-trap_classification.jsonl",
    "neqa_classification.jsonl",
    "arc_easy_test.jsonl",
)


@dataclass(frozen=True)
class Item:
    """One item: a context, and the texts that may follow it (each starts with its space)."""

    context: str
    choices: list[str]


@dataclass(frozen=True)
class Workload:
    """A kind of task, and how many of its items a default run takes."""

    says: str
    default_items: int
    build: Callable[[Tables, PreTrainedTokenizerFast], Iterator[list[Item]]]  # an entry's items are taken together


def read_tables(folder: Path) -> Tables:
    """Read the published files, which lie in one folder in their release formats."""
    return Tables(
        truthfulqa=[
            Question(row["question"], row["mc1_targets"]["choices"], row["mc2_targets"]["choices"])
            for row in _rows(folder / TRUTHFULQA)
        ],
        passages=[row["text"] for row in _rows(folder / LAMBADA)],
        memo_trap=[_prize_row(row) for row in _rows(folder / MEMO_TRAP)],
        neqa=[_prize_row(row) for row in _rows(folder / NEQA)],
        arc_easy=[_arc_row(row) for row in _rows(folder / ARC_EASY)],
    )


def open_tokenizer(tables: Tables, file: Path | None) -> PreTrainedTokenizerFast:
    """The tokenizer of a file, else a byte-level BPE trained on the tables in a few seconds."""
    raw = Tokenizer.from_file(str(file)) if file else _train_tokenizer(tables)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, bos_token=END)


def take(workload: Workload, tables: Tables, tokenizer: PreTrainedTokenizerFast, limit: int | None) -> list[Item]:
    """Items of a workload.

    Args:
        workload: Which.
        tables: What it is made of.
        tokenizer: Says which words are one token.
        limit: First so many entries (a TruthfulQA question is one entry and two items); None for all.
    """
    return list(chain.from_iterable(islice(workload.build(tables, tokenizer), limit)))


def _truthfulqa(tables: Tables, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Item]]:
    """lm-eval's own prompt (six questions and answers, then the question), all choices of MC1 and of MC2."""
    prompt = _truthfulqa_prompt()
    for row in tables.truthfulqa:
        context = prompt(row.question)
        yield [Item(context, [f" {choice}" for choice in choices]) for choices in (row.mc1, row.mc2)]


def _few_shot(tables: Tables, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Item]]:
    """LAMBADA's passages with ten before them: five the same for all items, five drawn for each."""
    draw = random.Random(SEED)
    cut = [text.rsplit(" ", 1) for text in tables.passages]
    usable = [(text, f" {last}") for text, last in cut if len(tokenizer.encode(f" {last}")) == 1]
    shared, rest = usable[:SHOTS_SHARED], usable[SHOTS_SHARED:]
    for text, last in rest:
        drawn = [shot for shot in draw.sample(rest, SHOTS_DRAWN + 1) if shot[0] != text][:SHOTS_DRAWN]
        other = last
        while other == last:
            other = draw.choice(rest)[1]
        yield [Item("\n\n".join([*(shot + word for shot, word in shared + drawn), text]), [last, other])]


def _two_choices(tables: Tables, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Item]]:
    """memo-trap, NeQA and ARC-Easy (the right choice and one other) in turn, then what is left of the longer ones."""
    for rows in zip_longest(tables.memo_trap, tables.neqa, tables.arc_easy):
        yield from ([Item(row.prompt, row.choices[:2])] for row in rows if row is not None)


def _three_choices(tables: Tables, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Item]]:
    """ARC-Easy as a classification: an instruction that all rows share, a question with an answer, three labels."""
    labels = [" certainly right.", " possibly right.", " wrong."]
    for row in tables.arc_easy:
        yield from ([Item(f"{INSTRUCTION}{row.prompt}{choice}\nThis is", labels)] for choice in row.choices[:2])


INSTRUCTION = "Judge the answer to each question as a careful reader of school books would.\n\n"

WORKLOADS = {
    "truthfulqa": Workload("six questions before each; MC1 and MC2, all choices", 16, _truthfulqa),
    "few_shot": Workload("ten passages before each, five of them shared; two one-token choices", 10, _few_shot),
    "two_choices": Workload("short prompts, two choices: memo-trap, NeQA, ARC-Easy", 150, _two_choices),
    "three_choices": Workload("short prompts, three labels for each of many rows: ARC-Easy", 160, _three_choices),
}


def _truthfulqa_prompt() -> Callable[[str], str]:
    """From a question to lm-eval's prompt: the template of the installed lm-eval's task file."""
    file = Path(lm_eval.__file__).parent / "tasks" / "truthfulqa" / "truthfulqa_mc1.yaml"
    template = jinja2.Template(yaml.safe_load(file.read_text())["doc_to_text"])
    return lambda question: template.render(question=question)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON lines file."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _prize_row(row: dict[str, Any]) -> Row:
    """A row of an Inverse Scaling Prize file, whose choices are a Python list in a string."""
    return Row(row["prompt"], _right_first(ast.literal_eval(row["classes"]), row["answer_index"]))


def _arc_row(row: dict[str, Any]) -> Row:
    """A row of ARC-Easy, with lm-eval's prompt."""
    choices = [f" {text}" for text in row["choices"]["text"]]
    right = row["choices"]["label"].index(row["answerKey"])
    return Row(f"Question: {row['question']}\nAnswer:", _right_first(choices, right))


def _right_first(choices: list[str], right: int) -> list[str]:
    return [choices[right], *choices[:right], *choices[right + 1 :]]


def _train_tokenizer(tables: Tables) -> Tokenizer:
    """A byte-level BPE of 8,192 tokens, learnt from what the workloads say."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=8192, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_all_text(tables), trainer)
    return tokenizer


def _all_text(tables: Tables) -> Iterator[str]:
    """Every text of every table."""
    prompt = _truthfulqa_prompt()
    for question in tables.truthfulqa:
        yield from (prompt(question.question), *(f" {choice}" for choice in question.mc2))
    yield from tables.passages
    for row in chain(tables.memo_trap, tables.neqa, tables.arc_easy):
        yield from (row.prompt, *row.choices)
