"""A task of whole texts beside one of choices, and the keys that results of both get by what tokenizers do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalrun import checkpoints
from evalrun.checkpoints import token_keys
from evalrun.checkpoints.suites import checkpoint_of
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.grid import job_keys
from evalrun.tasks import task_file
from helpers import write_rows

TEXTS = ("the old man", "he talked to the dog ; it cost 350 . " * 6, "walk\n\n")
STORY = """task: story
data: data/story.jsonl
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
metadata: {version: 1.0}
"""


def keys_by_tokenizer(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> tuple[Path, Callable[..., tuple[str, str, str]]]:
    """A checkpoint's folder, and its keys by its identity: the run's, those of `alpha` (choices) and `story` (texts).

    Args:
        workspace: Where the task is written.
        monkeypatch: Of the test.
        question: What `checkpoints` is asked of a tokenizer; with `known=False` it answers no.
    """
    (workspace / "conf" / "task" / "story.yaml").write_text(STORY)
    write_rows(workspace / "data" / "story.jsonl", [{"text": text} for text in TEXTS])
    with hydra_session():
        config = to_config(compose(["model=toy/toy-s", "tasks=[alpha,story]", "step=1", "scorer.cache=kept"]))
    files = task_file.resolve_for(config)

    def keys(identity: str, known: bool = True) -> tuple[str, str, str]:
        monkeypatch.setattr(token_keys, "_known", {})
        with monkeypatch.context() as patch:
            if not known:
                patch.setattr(checkpoints, question, lambda *_: False)
            run, found = job_keys.keys_by_identity(config, identity, files)
        return run, found["alpha"], found["story"]

    return Path(checkpoint_of(config).location), keys
