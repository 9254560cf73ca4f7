"""How fast evalrun's whole command does many sets of minimal pairs on one checkpoint, beside lm-eval's whole command.

    python benchmarks/minimal_pairs.py --tokenizer tokenizer.json --json pairs.json

As BLiMP has them: 67 sets of sentences of which one word differs, as 67 task files of lm-eval's form. Both commands run
in fresh processes, in turn, from nothing, on the same files and weights (random, of Pythia's shapes); lm-eval at the
batch size that is its fastest on a few sets. The accuracies are compared, and the log-likelihoods.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison import SHAPES, Setting, open_model
from made_text import make_tables
from sweep import run
from workloads import open_tokenizer

MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: bench
  - _self_
name: bench
path: models
n_params: 70000000
n_params_nonembedding: 70000000
n_params_nominal: 70000000
"""
CHECKPOINT = "suite: bench\nfolder: step{step}\nrevision: null\nseed: null\ntokens_per_step: 1000\nsteps: [1]\n"
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{train: {data}}}}}
validation_split: train
output_type: multiple_choice
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
num_fewshot: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
NOUNS = [
    "cat",
    "dog",
    "teacher",
    "doctor",
    "pilot",
    "senator",
    "actor",
    "customer",
    "guest",
    "student",
    "driver",
    "boy",
    "girl",
    "nurse",
]
VERBS = [
    "annoy",
    "admire",
    "help",
    "know",
    "like",
    "hate",
    "see",
    "visit",
    "remember",
    "notice",
    "question",
    "describe",
    "forget",
    "love",
]
NAMES = [
    "Tim",
    "Sara",
    "Mark",
    "Jane",
    "Paul",
    "Anna",
    "Carl",
    "Rose",
    "Jack",
    "Lucy",
    "Peter",
    "Susan",
    "Kevin",
    "Diane",
]
LONGER = ["", " near the old house", " that the painter met", " who left the big museum", " from this small town"]


def pairs(number: int, count: int) -> list[dict[str, str]]:
    """Distinct pairs of a set: a verb agrees with its noun, or does not, in what the set's number says of the rest.

    Args:
        number: Of the set.
        count: Pairs.
    """
    drawn, found = random.Random(number), dict[str, dict[str, str]]()
    while len(found) < count:
        plural, between = drawn.random() < 0.5, LONGER[number % len(LONGER)]
        noun, verb, name = drawn.choice(NOUNS), drawn.choice(VERBS), drawn.choice(NAMES)
        subject = f"{drawn.choice(['The', 'Some', 'That', 'Every'][number % 3 :])} {noun}{'s' * plural}{between}"
        also = f" and {drawn.choice(NAMES)}" if drawn.random() < 0.7 else f" before {drawn.choice(NAMES)} left"
        right, wrong = (f"{subject} {verb}{'s' * bad} {name}{also}." for bad in (not plural, plural))
        found[right] = {"sentence_good": right, "sentence_bad": wrong}
    return list(found.values())


def make(folder: Path, options: argparse.Namespace) -> list[str]:
    """Tasks, model and configs in a user's folder; the names of the tasks."""
    names = [f"pairs_{number:02}" for number in range(options.sets)]
    for part in ("data", "conf/task", "conf/model", "conf/checkpoint"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(names):
        data = (folder / "data" / f"{name}.jsonl").absolute()
        data.write_text("".join(json.dumps(row) + "\n" for row in pairs(number, options.pairs)))
        (folder / "conf/task" / f"{name}.yaml").write_text(TASK.format(name=name, data=data))
    (folder / "conf/model/bench.yaml").write_text(MODEL)
    (folder / "conf/checkpoint/bench.yaml").write_text(CHECKPOINT)
    open_model(SHAPES[options.model], Setting("cpu", "float32", 1, [1])).save_pretrained(folder / "models/step1")
    open_tokenizer(make_tables(), options.tokenizer).save_pretrained(folder / "models/step1")
    return names


def lm_eval(folder: Path, names: list[str], batch: int, out: str, threads: int) -> float:
    """Seconds of lm-eval's command, which writes its results and samples into a folder.

    Args:
        folder: The user's.
        names: Of tasks.
        batch: Its batch size.
        out: Folder of its results, below.
        threads: Of the process.
    """
    words = ["--model", "hf", "--model_args", "pretrained=models/step1,dtype=float32", "--include_path", "conf/task"]
    words += ["--tasks", ",".join(names), "--device", "cpu", "--batch_size", str(batch), "--output_path", out]
    return run([sys.executable, "-m", "lm_eval", *words, "--log_samples"], folder, threads)


def evalrun(folder: Path, names: list[str], threads: int) -> float:
    """Seconds of evalrun's command, from nothing."""
    for done in ("multirun", "mlruns", "outputs"):
        if (folder / done).exists():
            (folder / done).rename(folder / f"{done}-{time.time_ns()}")
    words = ["model=bench", "step=1", f"task={','.join(names)}", "scorer.device=cpu"]
    return run([sys.executable, "-m", "evalrun", *words], folder, threads)


def differences(folder: Path, names: list[str]) -> dict[str, float]:
    """The largest difference of an accuracy and of a log-likelihood between the two, over all items."""
    import pandas as pd

    nats = accuracy = 0.0
    for name in names:
        (samples,) = (folder / "out").rglob(f"samples_{name}_*.jsonl")
        theirs = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
        (kept,) = folder.glob(f"multirun/bench/bench/step1/results/{name}-*.parquet")
        own = pd.read_parquet(kept).sort_values("doc_id")
        expected = [[float(one[0]) for one in row["filtered_resps"]] for row in theirs]
        pairs_ = zip(own["logprobs"], expected, strict=True)
        nats = max(nats, max(abs(a - b) for left, right in pairs_ for a, b in zip(left, right, strict=True)))
        right = statistics.mean(row["acc"] for row in theirs)
        accuracy = max(accuracy, abs(right - statistics.mean(own["acc"])))
    return {"accuracy": accuracy, "nats": nats}


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="70m")
    parser.add_argument("--sets", type=int, default=67)
    parser.add_argument("--pairs", type=int, default=1000, help="of each set")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of both commands")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE trained on made text")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = make(folder, options)
        some = names[: 1 + len(names) // 20]
        tried = {one: lm_eval(folder, some, one, "tried", options.threads) for one in options.batch_sizes}
        best = min(tried, key=tried.__getitem__)
        turns = []
        for turn in range(options.repeats):
            row: dict[str, Any] = {}
            for who in ("lm_eval", "evalrun")[:: 1 if turn % 2 == 0 else -1]:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                out = "out" if turn == 0 else f"out{turn}"
                ours = who == "evalrun"
                took = (
                    evalrun(folder, names, options.threads)
                    if ours
                    else lm_eval(folder, names, best, out, options.threads)
                )
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                row[who] = {"seconds": took, "processor_seconds": processor}
            turns.append(row)
        found = {
            "model": options.model,
            "sets": options.sets,
            "pairs": options.pairs,
            "batch_size": best,
            "turns": turns,
            **{
                f"ratio of {kind}": statistics.median(row["lm_eval"][kind] / row["evalrun"][kind] for row in turns)
                for kind in ("seconds", "processor_seconds")
            },
            "largest_difference": differences(folder, names),
        }
    print(json.dumps(found, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
