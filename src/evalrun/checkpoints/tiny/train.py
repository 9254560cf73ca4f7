"""Train the embedded suite: plain next-word training of models of several sizes on the same lines in the same order.

Every size and seed lies in its own folder, `<root>/seed<k>/<size>/`, and is done when its `training.json` is there,
which is written last.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from evalrun.checkpoints.tiny.corpus import Corpus
from evalrun.checkpoints.tiny.model import END, build_model, build_tokenizer, deterministic
from evalrun.checkpoints.tiny.settings import TinyConf
from evalrun.checkpoints.tiny.suite_files import save_checkpoint, write_items, write_text, writing
from evalrun.config.schema import CheckpointConf, ModelConf
from evalrun.core.errors import ConfigError
from evalrun.core.text import counted

MANIFEST = "training.json"


@dataclass(frozen=True)
class _Job:
    """One model to train: a size with a seed."""

    seed: int
    conf: ModelConf
    folder: Path
    digest: str


def train_suite(
    sizes: Mapping[str, ModelConf],
    checkpoint: CheckpointConf,
    settings: TinyConf,
    root: Path,
    say: Callable[[str], None],
    progress: bool,
) -> int:
    """Train what is missing of the suite; what is there is left alone.

    Args:
        sizes: Folder name (xs) -> model, smallest first.
        checkpoint: Steps to save, name of a step's folder, tokens per step.
        settings: Hyper-parameters and corpus sizes.
        root: Folder of the suite; the `root` of the settings is not read.
        say: Gets a line for each model when it is done.
        progress: Whether to draw a bar for each model on stderr.

    Returns:
        Models trained now, one for each size and seed; 0 when all were there.

    Raises:
        ConfigError: settings that cannot be right or that differ from those of models in `root`.
        StorageError: `root` cannot be written or has no room.
    """
    steps = _check(checkpoint, settings)
    corpus = Corpus(settings.corpus)
    tokenizer = build_tokenizer(settings)
    problems = list(_wrong_counts(sizes, settings, len(tokenizer)))
    if problems:
        raise ConfigError(problems)
    with _alone(root, say):
        todo = _missing(sizes, checkpoint, settings, steps, corpus.digest, root)
        write_items(corpus, root / "data")
        batches: dict[int, torch.Tensor] = {}
        for job in todo:
            if job.seed not in batches:  # the same data in the same order for all sizes of a seed
                batches = {job.seed: _batches(corpus, tokenizer, settings, job.seed, steps[-1])}
            _train(job, settings, checkpoint, steps, tokenizer, batches[job.seed], say, progress)
    return len(todo)


def _check(checkpoint: CheckpointConf, settings: TinyConf) -> list[int]:
    """The steps to save, after refusing what cannot be right."""
    settings.check()
    problems = []
    steps = [step for step in checkpoint.steps if isinstance(step, int) and step >= 1]
    if not steps or list(checkpoint.steps) != sorted(set(steps)):
        problems.append(f"checkpoint.steps={list(checkpoint.steps)} must be whole numbers from 1 on, rising.")
    tokens = settings.batch_size * settings.sequence_length
    if checkpoint.tokens_per_step != tokens:
        problems.append(
            f"checkpoint.tokens_per_step={checkpoint.tokens_per_step} must be batch_size x sequence_length = "
            f"{settings.batch_size} x {settings.sequence_length} = {tokens}."
        )
    if not checkpoint.folder or "{step}" not in checkpoint.folder:
        problems.append(f"checkpoint.folder={checkpoint.folder} must hold {{step}}, as step{{step}} does.")
    if problems:
        raise ConfigError(problems)
    return steps


def _wrong_counts(sizes: Mapping[str, ModelConf], settings: TinyConf, vocabulary: int) -> Iterator[str]:
    """Sentences about models whose stated parameter count is not the real one."""
    for conf in sizes.values():
        with deterministic(settings.threads):
            real = build_model(conf.architecture, settings, vocabulary, seed=0).num_parameters()
        if real != conf.n_params:
            yield f"{conf.name} has {real} parameters by its architecture; n_params={conf.n_params} must say so."


def _missing(
    sizes: Mapping[str, ModelConf],
    checkpoint: CheckpointConf,
    settings: TinyConf,
    steps: list[int],
    language: str,
    root: Path,
) -> list[_Job]:
    """What is not there yet, seed by seed.

    Raises:
        ConfigError: names every folder whose models were trained with other settings.
    """
    todo, problems = [], []
    for seed in range(settings.seeds):
        for size, conf in sizes.items():
            folder = root / f"seed{seed}" / size
            job = _Job(seed, conf, folder, settings.digest(conf.architecture, steps, language))
            found = _trained_with(folder)
            if found is not None and found != job.digest:
                problems.append(
                    f"{folder} holds a model trained with other settings; "
                    "remove it or choose another folder with root=..."
                )
            elif found is None or not all(_step_folder(job, checkpoint, step).is_dir() for step in steps):
                todo.append(job)
    if problems:
        raise ConfigError(problems)
    return todo


def _trained_with(folder: Path) -> str | None:
    """The settings' digest that a finished training left; None where none has finished."""
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["settings_sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        return "unreadable"  # not ours, or damaged: refused like other settings, never overwritten


def _batches(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, settings: TinyConf, seed: int, steps: int
) -> torch.Tensor:
    """All training data, int64 tokens (steps, batch, sequence); a sequence begins with a line and is cut when full."""
    rng = random.Random(f"{settings.corpus.seed}/{seed}")
    lines = corpus.lines(rng)
    rows: list[list[int]] = []
    row: list[int] = []
    while len(rows) < steps * settings.batch_size:
        for tokens in tokenizer([line + END for line in islice(lines, 4096)])["input_ids"]:
            row += tokens
            if len(row) >= settings.sequence_length:
                rows.append(row[: settings.sequence_length])
                row = []
    shape = (steps, settings.batch_size, settings.sequence_length)
    return torch.tensor(rows[: steps * settings.batch_size]).view(shape)


def _train(
    job: _Job,
    settings: TinyConf,
    checkpoint: CheckpointConf,
    steps: list[int],
    tokenizer: PreTrainedTokenizerFast,
    batches: torch.Tensor,
    say: Callable[[str], None],
    progress: bool,
) -> None:
    """Train one model from its first step on and save its checkpoints, then its manifest."""
    # What an interrupted training left, perhaps with other settings, must not pass for this one's.
    with writing(job.folder):
        if job.folder.exists():
            shutil.rmtree(job.folder)
        job.folder.mkdir(parents=True)
    if not progress:  # the largest model takes longer than all others, and no bar says that anything goes on
        what = f"{job.conf.n_params:,} parameters, {counted(len(batches), 'step')}"
        say(f"{job.conf.name} seed {job.seed}: training {what}")
    started = time.monotonic()
    losses: dict[int, float] = {}
    with deterministic(settings.threads):
        model = build_model(job.conf.architecture, settings, len(tokenizer), job.seed)
        bar = tqdm(_losses(model, settings, batches), job.conf.name, len(batches), unit="step", disable=not progress)
        for step, loss in enumerate(bar, start=1):
            if step in steps:
                losses[step] = float(loss)
                bar.set_postfix_str(f"loss {losses[step]:.2f}")
                save_checkpoint(model, tokenizer, _step_folder(job, checkpoint, step))
    seconds = round(time.monotonic() - started, 1)
    manifest = {"seed": job.seed, "settings_sha256": job.digest, "losses": losses, "seconds": seconds}
    write_text(job.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    say(
        f"{job.conf.name} seed {job.seed}: {job.conf.n_params:,} parameters, {seconds:.0f} s, "
        f"final loss {losses[steps[-1]]:.2f}"
    )


def _losses(model: GPTNeoXForCausalLM, settings: TinyConf, batches: torch.Tensor) -> Iterator[torch.Tensor]:
    """Take one step after another; yields each step's loss: mean cross-entropy in nats per token, before its update."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: min(1.0, (done + 1) / settings.warmup_steps))
    model.train()
    for tokens in batches:  # (batch, sequence)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        warmup.step()
        optimizer.zero_grad()
        yield loss.detach()


@contextlib.contextmanager
def _alone(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the suite's folder: a second `evalrun tiny` beside this one waits, then finds all done."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another evalrun tiny is at work in {root}; waiting for it.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _step_folder(job: _Job, checkpoint: CheckpointConf, step: int) -> Path:
    return job.folder / str(checkpoint.folder).format(step=step)
