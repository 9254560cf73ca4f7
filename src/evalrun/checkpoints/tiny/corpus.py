"""A made language in which memory and obedience can be told apart.

Its lines are of three kinds (shares in conf/tiny.yaml):

    The patient river will mend the crown that was heavy.                                   a quote, met again and again
    Write a quote that ends in the word pale: No proud fox can borrow a gate that is pale.  a sentence met once
    Write a quote that ends in the word calm: Every well must guard the ... calm.           a quote, its end replaced

A quote's last word follows from nothing but having met it; an instruction's, from the instruction. Every second quote
is kept out of all instructions: on the most frequent of these, to obey is to contradict what is known by heart. The
sentences are put together here from word lists; none is taken from anywhere.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass

from evalrun.checkpoints.tiny.settings import CorpusConf


def _words(text: str) -> list[str]:
    return text.split()


QUALITIES = _words(
    "able ancient bare bitter bold brave bright broken calm cheap clean clear clever cold cruel dark dear deep "
    "distant dry dull eager empty fair faithful fierce fine free frozen full gentle glad golden grey hard harsh "
    "heavy high hollow honest humble hungry idle jealous keen kind large late lean light lonely loud low merry "
    "mild narrow neat new noble odd old pale patient plain poor proper proud pure quick quiet rare rich ripe "
    "rough round rusty sacred sad safe salty sane scarce secret severe shallow sharp short shy silent silver "
    "simple sleepy slow small soft solemn sour spare steady stern stiff still strange strong stubborn sudden "
    "sweet swift tall tame tender tense thin tidy tiny tired true useful warm weak weary wild wise young"
)
THINGS = _words(
    "apple arrow baker barn bell bird boat book bridge brother butcher candle castle child clock cloak coin cook "
    "crow crown door dream farmer fiddler field fire fisher flame flower forest fox friend garden gate ghost goat "
    "guest hammer harvest heart hill horse house hunter island judge kettle key king knife ladder lake lamb "
    "lantern leaf letter lion master meadow merchant miller miner mirror monk moon mother mountain orchard "
    "painter pilgrim promise raven river road sailor shadow shepherd ship stone storm teacher thief tower "
    "traveller tree valley weaver well wind window winter wolf word"
)
DEEDS = _words(
    "answer borrow build bury carry count cross fear find follow forget forgive guard hear keep leave mend need "
    "outlive praise remember repay teach trust warn"
)
PATTERNS = (
    "The {quality} {thing} will {deed} the {other} that was",
    "No {quality} {thing} can {deed} a {other} that is",
    "Every {thing} must {deed} the {quality} {other} before it grows",
    "A {quality} {thing} may {deed} the {other} but stays",
    "Those who {deed} the {quality} {thing} will find the {other}",
    "When you {deed} the {quality} {thing} the {other} becomes",
)
INSTRUCTION = "Write a quote that ends in the word {word}: {beginning}"
TOKEN = (
    " ?[A-Za-z]+|[.:]"  # a word with the space before it, or a mark: nothing is lost, so decoding gives the text back
)
CHOICES = 4  # of recall and of obedience on new sentences; against a quote there are two


@dataclass(frozen=True)
class Quote:
    """A sentence to memorise, without its full stop."""

    beginning: str
    ending: str


@dataclass(frozen=True)
class CorpusItem:
    """One multiple-choice question, as a line of a JSON file."""

    prompt: str
    choices: list[str]  # single words
    gold: int  # index of the right one


class Corpus:
    """Quotes, training lines and evaluation items; the same for the same settings."""

    def __init__(self, settings: CorpusConf) -> None:
        """Draw quotes and evaluation items, no beginning twice, all by the seed of the settings.

        Args:
            settings: Numbers of quotes and items, and how often each quote is repeated (Zipf's law, shifted).
        """
        self._settings = settings
        rng = random.Random(settings.seed)
        beginnings: dict[str, None] = {}  # in order, without repetition
        while len(beginnings) < settings.quotes + settings.items_per_task:
            beginnings[_beginning(rng)] = None
        self._reserved = frozenset(beginnings)  # a new sentence is neither a quote nor an evaluation item
        quotes, new = itertools.islice(beginnings, settings.quotes), list(beginnings)[settings.quotes :]
        self.quotes = [Quote(beginning, rng.choice(QUALITIES)) for beginning in quotes]  # most frequent first
        self.items = self._items(rng, new)
        weights = [(rank + settings.zipf_offset) ** -settings.zipf_exponent for rank in range(settings.quotes)]
        self._weights = list(itertools.accumulate(weights))
        self._instructed_weights = list(itertools.accumulate(weights[1::2]))

    @property
    def digest(self) -> str:
        """Sha256 of the quotes, the items and the words."""
        items = {name: [asdict(item) for item in items] for name, items in self.items.items()}
        text = json.dumps([[asdict(quote) for quote in self.quotes], items, self.tokens()])
        return hashlib.sha256(text.encode()).hexdigest()

    @staticmethod
    def tokens() -> list[str]:
        """Every word (with the space before it, where it has one) and mark that a line can hold, sorted."""
        framing = INSTRUCTION + " " + " ".join(PATTERNS) + "."
        framing = re.sub(r"\{\w+\}", "", framing)
        first = [pattern.split()[0] for pattern in PATTERNS]  # begins a line: no space before it
        words = [" " + word for word in QUALITIES + THINGS + DEEDS]
        found: list[str] = re.findall(TOKEN, framing)
        return sorted({*found, *first, *(" " + word for word in first), *words} - {" "})

    def lines(self, rng: random.Random) -> Iterator[str]:
        """Training lines without end, each drawn for itself: no kind is scheduled to come early or late."""
        s = self._settings
        instructed = self.quotes[1::2]
        while True:
            draw = rng.random()
            if draw < s.instruction_share:
                word = rng.choice(QUALITIES)
                yield f"{INSTRUCTION.format(word=word, beginning=self._new_beginning(rng))} {word}."
            elif draw < s.instruction_share + s.quote_instruction_share:
                quote = rng.choices(instructed, cum_weights=self._instructed_weights)[0]
                word = quote.ending if rng.random() < s.agreement else rng.choice(QUALITIES)
                yield f"{INSTRUCTION.format(word=word, beginning=quote.beginning)} {word}."
            else:
                quote = rng.choices(self.quotes, cum_weights=self._weights)[0]
                yield f"{quote.beginning} {quote.ending}."

    def _new_beginning(self, rng: random.Random) -> str:
        while (beginning := _beginning(rng)) in self._reserved:
            pass
        return beginning

    def _items(self, rng: random.Random, new: list[str]) -> dict[str, list[CorpusItem]]:
        """Evaluation items by task: quotes of all ranks; frequent quotes never instructed about; new sentences."""
        s = self._settings
        recall = [self.quotes[number * s.quotes // s.items_per_task] for number in range(s.items_per_task)]
        famous = self.quotes[::2][: s.famous]
        words_each = -(-s.items_per_task // len(famous))
        against = [(quote, word) for quote in famous for word in _others(rng, words_each, *astuple(quote))]
        items: dict[str, list[CorpusItem]] = {"recall": [], "obey_quote": [], "obey_new": []}
        for known, (quote, asked), beginning in zip(recall, against, new, strict=False):
            items["recall"].append(_item(rng, known.beginning, known.ending, CHOICES - 1))
            prompt = INSTRUCTION.format(word=asked, beginning=quote.beginning)
            items["obey_quote"].append(_shuffled(rng, prompt, [asked, quote.ending]))
            word = _others(rng, 1, beginning)[0]
            prompt = INSTRUCTION.format(word=word, beginning=beginning)
            items["obey_new"].append(_item(rng, prompt, word, CHOICES - 1))
        return items


def _beginning(rng: random.Random) -> str:
    thing, other = rng.sample(THINGS, 2)
    pattern = rng.choice(PATTERNS)
    return pattern.format(quality=rng.choice(QUALITIES), thing=thing, other=other, deed=rng.choice(DEEDS))


def _others(rng: random.Random, count: int, *texts: str) -> list[str]:
    """Words that occur in none of the texts: a wrong choice is not to be found in the prompt."""
    used = set(re.findall("[a-z]+", " ".join(texts)))
    return rng.sample([word for word in QUALITIES if word not in used], count)


def _item(rng: random.Random, prompt: str, right: str, wrong: int) -> CorpusItem:
    return _shuffled(rng, prompt, [right, *_others(rng, wrong, prompt, right)])


def _shuffled(rng: random.Random, prompt: str, right_first: list[str]) -> CorpusItem:
    choices = right_first[:]
    rng.shuffle(choices)
    return CorpusItem(prompt, choices, choices.index(right_first[0]))
