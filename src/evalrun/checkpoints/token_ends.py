"""What a tokenizer puts after every text by itself (`</s>`, `[SEP]`): kept off prompts and off what is scored.

A prompt that ends in it is a finished text before its answer begins, and lm-eval, which cuts prompt and choice at the
number of the prompt's tokens, then scores a choice without its first token and with the end. Neither was asked for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from evalrun.checkpoints import token_rules

# Classes that put nothing after a text unless their file or `add_eos_token` says so.
_PLAIN = frozenset({
    *token_rules.FOLLOWING, "BloomTokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer", "GemmaTokenizer", "LlamaTokenizer",
    "Qwen2Tokenizer",
})  # fmt: skip
_OF_FILE = re.compile(r'"post_processor"\s*:\s*')


def around(tokenizer: Any) -> tuple[list[int], list[int]] | None:
    """The tokens that stand before and after every text; None: the text's own cannot be told from them.

    Args:
        tokenizer: Of transformers.
    """
    whole, plain = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (True, False))
    first = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), None)
    return None if first is None or not plain else (whole[:first], whole[first + len(plain) :])


def take_off(tokenizer: Any, found: token_rules.Departure | None) -> list[str]:
    """Let a tokenizer put nothing after a text any more; what stands before one stays.

    Args:
        tokenizer: As `AutoTokenizer` loads it; it is changed.
        found: How its class and its file depart from each other; both are then compared without the end.

    Returns:
        The tokens that it put there, as it spells them; none where it puts none, or cannot be kept from it.
    """
    begin, end = around(tokenizer) or ([], [])
    backends = {id(one): one for one in (getattr(tokenizer, "backend_tokenizer", None),) if one is not None}
    backends |= {} if found is None else {id(one): one for one in (found.of_file, found.of_class)}
    for backend in backends.values():
        _only_begin(backend)
    if end and not backends:
        tokenizer.build_inputs_with_special_tokens = lambda ids, pair=None: [*begin, *ids, *(pair or ())]
    spelt = [str(tokenizer.convert_ids_to_tokens(token)) for token in end]
    return spelt if around(tokenizer) == (begin, []) else []


def _only_begin(backend: Any) -> None:
    """Let a `tokenizers.Tokenizer` put nothing after a text any more; what stands before one stays."""
    from tokenizers import processors

    def read(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": backend.encode(text, add_special_tokens=add_special_tokens).ids}

    begin, end = around(read) or ([], [])
    if end:
        named = {"id": "begin", "ids": begin, "tokens": [backend.id_to_token(token) for token in begin]}
        backend.post_processor = processors.TemplateProcessing(
            single=["begin", "$A"] if begin else ["$A"], special_tokens=[named] if begin else []
        )


def may_be(folder: Path) -> bool:
    """Whether a look at a tokenizer's files leaves it open that it puts something after a text.

    Args:
        folder: Its files.
    """
    described, file = folder / "tokenizer_config.json", folder / token_rules.FILE
    try:
        said = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
        name = str(said.get("tokenizer_class")).removesuffix("Fast")
        if said.get("add_eos_token") or not _PLAIN & {name, f"{name}Fast"}:
            return True
        return file.is_file() and _ends(_post_processor(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return True  # damaged: loading says so


def _post_processor(text: str) -> Any:
    """The post-processor of a tokenizer.json, found without parsing its vocabulary, which may hold that word too."""
    for place in _OF_FILE.finditer(text):
        found, _ = json.JSONDecoder().raw_decode(text, place.end())
        if not isinstance(found, int):
            return found
    return None


def _ends(part: Any) -> bool:
    """Whether a post-processor puts something after a text, or may."""
    kind = None if part is None else part["type"]
    if kind == "Sequence":
        return any(map(_ends, part["processors"]))
    if kind == "TemplateProcessing":
        return "SpecialToken" in part["single"][-1]
    return kind not in (None, "ByteLevel")
