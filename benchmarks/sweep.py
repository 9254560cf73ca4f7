"""What a checkpoint costs beside its forward passes: a sweep over many tiny checkpoints, against lm-eval in a loop.

    python benchmarks/sweep.py --checkpoints 64 --json sweep.json

Everything happens in a temporary folder, on the CPU, offline. A suite of tiny random GPT-NeoX checkpoints and three
small tasks, two of which share their prompts, is made once; then these run, each in a fresh process:

- `sweep`: the real command, `python -m evalrun -m ...`, untouched; wall time and nothing else.
- `timed`: the same command with clocks around it (see `_timed`): where the time of the first goes.
- `resume`: the same command again, when everything is done.
- `lm_eval`: `lm_eval.simple_evaluate` for each checkpoint in one process, with the task manager, the task files and all
  imports shared: lm-eval at its best. Nothing is kept: no journal, no MLflow, no items, no analysis.
- `--against REV`: instead of lm-eval, evalrun as it is at another commit: both builds' sweeps and resumes in turn, each
  from nothing, and the ratios of their medians.
- `cli` (`--with-cli N`): one `python -m lm_eval` process for each of N checkpoints, as a bash loop would do it.

A forward pass is the time inside the outermost call of the model, of its body or of its head, taken by hooks on these
three modules. What a scorer does with the logits outside of them (log-softmax, a head applied by hand) counts as
overhead, so the overhead is stated too high rather than too low. Every process has `--threads 1` unless told otherwise:
models this small gain nothing from more, and lose much where other work is on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    "a",
    "b",
    "c",
    "d",
    "yes",
    "no",
    "which",
    "answer",
    "is",
    "question",
    ":",
    ".",
    "?",
]
TASKS = ("first", "twin", "third")  # `twin` asks what `first` asks
MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: bench
  - _self_
name: tiny-random
path: models
n_params: 30000
n_params_nonembedding: 30000
n_params_nominal: 30000
"""
CHECKPOINT = "suite: bench\nfolder: step{step}\nrevision: null\nseed: null\ntokens_per_step: 1000\nsteps: %s\n"
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


def make_suite(folder: Path, checkpoints: int, items: int, tokenizer: Path | None) -> None:
    """Models, tasks and configs: a folder as a user of evalrun has it."""
    for number, name in enumerate(TASKS):
        rows = _rows(items, shift=0 if name == "twin" else number, later=name == "twin")
        _write(folder / "data" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        data = (folder / "data" / f"{name}.jsonl").absolute()
        _write(folder / "conf" / "task" / f"{name}.yaml", TASK.format(name=name, data=data))
    _write(folder / "conf" / "model" / "bench.yaml", MODEL)
    _write(folder / "conf" / "checkpoint" / "bench.yaml", CHECKPOINT % list(range(1, checkpoints + 1)))
    _make_checkpoints(folder / "models", checkpoints, tokenizer)


def _rows(items: int, shift: int, later: bool) -> list[dict[str, Any]]:
    rows = []
    for i in range(items):
        words = [WORDS[(i * 7 + k * 3 + i // 15 + shift) % 15] for k in range(12 + i % 9)]
        choices = [WORDS[(i + k + later + shift) % len(WORDS)] for k in range(2 + i % 3)]
        rows.append({"question": " ".join(words), "choices": choices, "answer": i % len(choices)})
    return rows


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _make_checkpoints(folder: Path, checkpoints: int, tokenizer_file: Path | None) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    if tokenizer_file is None:
        raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<eos>", "<unk>", *WORDS])}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", unk_token="<unk>")
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), eos_token="<|endoftext|>")
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    for step in range(1, checkpoints + 1):
        torch.manual_seed(step)
        model = GPTNeoXForCausalLM(config)
        model.save_pretrained(folder / f"step{step}")
        tokenizer.save_pretrained(folder / f"step{step}")


class Clock:
    """Seconds inside the outermost call of some modules."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._depth = 0
        self._began = 0.0

    def watch(self, model: Any) -> None:
        """Count a transformers model's calls, its body's and its head's."""
        for module in {model, model.base_model, model.get_output_embeddings()} - {None}:
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, *_: Any) -> None:
        if self._depth == 0:
            self._began = time.perf_counter()
            self.calls += 1
        self._depth += 1

    def _leave(self, *_: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._began


def _timed(out: Path, words: list[str]) -> int:
    """Run the command in this process with clocks: at the ends of the sweep, around each job, in the model."""
    started = time.perf_counter()
    from evalrun import checkpoints, cli, pipeline
    from evalrun.commands.run.session import SweepSession

    clock = Clock()
    marks: dict[str, float] = {}
    jobs: list[tuple[float, float]] = []  # seconds of a job since the last one ended, of these in the model

    def after(owner: Any, name: str, then: Callable[[Any], None]) -> None:
        kept = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = kept(*args, **kwargs)
            then(found)
            return found

        setattr(owner, name, wrapped)

    def job_ended(_: Any) -> None:
        now = time.perf_counter()
        jobs.append((now - marks["last"], clock.seconds - marks["model"]))
        marks.update(last=now, model=clock.seconds)

    after(checkpoints, "load", lambda loaded: clock.watch(loaded.model))
    after(SweepSession, "begin", lambda _: marks.update(jobs=time.perf_counter(), last=time.perf_counter(), model=0.0))
    after(pipeline, "evaluate", job_ended)
    code = cli.main(words)
    ended = time.perf_counter()
    _report(
        out, start_s=marks["jobs"] - started, jobs_s=marks["last"] - marks["jobs"], end_s=ended - marks["last"],
        forward_s=clock.seconds, passes=clock.calls, first_job_s=jobs[0][0],
        job_s=[whole for whole, _ in jobs], job_forward_s=[inside for _, inside in jobs],
    )  # fmt: skip
    return code


def _lm_eval(out: Path, folder: Path, checkpoints: int) -> int:
    """lm-eval's own function for each checkpoint, all that can be shared shared."""
    started = time.perf_counter()
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder / "conf" / "task"), include_defaults=False)
    clock, jobs = Clock(), []
    start_s = time.perf_counter() - started
    for step in range(1, checkpoints + 1):
        began, before = time.perf_counter(), clock.seconds
        lm = HFLM(str(folder / "models" / f"step{step}"), dtype="auto", device="cpu", batch_size=16)
        clock.watch(lm.model)
        lm_eval.simple_evaluate(model=lm, tasks=list(TASKS), task_manager=manager, log_samples=True)
        jobs.append((time.perf_counter() - began, clock.seconds - before))
    _report(
        out, start_s=start_s, jobs_s=sum(whole for whole, _ in jobs), end_s=0.0, forward_s=clock.seconds,
        passes=clock.calls, first_job_s=jobs[0][0],
        job_s=[whole for whole, _ in jobs], job_forward_s=[inside for _, inside in jobs],
    )  # fmt: skip
    return 0


def _report(out: Path, **found: Any) -> None:
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    overheads = [whole - inside for whole, inside in zip(found.pop("job_s"), found.pop("job_forward_s"), strict=True)]
    found["median_overhead_s"] = statistics.median(overheads)
    found["slowest_overhead_s"] = max(overheads[1:], default=overheads[0])
    out.write_text(json.dumps(found))


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run(command: list[str], folder: Path, threads: int) -> float:
    """Wall time of a process, from its start to its end.

    Raises:
        SystemExit: it fails; what it said is shown.
    """
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    source = str(Path(__file__).resolve().parents[1] / "src")
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", source), "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    found = subprocess.run(
        command, cwd=folder, env={**os.environ, **quiet, **path}, capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {found.returncode}:\n{found.stdout}{found.stderr}")
    return time.perf_counter() - began


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All parts once, from nothing."""
    number = arguments.checkpoints
    this = [sys.executable, str(Path(__file__).resolve())]
    words = ["-m", "model=bench", f"step=range(1,{number + 1})", f"task={','.join(TASKS)}", *arguments.overrides]
    found: dict[str, Any] = {}
    found["sweep_s"] = run([sys.executable, "-m", "evalrun", *words], folder, arguments.threads)
    found["resume_s"] = run([sys.executable, "-m", "evalrun", *words], folder, arguments.threads)
    _put_away(folder)
    out = folder / "out.json"
    found["timed_s"] = run([*this, "--inside", "timed", str(out), *words], folder, arguments.threads)
    found["evalrun"] = json.loads(out.read_text())
    _put_away(folder)
    if not arguments.only_evalrun:
        found["lm_eval_s"] = run(
            [*this, "--inside", "lm_eval", str(out), str(folder), str(number)], folder, arguments.threads
        )
        found["lm_eval"] = json.loads(out.read_text())
    found["cli_s"] = [
        run(
            [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained=models/step{step}",
             "--include_path", "conf/task", "--tasks", ",".join(TASKS), "--device", "cpu", "--batch_size", "16"],
            folder, arguments.threads,
        )
        for step in range(1, min(arguments.with_cli, number) + 1)
    ]  # fmt: skip
    return found


@contextmanager
def _checkout(revision: str) -> Iterator[Path]:
    """Another commit's files, for as long as they are needed."""
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), revision], cwd=here, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=here, check=True)


def against(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Both builds in turn, from nothing each time: seconds of the sweep, of its resume, and overhead of a job."""
    words = ["-m", "model=bench", f"step=range(1,{arguments.checkpoints + 1})", f"task={','.join(TASKS)}"]
    words += arguments.overrides
    found: dict[str, dict[str, list[float]]] = {}
    with _checkout(arguments.against) as tree:
        builds = {"now": Path(__file__).resolve().parents[1], arguments.against: tree}
        for number in range(arguments.repeats):
            for name, build in list(builds.items())[:: 1 if number % 2 == 0 else -1]:
                os.environ["PYTHONPATH"] = str(build / "src")
                sweep = [sys.executable, "-m", "evalrun", *words]
                script, out = build / "benchmarks" / "sweep.py", folder / "out.json"
                row = {"sweep": run(sweep, folder, arguments.threads), "resume": run(sweep, folder, arguments.threads)}
                row["plan"] = run([*sweep[:3], "plan", *words[1:]], folder, arguments.threads)
                _put_away(folder)
                run([sys.executable, str(script), "--inside", "timed", str(out), *words], folder, arguments.threads)
                row["overhead of a job"] = json.loads(out.read_text())["median_overhead_s"]
                _put_away(folder)
                for what, seconds in row.items():
                    found.setdefault(what, {}).setdefault(name, []).append(seconds)
    return found


def _put_away(folder: Path) -> None:
    for done in ("multirun", "mlruns"):
        (folder / done).rename(folder / f"{done}-{time.time_ns()}")


def ratios(found: dict[str, dict[str, list[float]]]) -> str:
    """For people: medians in seconds, and how many times as fast this build is."""
    lines = []
    for what, builds in found.items():
        now, before = (statistics.median(seconds) for seconds in builds.values())
        lines.append(f"{what:<20}{now:>9.3f} s{before:>10.3f} s{before / now:>8.2f} x")
    return "\n".join([f"{'':<20}{'now':>11}{next(reversed(builds)):>12}{'ratio':>10}", *lines])


def table(found: dict[str, Any], number: int) -> str:
    """For people."""
    lines = [f"{number} tiny checkpoints x {len(TASKS)} tasks; seconds", ""]
    lines.append(f"{'':<38}{'evalrun':>10}{'lm_eval':>10}")

    def line(name: str, *values: float | None) -> None:
        lines.append(f"{name:<38}" + "".join(f"{'-' if v is None else format(v, '.2f'):>10}" for v in values))

    ours, theirs = found["evalrun"], found.get("lm_eval")
    both = (ours, theirs) if theirs else (ours,)
    line("whole command", found["sweep_s"], found.get("lm_eval_s"))
    line("  the same with clocks", found["timed_s"], found.get("lm_eval_s"))
    line("    until the first job", *(part["start_s"] for part in both))
    line("    first job (with imports)", *(part["first_job_s"] for part in both))
    line("    all jobs", *(part["jobs_s"] for part in both))
    line("    after the last (analysis)", *(part["end_s"] for part in both))
    line("    in the model", *(part["forward_s"] for part in both))
    line("overhead of a job, median", *(part["median_overhead_s"] for part in both))
    line("overhead of a job, slowest but the first", *(part["slowest_overhead_s"] for part in both))
    line(
        "(whole - in the model) / jobs",
        *((w - p["forward_s"]) / number for w, p in zip(_walls(found), both, strict=False)),
    )
    line("resume of the finished sweep", found["resume_s"], None)
    line("peak memory, MB", *(part["peak_mb"] for part in both))
    if found["cli_s"]:
        line("one `python -m lm_eval` a checkpoint", None, statistics.median(found["cli_s"]))
    return "\n".join(lines)


def _walls(found: dict[str, Any]) -> list[float]:
    return [found["sweep_s"], found.get("lm_eval_s", 0.0)]


def main() -> int:
    """Measure, print, write."""
    if sys.argv[1:2] == ["--inside"]:
        part, out, *rest = sys.argv[2:]
        return _timed(Path(out), rest) if part == "timed" else _lm_eval(Path(out), Path(rest[0]), int(rest[1]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=64)
    parser.add_argument("--items", type=int, default=100, help="documents of each task")
    parser.add_argument("--repeats", type=int, default=1, help="the run with the shortest whole command is shown")
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of every process")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json in place of whole words")
    parser.add_argument("--with-cli", type=int, default=0, metavar="N", help="lm-eval's command for N checkpoints too")
    parser.add_argument("--only-evalrun", action="store_true", help="leave out the baseline")
    parser.add_argument("--against", metavar="REV", help="a commit of evalrun to compare with, in turn")
    parser.add_argument("--keep", type=Path, help="work here instead of in a temporary folder")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("overrides", nargs="*", help="more of the command, such as scorer=lm_eval")
    arguments = parser.parse_args()
    with _place(arguments.keep) as folder:
        make_suite(folder, arguments.checkpoints, arguments.items, arguments.tokenizer)
        if arguments.against is not None:
            found = against(folder, arguments)
            print(ratios(found))
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(found, indent=1))
            return 0
        runs = [measure(folder, arguments) for _ in range(arguments.repeats)]
    best = min(runs, key=lambda found: found["sweep_s"])
    print(table(best, arguments.checkpoints))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"checkpoints": arguments.checkpoints, "runs": runs}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
