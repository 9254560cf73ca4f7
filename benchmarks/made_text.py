"""Text made from a seed, with the lengths, choice counts and repetitions of the real tasks.

Used where no data is given, so that anyone can run the benchmark offline. Sizes quoted here were read off the
published files: TruthfulQA, LAMBADA (OpenAI's), ARC-Easy's test set, memo-trap and NeQA of the Inverse Scaling Prize.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

SEED = 20240
WORDS = 6000
PASSAGES = 1500
MEMO_TRAP, NEQA, ARC_EASY, TRUTHFULQA = 936, 300, 2376, 817


@dataclass(frozen=True)
class Row:
    """A prompt and its choices, the right one first."""

    prompt: str
    choices: list[str]


@dataclass(frozen=True)
class Question:
    """A TruthfulQA question: the choices of its two variants."""

    question: str
    mc1: list[str]
    mc2: list[str]


@dataclass(frozen=True)
class Tables:
    """What the workloads are made of. Choices come with the space before them, except those of `Question`."""

    truthfulqa: list[Question]
    passages: list[str]  # LAMBADA's: the last word is to be told
    memo_trap: list[Row]
    neqa: list[Row]
    arc_easy: list[Row]


def make_tables() -> Tables:
    """Generate all tables; the same at every call."""
    writer = _Writer()
    return Tables(
        truthfulqa=[writer.question() for _ in range(TRUTHFULQA)],
        passages=[writer.passage() for _ in range(PASSAGES)],
        memo_trap=[writer.memo_trap() for _ in range(MEMO_TRAP)],
        neqa=[writer.neqa() for _ in range(NEQA)],
        arc_easy=[writer.arc_easy() for _ in range(ARC_EASY)],
    )


class _Writer:
    """Draws words as often as natural text repeats them, and writes rows with them."""

    def __init__(self) -> None:
        self.random = random.Random(SEED)
        self.words = self._vocabulary()
        self.weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(WORDS)))

    def _vocabulary(self) -> list[str]:
        """Pronounceable words; the frequent ones are short."""
        syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstv", "aeiou")]
        found: dict[str, None] = {}
        while len(found) < WORDS:
            count = min(4, 1 + len(found) // 60)
            found["".join(self.random.choices(syllables, k=self.random.randint(1, count)))] = None
        return list(found)

    def text(self, count: int) -> str:
        """So many words."""
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=count))

    def spread(self, median: float, sigma: float, low: int, high: int) -> int:
        """A length: log-normal, rounded, within bounds."""
        return min(high, max(low, round(math.exp(self.random.gauss(math.log(median), sigma)))))

    def question(self) -> Question:
        """Seven choices on average, many starting alike; the first variant has one true choice and the false ones."""
        true = self.spread(2.8, 0.45, 1, 8)
        false = self.spread(3.8, 0.45, 1, 12)
        choices: list[str] = []
        while len(choices) < true + false:
            words = self.text(self.spread(7, 0.5, 1, 29)).split()
            if choices and self.random.random() < 0.65:
                start = self.random.choice(choices).rstrip(".").lower().split()
                kept = self.random.randint(1, max(1, 2 * len(start) // 3))
                words = [*start[:kept], *words[kept:]]
            choice = " ".join(words).capitalize() + "."
            if choice not in choices:
                choices.append(choice)
        question = self.text(self.spread(9, 0.45, 3, 50)).capitalize() + "?"
        return Question(question, mc1=[choices[0], *choices[true:]], mc2=choices)

    def passage(self) -> str:
        """Some 65 words in a few sentences; the last word is a frequent one."""
        sentences = [self.text(self.spread(12, 0.4, 3, 30)).capitalize() + "." for _ in range(4)]
        last = self.text(self.spread(12, 0.4, 3, 30)).capitalize()
        return " ".join([*sentences, last, self.random.choice(self.words[40:400])])

    def memo_trap(self) -> Row:
        """A proverb, and an order to end it otherwise."""
        ordered, known = self.random.sample(self.words[40:2500], 2)
        proverb = self.text(self.spread(7, 0.4, 3, 40)).capitalize()
        return Row(f'Write a quote that ends in the word "{ordered}": {proverb}', [f" {ordered}.", f" {known}."])

    def neqa(self) -> Row:
        """A question with its two answers lettered; the choices are letters."""
        header = "The following are multiple choice questions (with answers) about common sense."
        question, one, two = (self.text(self.spread(median, 0.3, 1, 30)) for median in (13, 2, 2))
        return Row(f"{header}\n\nQuestion: {question}\nA. {one}\nB. {two}\nAnswer:", [" A", " B"])

    def arc_easy(self) -> Row:
        """A question with four short answers."""
        question = self.text(self.spread(17, 0.5, 4, 110)).capitalize()
        answers = [" " + self.text(self.spread(3.2, 0.75, 1, 25)) for _ in range(4)]
        return Row(f"Question: {question}?\nAnswer:", answers)
