#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3
#
# Behaviour:
#   tokenizer.json says how text is split and normalised, and `Tokenizer.from_file` does so. AutoTokenizer does, too,
#   where tokenizer_config.json names PreTrainedTokenizerFast; where it names a class with a pipeline of its own, only
#   the vocabulary and the merges of tokenizer.json are used, and the normaliser and the splitting are the class's.
#   The same file gives other ids, without a word: a model that was trained on the file's ids is scored on others.
#
# Seen:
#   tokenizer.json           [262, 264, 220, 257, 19]
#   PreTrainedTokenizerFast  [262, 264, 220, 257, 19]
#   GPT2Tokenizer            [51, 261, 264, 220, 257, 19]          (the file's Lowercase is gone)
#   Qwen2Tokenizer           [51, 261, 264, 220, 16, 17, 18, 19]   (and digits come one by one)
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
cd "$here"
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 PYTHONWARNINGS=ignore
"$here/venv/bin/python" - <<'EOF'
import json
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

made = Tokenizer(models.BPE())
made.normalizer = normalizers.Lowercase()
three_digits = Regex(r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
made.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(three_digits, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
made.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
)
made.train_from_iterator(["the year 1234 1234 1234 1239 123 123 4567\n\n    the year"] * 9, trainer)
made.save("tokenizer.json")

text = "The year 1234"
right = made.encode(text).ids
print("tokenizer.json", right)
ids = {}
for name in ("PreTrainedTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer"):
    with open("tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": name}, file)
    ids[name] = AutoTokenizer.from_pretrained(".")(text)["input_ids"]
    print(name, ids[name])
other = ids["GPT2Tokenizer"] != right and ids["Qwen2Tokenizer"] not in (right, ids["GPT2Tokenizer"])
sys.exit(not (ids["PreTrainedTokenizerFast"] == right and other))
EOF
