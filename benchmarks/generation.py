"""How fast evalrun writes texts beside lm-eval's generate_until, at the same texts.

    python benchmarks/generation.py --prompts 200 --json generation.json

Models of random weights do not end their texts by themselves. So they write freely first; then three letters are taken
as the stop strings (as many as lm-eval's GSM8K, TriviaQA and NQ have) that end enough of the texts between the shortest
and the longest length of a workload, at a median length near a quarter of the longest, and those prompts are asked
whose texts they end there. Both get these prompts, these stops and this limit, in turn (A B A B A B), lm-eval at the
batch size that is its fastest here. Seconds are the clock's, and of processor time where other work is on the machine.

    few_shot     eight examples before each prompt, the same for all; answers of 5 to 128 tokens
    short        the question alone; answers of 1 to 32 tokens
    samples      the prompts of few_shot, eight drawn samples each, at temperature 1
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is made here
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from comparison import SHAPES, Setting, open_model, scorer_conf
from evalrun.scoring.shared_prefix import SharedPrefixLM
from machine import Measured, describe, measure
from made_text import make_tables
from workloads import open_tokenizer, read_tables

STOPS, SHOTS, SAMPLES = 3, 8, 8
FOCUS = 2.0  # so much larger queries and keys are
CANDIDATES = 3  # so many times the prompts that are asked write freely
LENGTHS = {"few_shot": (5, 128), "short": (1, 32), "samples": (5, 128)}  # tokens of an answer
Texts = list[str]


def prompts_of(workload: str, tables: Any, count: int) -> list[str]:
    """Prompts of a workload, all different."""
    questions = [question.question for question in tables.truthfulqa]
    if workload == "short":
        return [f"Q: {question}\nA:" for question in dict.fromkeys(questions)][:count]
    shots = [f"Question: {questions[-i - 1]}\nAnswer: {tables.passages[i]}\n\n" for i in range(SHOTS)]
    return ["".join(shots) + f"Question: {question}\nAnswer:" for question in dict.fromkeys(questions[:-SHOTS])][:count]


def asked(prompts: Sequence[str], repeats: int = 1, **how: Any) -> list[Instance]:
    """Requests for texts, each as often as it has samples."""
    each = [Instance("generate_until", {}, (prompt, how), 0, metadata=("t", i, 1)) for i, prompt in enumerate(prompts)]
    return [request for request in each for _ in range(repeats)]


def chosen(
    lm: SharedPrefixLM, candidates: Sequence[str], count: int, lengths: tuple[int, int]
) -> tuple[list[str], Texts]:
    """The stop strings and the prompts whose texts they end at a length that is wanted.

    Args:
        lm: The scorer.
        candidates: Prompts to choose from.
        count: How many are wanted.
        lengths: Fewest and most tokens of an answer.
    """
    shortest, longest = lengths
    free = lm.generate(asked(candidates, until=[], max_gen_toks=longest))
    spelt = [[lm.tok_decode([token]) for token in text.tokens or ()] for text in free]
    letters = Counter(letter for text in spelt for token in text for letter in set(token) if letter.isalnum())
    ordered = [letter for letter, _ in letters.most_common() if letter.isascii()]
    found: dict[str, list[int]] = {}  # three letters -> where each text meets the first of them; 0: nowhere
    for start in range(len(ordered) - STOPS + 1):
        stops = "".join(ordered[start : start + STOPS])
        found[stops] = [
            next((i + 1 for i, token in enumerate(text) if not set(stops).isdisjoint(token)), 0) for text in spelt
        ]

    def merit(stops: str) -> tuple[int, float]:
        inside = [end for end in found[stops] if shortest <= end <= longest]
        return min(count, len(inside)), -abs(statistics.median(inside or [0]) - longest / 4)

    stops = max(found, key=merit)
    fitting = [prompt for prompt, end in zip(candidates, found[stops], strict=True) if shortest <= end <= longest]
    return list(stops), fitting[:count]


def focused(model: Any) -> Any:
    """A model of random weights that looks at few tokens at a time.

    One that looks at all alike writes the same after hundreds of shared tokens, whatever is asked, and then all texts
    end at one length.
    """
    shape = model.config
    with torch.no_grad():
        for layer in model.gpt_neox.layers:
            weight = layer.attention.query_key_value.weight
            weight.view(shape.num_attention_heads, 3, -1, shape.hidden_size)[:, :2].mul_(FOCUS)
    return model


def timed(work: Callable[[], Any], device: str) -> tuple[Measured[Any], float]:
    """What it took, and its processor time in seconds."""
    start = time.process_time()
    return measure(work, device), time.process_time() - start


def batch_sizes(theirs: HFLM, requests: Sequence[Any], setting: Setting) -> dict[int, float]:
    """Processor time of lm-eval on some of the requests at each batch size, in seconds."""
    some = list(requests[: max(setting.batch_sizes)])
    found = {}
    for size in sorted(setting.batch_sizes):
        theirs.batch_size_per_gpu = size
        found[size] = timed(lambda: theirs.generate_until(some, disable_tqdm=True), setting.device)[1]
    return found


def compare(
    workload: str, lm: SharedPrefixLM, theirs: HFLM, tables: Any, setting: Setting, count: int
) -> dict[str, Any]:
    """Seconds of both, and the texts that differ.

    Args:
        workload: Its name.
        lm: evalrun's scorer.
        theirs: lm-eval's model.
        tables: What prompts are made of.
        setting: Of the run.
        count: Prompts.
    """
    shortest, longest = LENGTHS[workload]
    stops, prompts = chosen(lm, prompts_of(workload, tables, CANDIDATES * count), count, (shortest, longest))
    drawn = {"do_sample": True, "temperature": 1.0} if workload == "samples" else {}
    requests = asked(prompts, SAMPLES if drawn else 1, until=stops, max_gen_toks=longest, **drawn)
    sizes = batch_sizes(theirs, requests, setting)
    theirs.batch_size_per_gpu = min(sizes, key=sizes.__getitem__)
    rivals: dict[str, Callable[[], Any]] = {
        "lm_eval": lambda: theirs.generate_until(requests, disable_tqdm=True),
        "evalrun": lambda: lm.generate(requests),
    }
    turns: list[dict[str, tuple[Measured[Any], float]]] = []
    for turn in range(setting.repeats):
        order = list(rivals)[:: 1 if turn % 2 == 0 else -1]
        turns.append({name: timed(rivals[name], setting.device) for name in order})
    ours = turns[0]["evalrun"][0].result
    lengths = [len(text.tokens or ()) for text in ours]
    clock = [turn["lm_eval"][0].seconds / turn["evalrun"][0].seconds for turn in turns]
    processor = [turn["lm_eval"][1] / turn["evalrun"][1] for turn in turns]
    pairs = zip(ours, turns[0]["lm_eval"][0].result, strict=True)
    return {
        "prompts": len(prompts),
        "texts": len(requests),
        "stops": stops,
        "lengths": [min(lengths), statistics.median(lengths), statistics.mean(lengths), max(lengths)],
        "prompt_tokens": statistics.mean(len(lm.tok_encode(prompt)) for prompt in prompts),
        "body_tokens": lm.counts.body_tokens,
        "batch_size": theirs.batch_size_per_gpu,
        "batch_size_seconds": sizes,
        "used": lm.used,
        "seconds": {name: statistics.median(turn[name][0].seconds for turn in turns) for name in rivals},
        "processor_seconds": {name: statistics.median(turn[name][1] for turn in turns) for name in rivals},
        "ratio": [statistics.median(clock), min(clock), max(clock)],
        "processor_ratio": [statistics.median(processor), min(processor), max(processor)],
        "memory_mb": {name: max((turn[name][0].memory or 0) >> 20 for turn in turns) for name in rivals},
        "differing": None if drawn else sum(text.text != other for text, other in pairs),
    }


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["70m", "160m"])
    parser.add_argument("--workloads", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16, 32, 64])
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument(
        "--data", type=Path, help="the folder of published files, as for scoring.py; default: made text"
    )
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE trained on the text")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args(words)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    if options.threads:
        torch.set_num_threads(options.threads)
    tables = read_tables(options.data) if options.data else make_tables()
    tokenizer = open_tokenizer(tables, options.tokenizer)
    setting = Setting(options.device, options.dtype, options.repeats, options.batch_sizes)
    found: dict[str, Any] = {"environment": describe(options.device, options.dtype)}
    for size in options.models:
        model = focused(open_model(SHAPES[size], setting))
        theirs = HFLM(pretrained=model, tokenizer=tokenizer)
        lm = SharedPrefixLM(model, tokenizer, scorer_conf(setting), lambda rows: None)
        for workload in options.workloads:
            found[f"{workload} {size}"] = compare(workload, lm, theirs, tables, setting, options.prompts)
            print(workload, size, json.dumps(found[f"{workload} {size}"]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
