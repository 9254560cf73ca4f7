"""What a sweep of adapters on one base costs, beside merging each and sweeping the merged models.

    python benchmarks/adapters.py --model 160m --adapters 20 --json adapters.json

A base of random weights and so many LoRA adapters on its attention and feed-forward layers. One way is a sweep of the
adapters as they are; the other merges each with peft (the base loaded once), saves it, and sweeps these models. Fresh
processes, in turn, from nothing; one task of short questions, whose numbers of both ways are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from comparison import SHAPES, Setting, open_model
from made_text import make_tables
from sweep import run
from workloads import open_tokenizer

TASK = """\
task: questions
dataset_path: json
dataset_kwargs: {data_files: {train: questions.jsonl}}
validation_split: train
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
num_fewshot: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
MERGE = """\
import sys
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
for adapter in sorted(Path("adapters").iterdir()):
    base = AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32)
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained("merged/" + adapter.name)
"""


def make(folder: Path, options: argparse.Namespace) -> None:
    """The base, its adapters and the task in a user's folder."""
    from peft import LoraConfig, get_peft_model

    tables = make_tables()
    tokenizer = open_tokenizer(tables, options.tokenizer)
    base = open_model(SHAPES[options.model], Setting("cpu", "float32", 1, [1]))
    for place in ("base", "."):
        tokenizer.save_pretrained(folder / place)
    base.save_pretrained(folder / "base")
    base.name_or_path = base.config._name_or_path = "base"
    layers = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
    for step in range(1, options.adapters + 1):
        settings = LoraConfig(r=8, target_modules=layers, init_lora_weights=False, base_model_name_or_path="base")
        tuned = get_peft_model(base, settings)
        tuned.save_pretrained(folder / "adapters" / f"checkpoint-{step}")
        base = tuned.unload()
    words = " ".join(tables.passages).split()
    drawn = random.Random(0)
    with (folder / "questions.jsonl").open("w") as file:
        for number in range(options.items):
            at = drawn.randrange(len(words) - 40)
            choices = [" " + " ".join(words[at + 20 + 4 * n : at + 24 + 4 * n]) for n in range(2)]
            file.write(
                json.dumps({"text": " ".join(words[at : at + 20]), "choices": choices, "gold": number % 2}) + "\n"
            )
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "questions.yaml").write_text(TASK)


def sweep(folder: Path, path: str, options: argparse.Namespace) -> float:
    """Seconds of the sweep of a folder's checkpoints, from nothing."""
    words = [
        "-m",
        "model=local",
        f"path={path}",
        "step=all",
        "task=questions",
        "tokens_per_step=1000",
        *options.overrides,
    ]
    fixed = ["model.tokenizer=base", "scorer.device=cpu", "analysis.after_sweep=false"]
    return run([sys.executable, "-m", "evalrun", *words, *fixed], folder, options.threads)


def accuracies(folder: Path, run_name: str) -> dict[int, dict[str, float]]:
    """Step -> metrics of one way."""
    files = folder.glob(f"multirun/local/{run_name}/step*/results/*.json")
    kept = [json.loads(file.read_text()) for file in files]
    return {one["cell"]["step"]: one["metrics"] for one in kept}


def turn_of(folder: Path, way: str, options: argparse.Namespace) -> dict[str, float]:
    """What one way took."""
    for done in ("multirun", "mlruns", "merged"):
        if way == "merged" or done != "merged":
            shutil.rmtree(folder / done, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = run([sys.executable, "-c", MERGE], folder, options.threads) if way == "merged" else 0.0
    seconds += sweep(folder, way, options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor_seconds": processor}


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="160m")
    parser.add_argument("--adapters", type=int, default=20)
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE trained on made text")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("overrides", nargs="*", help="of both sweeps")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options)
        turns: list[dict[str, dict[str, float]]] = []
        kept: dict[str, dict[int, dict[str, float]]] = {}
        for turn in range(options.repeats):
            row = {}
            for way in ("adapters", "merged")[:: 1 if turn % 2 == 0 else -1]:
                row[way] = turn_of(folder, way, options)
                kept[way] = accuracies(folder, way)
            turns.append(row)
    found: dict[str, Any] = {
        "model": options.model,
        "adapters": options.adapters,
        "turns": turns,
        **{
            f"ratio of {kind}": statistics.median(row["merged"][kind] / row["adapters"][kind] for row in turns)
            for kind in ("seconds", "processor_seconds")
        },
        "same_accuracies": {step: one["acc"] for step, one in kept["adapters"].items()}
        == {step: one["acc"] for step, one in kept["merged"].items()},
    }
    print(json.dumps(found, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
