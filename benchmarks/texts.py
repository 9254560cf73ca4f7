"""How fast evalrun reads whole texts beside lm-eval's rolling log-likelihood, at the same numbers.

    python benchmarks/texts.py --texts 200 --json texts.json

Texts of 20 to 2,000 tokens on models of random weights, in turn; lm-eval at the batch size that is its fastest here.
With `--tasks N` so many tasks ask for the corpus: evalrun reads it once. The share is that of a large matrix product,
of what body and head cost for every token: no padding, no attention.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from comparison import SHAPES, Setting, open_model, scorer_conf
from evalrun.scoring.shared_prefix import SharedPrefixLM
from machine import Measured, matmul_peak, measure
from made_text import make_tables
from workloads import open_tokenizer, read_tables

SHORTEST, LONGEST = 20, 2000  # tokens, about
WORDS_A_TOKEN = 0.75


def make_texts(passages: list[str], count: int) -> list[str]:
    """Texts whose lengths are even on a log scale, each cut from the passages at a random place."""
    words = " ".join(passages).split()
    random = np.random.default_rng(0)
    lengths = WORDS_A_TOKEN * np.exp(random.uniform(np.log(SHORTEST), np.log(LONGEST), count))
    starts = random.integers(0, len(words) - int(lengths.max()), count)
    return [" ".join(words[at : at + max(1, int(length))]) for at, length in zip(starts, lengths, strict=True)]


def compare(size: str, texts: list[str], tokenizer: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, memory and the largest difference on one shape.

    Args:
        size: A key of `SHAPES`.
        texts: To read.
        tokenizer: Of transformers.
        options: Of the command line.
    """
    setting = Setting("cpu", "float32", options.repeats, options.batch_sizes)
    model, shape = open_model(SHAPES[size], setting), SHAPES[size]
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0, metadata=("t", i, 1)) for i, text in enumerate(texts)]

    def theirs(batch: int, requests: list[Any]) -> Callable[[], list[float]]:
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, softmax_dtype="float32")
        return lambda: [float(one) for one in lm.loglikelihood_rolling(requests, disable_tqdm=True)]

    some = asked[: max(4, len(asked) // 8)]
    sizes = {batch: measure(theirs(batch, some), "cpu").seconds for batch in options.batch_sizes}
    best = min(sizes, key=sizes.__getitem__)
    lm = SharedPrefixLM(model, tokenizer, scorer_conf(setting), lambda rows: None)
    rivals = {"lm_eval": theirs(best, asked), "evalrun": lambda: lm.loglikelihood_rolling(asked * options.tasks)}
    turns: list[dict[str, Measured[list[float]]]] = []
    for turn in range(options.repeats):
        order = list(rivals)[:: 1 if turn % 2 == 0 else -1]
        turns.append({name: measure(rivals[name], "cpu") for name in order})
    tokens = [len(tokenizer(text)["input_ids"]) for text in texts]
    pairs = zip(turns[0]["evalrun"].result, turns[0]["lm_eval"].result, tokens, strict=False)
    weights = shape.layers * shape.width * (4 * shape.width + 2 * shape.inner) + shape.width * shape.vocabulary
    seconds = {name: statistics.median(turn[name].seconds for turn in turns) for name in rivals}
    return {
        "texts": len(texts),
        "tokens": sum(tokens),
        "batch_size": best,
        "seconds": seconds,
        "ratio": statistics.median(options.tasks * turn["lm_eval"].seconds / turn["evalrun"].seconds for turn in turns),
        "memory_mb": {name: max((turn[name].memory or 0) >> 20 for turn in turns) for name in rivals},
        "largest_difference_a_token": max(abs(ours - other) / max(1, count) for ours, other, count in pairs),
        "peak_share": {
            name: 2 * sum(tokens) * weights / taken / matmul_peak("cpu", torch.float32)
            for name, taken in seconds.items()
        },
    }


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["70m", "160m"])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=1, help="tasks that ask for the corpus")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument(
        "--data", type=Path, help="the folder of published files, as for scoring.py; default: made text"
    )
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE trained on the text")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args(words)
    tables = read_tables(options.data) if options.data else make_tables()
    tokenizer, texts = open_tokenizer(tables, options.tokenizer), make_texts(tables.passages, options.texts)
    found = {}
    for size in options.models:
        found[size] = compare(size, texts, tokenizer, options)
        print(size, json.dumps(found[size]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
