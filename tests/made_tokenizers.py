"""Small tokenizers of the kinds that models have, laid out under one class name or another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

END = "<|endoftext|>"
TEXT = (
    "the old man walks home and talks to the dog ; she walked , he talked . in 1999 and 2024 it cost 350 .\n\n"
    "def f(x):\n\n    return (x[0], 12)\n\ncafé naïve 東京 (walk) [walk] walking talking walks talked don't I'm\n"
) * 30
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES: dict[str, Any] = {
    "bytes": BYTES,
    "threes": pre_tokenizers.Sequence(  # digits by threes, line ends with the mark before them
        [
            pre_tokenizers.Split(Regex(DIGITS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES]),
}


def byte_level(rule: str = "bytes", size: int = 400, normalizer: Any = None, begin: bool = False) -> Tokenizer:
    """Byte-level BPE; `begin`: its post-processor puts END before a text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = RULES[rule], decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator([TEXT], trainer)
    if begin:
        made.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return made


def pieces(size: int = 450, begin: bool = True, end: bool = False, prepend: bool = False) -> Tokenizer:
    """BPE over ▁ with byte fallback, as Llama 2 has it; `prepend`: by a normaliser, as in its own file."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=not prepend)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    made.train_from_iterator([TEXT], trainer)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if prepend:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        plain = json.loads(made.to_str()) | {"pre_tokenizer": None}
        made = Tokenizer.from_str(json.dumps(plain))
    if begin or end:
        single = " ".join(["<s>"] * begin + ["$A"] + ["</s>"] * end)
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


def save(raw: Tokenizer, folder: Path, name: str | None, model_type: str | None = None, **config: Any) -> Path:
    """Lay a tokenizer out under a class's name, or none; `config` goes to its settings, None leaves one out.

    A `model_type` is written as the whole of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    has_end = raw.token_to_id(END) is not None
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END)
    said = special if has_end else {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    said = {"tokenizer_class": name, "model_max_length": 512, **said, **config}
    text = json.dumps({key: value for key, value in said.items() if value is not None})
    (folder / "tokenizer_config.json").write_text(text)
    if model_type is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder
