"""The columns of a table of results, declared once: the store builds it by them, analysis and ingest read it by them.

One row is one metric of one task on one checkpoint; the analysis is a pure function of such a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: what it holds, and where the journal's record (`records.TaskResult`) has it."""

    dtype: str  # pandas': int64, Int64 (may be missing), float64, bool, str
    record: str  # its place in the record; empty for what the store or the settings make
    meaning: str
    unit: str = ""
    aliases: tuple[str, ...] = ()  # what published tables call it, in lower case

    @property
    def is_number(self) -> bool:
        """Whether it can be computed with."""
        return self.dtype in ("int64", "Int64", "float64")


TABLE_COLUMNS: dict[str, Column] = {
    "suite": Column("str", "cell.suite", "suite name"),
    "model": Column("str", "cell.model", "model name", aliases=("modelname", "model_name", "pretrained")),
    "n_params": Column("int64", "cell.n_params", "exact parameter count, embeddings included", "parameters"),
    "n_params_nonembedding": Column(
        "int64",
        "cell.n_params_nonembedding",
        "exact parameter count without input embedding and unembedding",
        "parameters",
    ),
    "n_params_nominal": Column(
        "int64", "cell.n_params_nominal", "parameter count as the model's name says it", "parameters"
    ),
    "step": Column("int64", "cell.step", "training step", "steps", ("training_step",)),
    "tokens": Column("int64", "cell.tokens", "tokens seen by that step", "tokens"),
    "seed": Column("Int64", "cell.seed", "training seed (missing where the suite has one only)"),
    "flops": Column("float64", "cell.flops", "6 x non-embedding parameters x tokens", "operations"),
    "task": Column("str", "task", "task name", aliases=("task_name", "taskname")),
    "title": Column("str", "title", "task title for people"),
    "cause": Column("str", "cause", "cause of inverse scaling as McKenzie et al. class it, or empty"),
    "role": Column("str", "role", "control for a measure of general performance, or empty"),
    "metric": Column("str", "metrics", "metric name"),
    "value": Column("float64", "metrics[metric]", "metric value", "the metric's", ("accuracy", "acc")),
    "stderr": Column(
        "float64",
        "stderrs[metric]",
        "standard error over items (missing where lm-eval gives none)",
        "the metric's",
        ("accuracy_se", "acc_stderr", "acc_se", "se"),
    ),
    "n": Column("int64", "n", "items scored", "items", ("n_samples",)),
    "chance": Column(
        "float64",
        "chance",
        "expected accuracy of a uniform guess (missing for tasks without choices)",
        "items' share",
    ),
    "primary": Column("bool", "primary_metric", "whether this is the task's primary metric"),
    "higher_is_better": Column("bool", "higher_is_better", "whether larger values are better"),
    "settings": Column("str", "", "how it was scored, in a few words: lm_eval float16"),
    "weights": Column("str", "weights", "digest of the weights", "sha256"),
    "disputed": Column("str", "", "other values that its sources gave for it, or empty"),
    "task_key": Column("str", "key", "digest of all that determines the value"),
    "finished_ms": Column("int64", "finished_ms", "when the result was computed, Unix time", "milliseconds"),
    "run_id": Column("str", "", "MLflow run"),
}

FIRST_STAGE = "pretraining"  # the stage of rows that say none: a suite's own steps

# In tables that hold a checkpoint of a later stage; elsewhere there are none of these.
STAGE_COLUMNS: dict[str, Column] = {
    "stage": Column("str", "cell.stage", "later stage of training, or empty: pretraining"),
    "stage_step": Column("Int64", "cell.stage_step", "step as its stage counts them", "steps"),
    "stage_from": Column("Int64", "cell.stage_from", "the step after which its stage begins", "steps"),
    "stage_tokens": Column("Int64", "cell.stage_tokens", "tokens seen before its stage", "tokens"),
    "trunk": Column("str", "cell.trunk", "model that a side branch left, or empty"),
}


def table_columns(there: Iterable[str]) -> dict[str, Column]:
    """The columns of a table, those of stages too where it has them.

    Args:
        there: Names of its columns.
    """
    return TABLE_COLUMNS | STAGE_COLUMNS if "stage" in set(there) else TABLE_COLUMNS


# Tokens of texts, as lists beside each item of a task with `surprisal`: column of the items -> column of a table with
# a row a token, and its type in Arrow. start and end are characters of the text, nats minus the log-probability.
TOKEN_LISTS = {
    "token_ids": ("token", "int32"),
    "token_starts": ("start", "int32"),
    "token_ends": ("end", "int32"),
    "token_nats": ("nats", "float64"),
    "token_boundaries": ("boundary_nats", "float64"),
}
