"""A guess as the YAML of a task, with comments where it is not sure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from evalrun.commands.new_task.guess import Guess, GuessedPart


def text(name: str, data: str, guess: Guess) -> str:
    """The file's content.

    Args:
        name: The task's.
        data: The data file, as the user wrote it.
        guess: What its columns are for.
    """
    lines = [f"task: {_scalar(name)}", f"data: {_scalar(data)}", f"output_type: {guess.output_type}"]
    if guess.renamed:
        lines += [
            "# Columns whose names cannot stand in a template have _ in place of what is no letter or digit.",
            "process_docs: !function evalrun.task_columns.plain_names",
        ]
    lines += [*_key("doc_to_text", guess.text)]
    if guess.choices is not None:
        lines += _key("doc_to_choice", guess.choices)
    lines += _key("doc_to_target", guess.target)
    if guess.choices is not None and not guess.delimiter:
        lines += ["# Nothing is put between prompt and choice: the data has its own space, or needs none.",
                  'target_delimiter: ""']  # fmt: skip
    lines += [f"# {note[0].upper()}{note[1:]}." for note in guess.notes]
    lines += ["metric_list:"]
    lines += [
        f"  - {{metric: {metric}, aggregation: {'perplexity' if metric == 'perplexity' else 'mean'}, "
        f"higher_is_better: {str(more).lower()}}}"
        for metric, more in guess.metrics
    ]
    title = name.replace("_", " ").replace("-", " ").strip().capitalize()
    return "\n".join([*lines, f"metadata: {{version: 1.0, title: {_scalar(title)}}}", ""])


def _key(name: str, part: GuessedPart) -> Iterator[str]:
    if part.comment:
        yield f"# {part.comment[0].upper()}{part.comment[1:]}."
    yield f"{name}: {_value(part.value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_quoted(one) for one in value)}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A value in YAML, quoted where it must be or holds a template."""
    if isinstance(value, int):
        return str(value)
    plain = value and value.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum()
    return value if plain and yaml.safe_load(value) == value else _quoted(value)


def _quoted(value: str) -> str:
    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=100_000)
    return quoted.rstrip("\n")


def path_of(name: str) -> Path:
    """Where the file of a task goes in the folder that the user works in."""
    return Path("conf") / "task" / f"{name}.yaml"
