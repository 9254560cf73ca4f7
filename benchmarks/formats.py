"""What reading a checkpoint of torch.distributed.checkpoint costs beside safetensors of the same model.

    python benchmarks/formats.py --json formats.json

A model of random weights in Pythia's shape, saved both ways, each loaded in turn as a job loads it, tokenizer and check
of the model included. `load` is until the model is there, `answered` until it has answered a few tokens once:
transformers maps safetensors and reads a weight when it is first used, so that only then is all of either file read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as distributed_checkpoint

from comparison import SHAPES, Setting, open_model
from evalrun import checkpoints
from evalrun.checkpoints.formats.raw_checkpoint import Reading
from evalrun.core.records import Checkpoint
from machine import Measured, measure
from made_text import make_tables
from workloads import open_tokenizer

TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}
TOKENS = 64  # of the answer


def save(size: str, folder: Path) -> dict[str, Path]:
    """The model in both formats.

    Args:
        size: A key of `SHAPES`.
        folder: Where to.
    """
    model = open_model(SHAPES[size], Setting("cpu", "float32", 1, [1]))
    places = {"safetensors": folder / "safetensors", "dcp": folder / "dcp"}
    model.save_pretrained(places["safetensors"])
    open_tokenizer(make_tables(), None).save_pretrained(places["safetensors"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        distributed_checkpoint.save({"model": model.state_dict()}, checkpoint_id=places["dcp"])
    return places


def answer(model: Any) -> Any:
    """The model's logits on a few tokens."""
    with torch.inference_mode():
        return model(torch.arange(TOKENS)[None]).logits.clone()


def job(place: Path, config: Path) -> Callable[[], tuple[float, Any]]:
    """What a job does with a checkpoint before it scores: seconds until the model is there, and the model."""
    cell = Checkpoint("bench", "model", 1, 1, 1, 1, 1, None, str(place), None, str(config))
    located = checkpoints.locate(cell, reading=Reading(config=str(config)))

    def work() -> tuple[float, Any]:
        begin = time.perf_counter()
        model = checkpoints.load(located, place, "auto", "cpu", TRUST).model
        there = time.perf_counter() - begin
        answer(model)
        return there, model

    return work


def seconds_of(work: Callable[[], tuple[float, Any]]) -> float:
    """The seconds of a job; its model goes."""
    return work()[0]


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["160m"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args(words)
    found: dict[str, Any] = {}
    for size in options.models:
        with tempfile.TemporaryDirectory() as place:
            places = save(size, Path(place))
            jobs = {name: job(one, places["safetensors"]) for name, one in places.items()}
            answers = [answer(one()[1]) for one in jobs.values()]  # and imports, and the files in memory
            turns: list[dict[str, Measured[float]]] = []
            for turn in range(options.repeats):
                order = list(jobs)[:: 1 if turn % 2 == 0 else -1]
                turns.append({name: measure(partial(seconds_of, jobs[name]), "cpu") for name in order})
        found[size] = {
            "load_s": {name: statistics.median(turn[name].result for turn in turns) for name in jobs},
            "answered_s": {name: statistics.median(turn[name].seconds for turn in turns) for name in jobs},
            "ratio_load": statistics.median(turn["dcp"].result / turn["safetensors"].result for turn in turns),
            "ratio_answered": statistics.median(turn["dcp"].seconds / turn["safetensors"].seconds for turn in turns),
            "memory_mb": {name: max((turn[name].memory or 0) >> 20 for turn in turns) for name in jobs},
            "same": torch.equal(*answers),
        }
        print(size, json.dumps(found[size]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
