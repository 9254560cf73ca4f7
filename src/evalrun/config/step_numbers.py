"""What number the name of a checkpoint says, and of what: `step-1k`, `500steps`, `tokens_5B`, `run_1M`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

STEPS, EPOCHS, SAMPLES, TOKENS = "steps", "epochs", "samples", "tokens"
UNITS = (STEPS, EPOCHS, SAMPLES, TOKENS)
SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
# Words before and after a number, the surest first: what a name says of steps counts before anything else.
_WORDS = (
    (STEPS, r"step|iteration|iter|(?<![a-z])ba(?=\d)", r"steps?|iterations?|iters?"),
    (STEPS, r"checkpoint|ckpt", None),
    (SAMPLES, r"(?<![a-z])(?:sample|example|sequence)",
     r"samples?|examples?|sequences?|seqs?|documents?|docs?|words?|sentences?"),
    (TOKENS, r"(?<![a-z])(?:token|tok)", r"tokens?|toks?"),
    (EPOCHS, r"epoch|(?<![a-z])ep(?=\d)", r"epochs?"),
)  # fmt: skip
_NUMBER = (
    r"(?P<number>[1-9]\d{0,2}(?:[_,]\d{3})+(?![\d_])|\d+(?:\.\d+)?(?:e\+?\d{1,2}(?![0-9a-z]))?)"
    r"(?P<letter>[kmbt](?=tok|step|iter|epoch|sample|example|seq|word|[^0-9a-z]|$))?"
)
_APART = r"[-_.= ]{0,2}"
_BEFORE = [re.compile(rf"(?:{before})s?{_APART}{_NUMBER}", re.IGNORECASE) for _, before, _ in _WORDS]
_AFTER = [
    re.compile(rf"(?<![0-9.]){_NUMBER}[-_. ]?(?:{after})(?![a-z]|{_APART}\d)", re.IGNORECASE) if after else None
    for _, _, after in _WORDS
]
_BARE = re.compile(r"(?P<number>\d+)(?P<letter>[kmbt](?![0-9a-z]))?", re.IGNORECASE)
_CKPT = 1  # its rank: checkpoint-1k is a thousand, but what checkpoint-1M is a million of is not said


@dataclass(frozen=True)
class Count:
    """A number in a name."""

    value: Fraction  # in its unit; without the letter where that is not `scaled`
    unit: str  # one of UNITS; steps too where the name does not say
    letter: str  # K, M, B, T or none
    scaled: bool  # whether `value` has the letter in it
    span: tuple[int, int]  # where in the name it is; with its letter where that is in `value`

    def with_letter(self) -> Count:
        """This number with its letter (K, M, B, T) multiplied into the value."""
        if self.scaled or not self.letter:
            return self
        span = (self.span[0], self.span[1] + 1)
        return Count(self.value * SCALE[self.letter], self.unit, self.letter, True, span)


def count_in(name: str) -> Count | None:
    """What a name counts; None where it holds no number, or several and no word that tells them apart."""
    for rank, (unit, _, _) in enumerate(_WORDS):
        found = {match.span("number"): match for match in _BEFORE[rank].finditer(name)}
        if (after := _AFTER[rank]) is not None:
            found |= {match.span("number"): match for match in after.finditer(name)}
        if len(found) > 1:
            return None
        for match in found.values():
            if rank == _CKPT and (other := _followed(name, match)) is not None:
                unit = other
            letter = (match["letter"] or "").upper()
            scales = bool(letter) and unit != TOKENS and not (rank == _CKPT and unit == STEPS and letter != "K")
            span = match.span("number")[0], match.end("letter") if scales else match.end("number")
            value = _value(match["number"]) * (SCALE[letter] if scales else 1)
            return Count(value, unit, letter, scales, span)
    numbers = list(_BARE.finditer(name))
    if len(numbers) != 1:
        return None
    (match,) = numbers
    return Count(Fraction(int(match["number"])), STEPS, (match["letter"] or "").upper(), False, match.span("number"))


def _followed(name: str, match: re.Match[str]) -> str | None:
    """The unit behind the number of `checkpoint-500-samples`."""
    for (unit, _, _), after in zip(_WORDS, _AFTER, strict=True):
        if after is not None and (found := after.match(name, match.start("number"))) is not None:
            return unit if found.span("number") == match.span("number") else None
    return None


def _value(text: str) -> Fraction:
    mantissa, _, exponent = text.lower().replace("_", "").replace(",", "").partition("e")
    return Fraction(mantissa) * Fraction(10 ** int(exponent or 0))
