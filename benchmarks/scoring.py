"""How much faster evalrun scores multiple-choice items than lm-eval, at the same answers.

Both score the same requests on the same model of random weights, in turn (A B A B A B), lm-eval at the batch size that
is its fastest here. No download and no GPU is needed; `make bench` runs this with its defaults.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is made here
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers

from comparison import SHAPES, Setting, compare, open_model
from machine import describe
from made_text import make_tables
from workloads import FILES, WORKLOADS, open_tokenizer, read_tables, take

LEGEND = """\
seconds      From tokens on: lm-eval's _loglikelihood_tokens, logits_cache off and log-softmax in float32, at its best
             batch size; evalrun's score_tokens, its plan made before. Medians; the ratio is taken within each turn.
default      The same with lm-eval's logits_cache on, as it comes, where that saves rows: requests that are equal but
             for the last token are run once. In brackets, its ratio to evalrun's seconds.
first        The first pass of each, from text: tokenising, and for evalrun also its plan (made once for a tokenizer and
             a set of tasks) and its check against lm-eval (once for an architecture).
limit        FLOPs of every request by itself, unpadded, head everywhere / of distinct prefixes, head where needed.
peak         FLOPs of distinct prefixes / evalrun's seconds, as a share of GFLOP/s in a large matrix product.
tokens       lm-eval's without and with padding; distinct prefixes; what evalrun ran through the layers and the head.
memory       Highest rise during the timed runs, MB: resident set of the process, or allocated on the GPU.
differences  Items whose best choice differs; greedy flags that differ; largest difference of a log-likelihood, nats."""


def main(words: list[str] | None = None) -> None:
    """Run the benchmark that the command line asks for."""
    options = _options(words)
    _quiet()
    if options.threads:
        torch.set_num_threads(options.threads)
    setting = Setting(options.device, options.dtype, options.repeats, options.batch_sizes)
    environment = describe(options.device, options.dtype) | {
        "text": "published" if options.data else "made",
        "tokenizer": "given" if options.tokenizer else "made",
        "repeats": options.repeats,
    }
    _say_setting(environment, options)
    results = _run(options, setting)
    print(_table([_speed_row(name, found) for name, found in results.items()]))
    print(_table([_work_row(name, found) for name, found in results.items()]))
    print(LEGEND)
    if options.json:
        options.json.write_text(json.dumps({"environment": environment, "workloads": results}, indent=1) + "\n")


def _options(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    about = "\n".join(f"  {name:15}{workload.says}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"workloads:\n{about}\n\ncolumns:\n{LEGEND}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        choices=SHAPES,
        default=["70m", "160m"],
        metavar="SIZE",
        help=f"Pythia shapes: {' '.join(SHAPES)} (default: 70m 160m)",
    )
    add(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        default=list(WORKLOADS),
        metavar="NAME",
        help="see below (default: all)",
    )
    add(
        "--items",
        type=_items,
        metavar="N",
        help="first N items of each workload, or 'all'; a TruthfulQA question counts once "
        "(default: as many as take some ten minutes altogether on 4 cores)",
    )
    add("--repeats", type=_positive, default=3, metavar="N", help="timed runs of each (default: 3)")
    add(
        "--batch-sizes",
        type=_positive,
        nargs="+",
        default=[1, 4, 8, 16, 32, 64],
        metavar="N",
        help="batch sizes among which lm-eval's fastest is sought (default: 1 4 8 16 32 64)",
    )
    add("--threads", type=_positive, metavar="N", help="CPU threads (default: torch's choice)")
    add("--device", default=device, help="default: the first GPU, else the CPU")
    add("--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="of the weights")
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help=f"folder with the published files in their release formats: {', '.join(FILES)} "
        "(default: text made from a seed, with their lengths and choice counts)",
    )
    add(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="a tokenizer.json (default: a byte-level BPE trained on the text)",
    )
    add("--json", type=Path, metavar="FILE", help="write all numbers there")
    options = parser.parse_args(words)
    lacking = [name for name in FILES if options.data and not (options.data / name).is_file()]
    if lacking:
        parser.error(f"{options.data} lacks {', '.join(lacking)}")
    return options


def _positive(word: str) -> int:
    """A number of 1 or more."""
    if (number := int(word)) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not 1 or more")
    return number


def _items(word: str) -> int | str:
    return word if word == "all" else _positive(word)


def _quiet() -> None:
    """Leave out what lm-eval and transformers say about a model that is loaded already."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()


def _say_setting(environment: dict[str, Any], options: argparse.Namespace) -> None:
    """What is about to run."""
    versions = environment["versions"]
    names = ("torch", "transformers", "lm_eval", "evalrun")
    print(f"{environment['gpu'] or environment['processor']}, {environment['threads']} threads, {options.dtype}; "
          f"{', '.join(f'{name} {versions[name]}' for name in names)}")  # fmt: skip
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"other processes keep {load:.1f} of {environment['cpus']} cores busy: times will be uneven")
    print(f"{environment['text']} text, {environment['tokenizer']} tokenizer, {options.repeats} timed runs of each")
    for name in options.workloads:
        number = _limit(name, options)
        print(f"  {name}: {WORKLOADS[name].says}; {'all' if number is None else f'the first {number}'} items")


def _limit(name: str, options: argparse.Namespace) -> int | None:
    """How many items of a workload; None for all."""
    if options.items == "all":
        return None
    return int(options.items or WORKLOADS[name].default_items)


def _run(options: argparse.Namespace, setting: Setting) -> dict[str, dict[str, Any]]:
    """Every workload on every model, as {"workload/model": numbers}."""
    tables = read_tables(options.data) if options.data else make_tables()
    tokenizer = open_tokenizer(tables, options.tokenizer)
    results = {}
    for size in options.models:
        model = open_model(SHAPES[size], setting)
        for name in options.workloads:
            items = take(WORKLOADS[name], tables, tokenizer, _limit(name, options))
            results[f"{name}/{size}"] = found = compare(model, SHAPES[size], tokenizer, items, setting)
            print(f"{name} {size}: {found['ratio_median']:.1f} times as fast", file=sys.stderr, flush=True)
    return results


def _speed_row(name: str, found: dict[str, Any]) -> dict[str, str]:
    """Cells of the table of times, by heading."""
    seconds, first = found["seconds"], found["first_seconds"]
    workload, model = name.split("/")
    default = seconds.get("lm_eval_default")
    return {
        "workload": workload,
        "model": model,
        "items": str(found["items"]),
        "requests": str(found["requests"]),
        "batch": str(found["batch_size"]),
        "lm-eval s": f"{seconds['lm_eval']:.2f}",
        "evalrun s": f"{seconds['evalrun']:.2f}",
        "ratio (min-max)": f"{found['ratio_median']:.1f} ({found['ratio_min']:.1f}-{found['ratio_max']:.1f})",
        "limit": f"{found['counted_limit']:.1f}",
        "peak": f"{found['peak_share']:.0%} of {found['peak_gflops']:,.0f}",
        "default s": "-" if default is None else f"{default:.2f} ({found['ratio_to_default']:.1f})",
        "first s": f"{first['lm_eval']:.2f} / {first['evalrun']:.2f}",
    }


def _work_row(name: str, found: dict[str, Any]) -> dict[str, str]:
    """Cells of the table of counts and differences, by heading."""
    tokens, memory = found["tokens"], found["memory"]
    workload, model = name.split("/")
    return {
        "workload": workload,
        "model": model,
        "tokens": f"{tokens['lm_eval']:,}",
        "padded": f"{tokens['lm_eval_padded']:,}",
        "distinct": f"{tokens['distinct']:,}",
        "layers": f"{tokens['evalrun_body']:,}",
        "head": f"{tokens['evalrun_head_rows']:,}",
        "MB lm-eval": _megabytes(memory["lm_eval"]),
        "MB evalrun": _megabytes(memory["evalrun"]),
        "answers": str(found["differing_answers"]),
        "greedy": str(found["differing_greedy"]),
        "nats": f"{found['largest_difference']:.1e}",
    }


def _megabytes(number: int | None) -> str:
    return "-" if number is None else f"{number / 1e6:,.0f}"


def _table(rows: list[dict[str, str]]) -> str:
    """Columns as wide as they must be; the first two to the left, numbers to the right."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line in aligned:
        line[:2] = [cell.strip().ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    return "\n".join(["", *("  ".join(line) for line in aligned), ""])


if __name__ == "__main__":
    main()
