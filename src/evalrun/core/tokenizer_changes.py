"""Training runs whose checkpoints were scored with different tokenizers: which, and from which step on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from evalrun.core.text import listed


def tokenizer_changes(checkpoints: Iterable[tuple[str, int, str]]) -> list[str]:
    """A sentence for each run whose tokenizer changes over training.

    Args:
        checkpoints: Run, step and the digest of its tokenizer (empty where it is not known), older results first: of
            several of one step the last counts.
    """
    runs: dict[str, dict[int, str]] = {}
    for run, step, digest in checkpoints:
        if digest:
            runs.setdefault(run, {})[step] = digest
    sentences = []
    for run, known in runs.items():
        steps = sorted(known)
        changes = [step for before, step in pairwise(steps) if known[before] != known[step]]
        if changes:
            again = f", and again from {listed(map(str, changes[1:]), 4)}" if changes[1:] else ""
            sentences.append(
                f"{run} has another tokenizer from step {changes[0]} on{again}: a change there may be the tokenizer's, "
                "and what counts tokens counts other ones; evaluate all steps with one, by model.tokenizer=."
            )
    return sentences
