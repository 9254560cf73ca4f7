"""What passes between the stages: frozen records, JSON both ways, every key explained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalrun.core.columns import STAGE_COLUMNS
from evalrun.core.directions import is_lower_better


@dataclass(frozen=True)
class Checkpoint:
    """One cell of the grid: which checkpoint of which model."""

    suite: str  # names the MLflow experiments: `<suite>`, `<suite>-curves`, `<suite>-report`
    model: str  # pythia-70m
    n_params: int  # exact, embeddings included
    n_params_nonembedding: int  # exact, without input embedding and unembedding
    n_params_nominal: int  # what the name says: 70_000_000
    step: int  # training step, counted from the beginning of the first stage
    tokens: int  # tokens seen by then, in the stages before too: step x tokens per step
    seed: int | None  # training seed, where a suite has several
    location: str  # hub repository or local folder
    revision: str | None  # hub revision (branch) of this step; None for a local folder
    tokenizer: str | None = None  # folder or hub repository of its tokenizer; None: the checkpoint's own
    stage: str | None = (
        None  # a later stage, such as sft, or sft@1000 from that step; None, here and below: of the suite's own steps
    )
    stage_step: int | None = None  # as its stage counts them
    stage_from: int | None = None  # the step after which its stage begins
    stage_tokens: int | None = None  # seen by that step
    trunk: str | None = None  # of a side branch: the model that it branched off; `model` is trunk+stage there

    @property
    def flops(self) -> int:
        """Training compute by 6 N D, N without embeddings (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)."""
        return 6 * self.n_params_nonembedding * self.tokens

    @property
    def label(self) -> str:
        """`pythia-70m step 2000`, or `pythia-70m sft step 100`; with the seed where there are several."""
        step = f"step {self.step}" if self.stage is None else f"{self.stage} step {self.stage_step}"
        return f"{self.trunk or self.model} {step}" + (f" seed {self.seed}" if self.seed is not None else "")

    def to_json(self) -> dict[str, Any]:
        """Its fields, those of stages only where it is of a later one."""
        return {name: value for name, value in vars(self).items() if value is not None or name not in STAGE_COLUMNS}


def higher_of(metric: str, primary: str, higher: bool, lower: Sequence[str] | None) -> bool:
    """Whether more is better of a metric of a result.

    Args:
        metric: Which.
        primary: The result's primary metric.
        higher: Whether more is better of that one.
        lower: The metrics of which less is better; None in results of earlier versions, which kept `higher` alone.
    """
    if lower is not None:
        return metric not in lower
    return (higher or metric != primary) and not is_lower_better(metric)


@dataclass(frozen=True)
class TaskResult:
    """One task scored on one checkpoint, as the journal keeps it."""

    key: str  # digest of everything that determines the numbers (see grid.job_keys)
    run_key: str  # the same for the checkpoint and settings alone: which MLflow run it belongs to
    task: str  # such as memo_trap
    title: str  # such as Memo Trap
    cause: str  # why larger models may do worse (McKenzie et al. 2023), or ""
    primary_metric: str  # the metric that the analysis uses: acc, unless the task has none
    higher_is_better: bool  # whether more of the primary metric is better
    metrics: dict[str, float]  # metric -> value, as lm-eval computes it
    stderrs: dict[str, float]  # metric -> standard error; a metric without one has no entry
    n: int  # items scored
    chance: float | None  # expected accuracy of a uniform guess; None where a task has no choices
    cell: Checkpoint  # the checkpoint: suite, model, parameters, step, tokens, seed, place
    weights: str  # sha256 over the names and sha256 of the weight files
    settings: dict[str, Any]  # resolved: scorer, few-shot, limit, task config, data digest
    environment: dict[str, Any]  # versions, hardware, peak memory
    finished_ms: int  # Unix time in milliseconds; also the MLflow timestamp, so that delivery is idempotent
    seconds: float  # wall time of this task's share of the evaluation
    items_sha256: str  # of the Parquet file beside the record: per-item results
    role: str = ""  # control: a measure of general performance; else ""
    lower: list[str] | None = None  # the metrics of which less is better; None in records that do not say

    def is_higher_better(self, metric: str) -> bool:
        """Whether more is better of one of its metrics; by the metric's name where the record does not say."""
        return higher_of(metric, self.primary_metric, self.higher_is_better, self.lower)

    @property
    def ties(self) -> int:
        """Items in which several choices share the highest value of the primary metric; 0 where nobody counted."""
        return int((self.settings.get("ties") or {}).get(self.primary_metric, 0))

    def to_json(self) -> dict[str, Any]:
        """A dict for JSON, to be read alone: what is below the checkpoint's and its own keys is the record's."""
        return {**vars(self), "cell": self.cell.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TaskResult:
        """Rebuild from `to_json`.

        Raises:
            TypeError, KeyError: when keys are missing or unknown.
        """
        return cls(**{**data, "cell": Checkpoint(**data["cell"])})
