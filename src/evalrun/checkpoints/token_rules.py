"""A tokenizer's own file beside what transformers makes of it: where the two part a text, and following the file.

From version 5 on transformers builds many classes' tokenizers (GPT2Tokenizer, GPTNeoXTokenizer, LlamaTokenizer,
Qwen2Tokenizer ...) from the vocabulary and merges of tokenizer.json and puts the class's normaliser and
pre-tokeniser in place of the file's: the model then reads other tokens than it was trained on.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

FILE = "tokenizer.json"
FOLLOWING = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that take the file as it is
_UNSAID = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "trim_offsets": True}  # null means this
_WORDS = (
    "walk",
    "The",
    "it's",
    "IT'S",
    "café",
    "cafe\u0301",
    "ﬁ",
    "2024",
    "3",
    "1,000",
    "東京",
    "日本語",
    "한국",
    "я",
    "ﷺ",
)
_MARKS = (
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "    ",
    "(",
    ")",
    " [",
    "]",
    "{",
    "_",
    "-",
    ".",
    "...",
    "'",
    '"',
    "/",
    "▁",
)
_PROBES = (
    "walk", " walk", "  walk", "2024", "walk\n\n  talk", "(walk)", "IT'S", "it's", "e\u0301", "İ ẞ ß ǅ", " ", "\n", "",
    "\n\n    if x:\n\n        return (y[0], 12345)\n", "\tx\t= 1;\r\n", "x=1+2*3//4**5", "!!!\n???",
    "½ ² Ⅷ ｆｕｌｌ", "A\u00a0B\u2009C\u3000D\u200bE\ufeff",
    "0 00 000 0000 00000 1234567890", "日本語のテキスト、中文字符。한국어 ไทย हिन्दी",
    "🙂👩‍👩‍👧 ok", "<s> </s> <unk> <pad> <|endoftext|>", "\x00\x07", "a\n b\n  c\n", "word\n\nWord \n \n", "walk ",
)  # fmt: skip
_PIECES = 8000  # of a vocabulary that are tried
_AT_ONCE = 1000  # texts
_SHOWN, _TOKENS, _BEFORE = (
    60,
    10,
    2,
)  # of a text that a sentence repeats: characters; tokens, and those before a difference


@dataclass(frozen=True)
class Difference:
    """A text that a tokenizer's class and its file part differently, from just before where they do.

    Attributes:
        text: The text, or of a long one the piece where they part.
        of_file: Its tokens as the vocabulary spells them.
        of_class: The same by the class.
    """

    text: str
    of_file: tuple[str, ...]
    of_class: tuple[str, ...]

    def __str__(self) -> str:
        return f"{quoted(self.text)} is {_listed(self.of_file)} by the file and {_listed(self.of_class)} by the class"


@dataclass(frozen=True)
class Departure:
    """A tokenizer whose class follows other rules than its file.

    Attributes:
        name: Of the class.
        of_file: `tokenizers.Tokenizer` with the file's rules, and the tokens that the class or its settings add.
        of_class: The same with the class's rules.
        first: The first of the probing texts that they part differently; None: they agree on all of these.
    """

    name: str
    of_file: Any
    of_class: Any
    first: Difference | None

    def among(self, texts: Sequence[str], special: bool = True) -> tuple[int, Difference | None]:
        """How many of some texts they part differently, and the first of these; without `special`, before any is added.

        Args:
            texts: Any.
            special: Whether the tokens that each puts round a text count.
        """
        number, first = 0, None
        for difference in _differences(self.of_file, self.of_class, texts, special):
            if difference is not None:
                number, first = number + 1, first or difference
        return number, first


def quoted(text: str) -> str:
    """A text in quotes as one would type it: line ends and what cannot be seen by their escapes."""
    return "'" + "".join(c if c.isprintable() and not unicodedata.combining(c) else ascii(c)[1:-1] for c in text) + "'"


def _listed(tokens: Sequence[str]) -> str:
    return " | ".join(tokens) or "nothing"


def departure(tokenizer: Any, folder: Path) -> Departure | None:
    """How a tokenizer that transformers loaded departs from its tokenizer.json; None: not at all, or there is none.

    An `add_prefix_space` that tokenizer_config.json sets is no departure, and neither are tokens that it adds.

    Args:
        tokenizer: As `AutoTokenizer` loads it, without code of its own.
        folder: Its files.
    """
    backend, file = getattr(tokenizer, "backend_tokenizer", None), folder / FILE
    if backend is None or type(tokenizer).__name__ in FOLLOWING or not file.is_file():
        return None
    from tokenizers import Tokenizer

    made = json.loads(backend.to_str())
    written = json.loads(Tokenizer.from_file(str(file)).to_str())  # every rule spelt out
    _prefix_space(written, folder)
    known = {token["content"] for token in made["added_tokens"]}
    lacking = [token for token in written["added_tokens"] if token["content"] not in known]
    parts = [part for part, plain in _READ.items() if plain(written[part]) != plain(made[part])]
    if not parts and not lacking:
        return None
    kept = {"added_tokens": made["added_tokens"] + lacking, "padding": None, "truncation": None}
    of_file = Tokenizer.from_str(json.dumps(made | {part: written[part] for part in (*_READ, "decoder")} | kept))
    of_class = Tokenizer.from_str(json.dumps(made | {"padding": None, "truncation": None}))
    first = next((one for one in _differences(of_file, of_class, probes(of_file)) if one is not None), None)
    return Departure(type(tokenizer).__name__, of_file, of_class, first)


def follow_file(tokenizer: Any, found: Departure) -> None:
    """Give a tokenizer the rules of its file; special tokens and their names stay those of the class."""
    tokenizer._tokenizer = found.of_file
    found.of_file.encode_special_tokens = tokenizer.split_special_tokens


def probes(tokenizer: Any) -> Iterator[str]:
    """Texts on which two ways of parting are likely to show: fixed ones, and many pieces of the vocabulary."""
    yield from _PROBES
    for one, mark, other in product(_WORDS, _MARKS, _WORDS[:9]):
        yield one + mark + other
    numbers = sorted(tokenizer.get_vocab().values())
    numbers = numbers[:: -(-len(numbers) // _PIECES)]
    yield from tokenizer.decode_batch([[number] for number in numbers], skip_special_tokens=False)


def _prefix_space(written: dict[str, Any], folder: Path) -> None:
    """Where tokenizer_config.json says whether a space is put before a text, the file's bytes rule says so too."""
    described, rule = folder / "tokenizer_config.json", written.get("pre_tokenizer") or {}
    said = json.loads(described.read_text(encoding="utf-8")).get("add_prefix_space") if described.is_file() else None
    if isinstance(said, bool) and rule.get("type") == "ByteLevel":
        rule["add_prefix_space"] = said


def _plain(part: Any) -> Any:
    """A part without what bears on no token, so that equal rules compare equal."""
    if isinstance(part, list):
        return [_plain(one) for one in part]
    if not isinstance(part, dict):
        return part
    plain = {key: _UNSAID.get(key) if value is None else value for key, value in part.items()}
    return {key: _plain(value) for key, value in plain.items() if key != "trim_offsets"}


def _model(part: Any) -> Any:
    """Rules of a tokenizer's model, its vocabulary and merges apart, which need not be walked through."""
    rules = {key: value for key, value in part.items() if key not in ("vocab", "merges", "dropout")}
    return _plain(rules), part.get("vocab"), part.get("merges")


def _added(part: Any) -> Any:
    """What a post-processor puts round a text: None where the text is; one that moves offsets alone puts nothing."""
    kind = None if part is None else part["type"]
    if kind in (None, "ByteLevel"):
        return [None]
    if kind == "Sequence":
        found = [added for one in part["processors"] if (added := _added(one)) != [None]]
        return found[0] if len(found) == 1 else found or [None]
    if kind == "TemplateProcessing":
        special = part["special_tokens"]
        return [special[one["SpecialToken"]["id"]]["ids"] if "SpecialToken" in one else None for one in part["single"]]
    return part


_READ: dict[str, Callable[[Any], Any]] = {  # parts that bear on tokens, and how they are compared
    "normalizer": _plain, "pre_tokenizer": _plain, "post_processor": _added, "model": _model,
}  # fmt: skip


def _differences(
    of_file: Any, of_class: Any, texts: Iterable[str], special: bool = True
) -> Iterator[Difference | None]:
    left = iter(texts)
    while some := list(islice(left, _AT_ONCE)):
        one, other = (
            tokenizer.encode_batch_fast(some, add_special_tokens=special) for tokenizer in (of_file, of_class)
        )
        for text, a, b in zip(some, one, other, strict=True):
            yield None if a.ids == b.ids else _difference(text, (of_file, a.ids), (of_class, b.ids))


def _difference(text: str, *read: tuple[Any, list[int]]) -> Difference:
    one, other = (ids for _, ids in read)
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    whole = len(text) <= _SHOWN and max(len(one), len(other)) <= _TOKENS
    part = slice(0, _TOKENS) if whole else slice(max(0, same - _BEFORE), same + _TOKENS - _BEFORE)
    spelt = [tuple(str(tokenizer.id_to_token(token)) for token in ids[part]) for tokenizer, ids in read]
    piece = text if whole else "..." + read[0][0].decode(one[part], skip_special_tokens=False) + "..."
    return Difference(piece, *spelt)
