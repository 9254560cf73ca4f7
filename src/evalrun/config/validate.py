"""Values that have the right type and cannot be right: a sentence for each, all at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from evalrun.config import converter
from evalrun.config.asking import asking_problems
from evalrun.config.engine_settings import engine_problems
from evalrun.config.gate_thresholds import gate_problems
from evalrun.config.loss_axis import HOW, loss_source
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import AnalysisConf, CheckpointConf, Config, WatchConf, parse_size
from evalrun.config.step_names import pattern_problem
from evalrun.config.step_numbers import UNITS
from evalrun.config.steps import kind_problems, released_steps
from evalrun.config.training_stages import stage_problems
from evalrun.core.columns import FIRST_STAGE
from evalrun.core.errors import ConfigError, suggest

DTYPES = ("auto", "float32", "float16", "bfloat16")
ENCODINGS = ("joint", "separate")
TOKENS_BY = ("file", "class")
TIES = ("expected", "first")
PARAMS = ("nominal", "total", "nonembedding")
ITEM_MODELS = ("reml", "ml")
EXPECTED_OVER = ("training", "size")
EXPECTED_LABELS = ("positive", "inverse", "U-shaped", "inverted-U", "emergent", "late drop", "non-monotonic", "flat")
FIT_STAGES = (FIRST_STAGE, "all")
FIGURES = ("paper", "all", "none")
ITEM_PAGES = ("prompts", "answers", "none")
RESOURCES = ("cpus", "gpus")
URIS = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql")
ORDERS = (GIVEN, NEWEST, BISECT) = ("given", "newest", "bisect")
UNTIL = ("settled",)
RESERVED_SUITES = ("analysis", "audit")  # folders of multirun that are no suite's


def profiles() -> list[str]:
    """Names of the task profiles: the files of conf/profile, shipped ones and the user's."""
    return sorted({path.stem for folder in conf_dirs() for path in (folder / "profile").glob("*.yaml")})


def problems(config: Config) -> Iterator[str]:
    """Sentences about values that have the right type and cannot be right."""
    if config.scorer.dtype not in DTYPES:
        yield f"scorer.dtype is '{config.scorer.dtype}': {suggest(config.scorer.dtype, DTYPES)}"
    if config.scorer.encoding not in ENCODINGS:
        yield f"scorer.encoding is '{config.scorer.encoding}': {suggest(config.scorer.encoding, ENCODINGS)}"
    if config.scorer.tokens_by not in TOKENS_BY:
        yield f"scorer.tokens_by is '{config.scorer.tokens_by}': {suggest(config.scorer.tokens_by, TOKENS_BY)}"
    if config.tracking.uri is not None and not config.tracking.uri.startswith(URIS):
        yield (
            f"tracking.uri is '{config.tracking.uri}': it must be null, sqlite:///FILE, http(s)://HOST:PORT or a "
            "database such as postgresql://USER@HOST/NAME."
        )
    elif config.tracking.uri is not None and config.tracking.uri.startswith("sqlite:") and "?" in config.tracking.uri:
        yield (
            f"tracking.uri is '{config.tracking.uri}': sqlite:///FILE takes no options after a ?; leave them out, or "
            "write %3F for a ? of the path."
        )
    if config.scorer.ties not in TIES:
        yield f"scorer.ties is '{config.scorer.ties}': {suggest(config.scorer.ties, TIES)}"
    if not 0 <= config.scorer.allow_not_finite <= 1:
        yield f"scorer.allow_not_finite is {config.scorer.allow_not_finite}: it is a share, from 0 to 1."
    yield from engine_problems(config.scorer)
    if config.profile not in profiles():
        yield f"profile is '{config.profile}': {suggest(config.profile, profiles())}"
    if config.order not in ORDERS:
        yield f"order is '{config.order}': {suggest(config.order, ORDERS)}"
    yield from _until_problems(config)
    yield from _analysis_problems(config.analysis)
    if config.scorer.batch_size < 1:
        yield f"scorer.batch_size is {config.scorer.batch_size}: it must be 1 or more."
    softmax_dtype, allowed = config.scorer.softmax_dtype, DTYPES[1:]
    if softmax_dtype is not None and softmax_dtype not in allowed:
        yield f"scorer.softmax_dtype is '{softmax_dtype}': {suggest(softmax_dtype, allowed)}"
    yield from _watch_problems(config.watch)
    for name in ("token_budget", "token_budget_gpu"):
        if getattr(config.scorer, name) < 1:
            yield f"scorer.{name} is {getattr(config.scorer, name)}: it must be 1 token or more."
    if config.scorer.verify < 0:
        yield f"scorer.verify is {config.scorer.verify}: it must be 0 or a number of requests to score again."
    if config.limit is not None and config.limit < 1:
        yield f"limit is {config.limit}: it must be 1 or more items, or null for all."
    if config.heartbeat_s <= 0:
        yield f"heartbeat_s is {config.heartbeat_s}: it must be more than 0 seconds."
    if config.num_fewshot is not None and config.num_fewshot < 0:
        yield f"num_fewshot is {config.num_fewshot}: it must be 0 or more, or null for each task's own."
    if config.disk_budget is not None and not parse_size(config.disk_budget):
        yield f"disk_budget is '{config.disk_budget}': write a size such as 200GB or 1.5TB, or null for no limit."
    elif config.disk_budget is not None and config.keep_checkpoints:
        yield f"disk_budget is {config.disk_budget}, but nothing may be deleted: set keep_checkpoints=false with it."
    for key, name in (("checkpoint.suite", config.checkpoint.suite), ("model.name", config.model.name)):
        if not re.fullmatch(r"[^\W_][^/\\\x00-\x1f]{0,99}", name) or name.strip() != name:
            yield f"{key} is '{name}', which cannot name a folder: begin with a letter or digit and leave out slashes."
    if config.checkpoint.suite in RESERVED_SUITES:
        yield f"checkpoint.suite is '{config.checkpoint.suite}', a folder of evalrun's own in multirun: choose another."
    for key in sorted(set(config.model.resources) - set(RESOURCES)):
        yield f"model.resources has '{key}': {suggest(key, RESOURCES)}"
    if not config.tasks:
        yield "tasks is empty, so no task is given: name some with task=..., for example task=paper."
    if config.data_dir is not None and not Path(config.data_dir).is_dir():
        yield f"data_dir is '{config.data_dir}', which is no folder: name the folder that holds the data files."
    yield from asking_problems(config)
    yield from gate_problems(config.gate)
    yield from _checkpoint_problems(config.checkpoint)
    yield from stage_problems(config.checkpoint)


def _watch_problems(watch: WatchConf) -> Iterator[str]:
    """Sentences about what cannot be right in `watch`: times, how the level is spent."""
    for name in ("poll_s", "hook_s", "retry_most_s"):
        if getattr(watch, name) <= 0:
            yield f"watch.{name} is {getattr(watch, name)}: it must be more than 0 seconds."
    if watch.retry_s < 0:
        yield f"watch.retry_s is {watch.retry_s}: it must be 0 or more seconds."
    if watch.half_by < 1:
        yield f"watch.half_by is {watch.half_by}: it must be 1 look or more."


def _until_problems(config: Config) -> Iterator[str]:
    """Sentences about where a sweep is to stop refining."""
    if config.until is not None and config.until not in UNTIL:
        yield f"until is '{config.until}': {suggest(config.until, UNTIL)}"
    elif config.until is not None and config.order != BISECT:
        yield f"until={config.until} refines from coarse to fine, and order is {config.order}: set order=bisect too."
    if config.until_levels < 2:
        yield f"until_levels is {config.until_levels}: it must be 2 levels (the ends and the middle) or more."


def _analysis_problems(analysis: AnalysisConf) -> Iterator[str]:
    """Sentences about what cannot be right in `analysis`: counts, levels, thresholds, expected labels."""
    if analysis.params not in PARAMS:
        yield f"analysis.params is '{analysis.params}': {suggest(analysis.params, PARAMS)}"
    if analysis.fit_stages not in FIT_STAGES:
        yield f"analysis.fit_stages is '{analysis.fit_stages}': {suggest(analysis.fit_stages, FIT_STAGES)}"
    if analysis.x is not None and loss_source(analysis.x) is None:
        yield f"analysis.x is '{analysis.x}': {HOW}."
    if not 0 < analysis.alpha < 1:
        yield f"analysis.alpha is {analysis.alpha}: it must lie between 0 and 1."
    for name in ("seed_shift", "seed_timing"):
        if not 0 <= (value := getattr(analysis, name)) < math.inf:
            yield f"analysis.{name} is {value}: it must be 0 or more."
    for name in ("smallest_change", "smallest_effect"):
        if not getattr(analysis, name) > 0:
            yield f"analysis.{name} is {getattr(analysis, name)}: it must be more than 0."
    for name in ("move_share", "late_from", "held_loss", "jump_share", "level_over"):
        if not 0 <= (value := getattr(analysis.shapes, name)) <= 1:
            yield f"analysis.shapes.{name} is {value}: it must be a share, from 0 to 1."
    for name in ("prevails", "jump_within"):
        if not (value := getattr(analysis.shapes, name)) >= 1:
            yield f"analysis.shapes.{name} is {value}: it must be a factor, 1 or more."
    yield from _item_problems(analysis)
    if analysis.expected_over not in EXPECTED_OVER:
        over = analysis.expected_over
        yield f"analysis.expected_over is '{over}': {suggest(over, EXPECTED_OVER)}"
    for task, label in analysis.expected.items():
        if label not in EXPECTED_LABELS:
            yield f"analysis.expected says '{label}' of {task}: {suggest(label, EXPECTED_LABELS)}"
    if analysis.figures not in FIGURES:
        yield f"analysis.figures is '{analysis.figures}': {suggest(analysis.figures, FIGURES)}"
    if not 0 <= analysis.same_within < 1:
        yield f"analysis.same_within is {analysis.same_within}: it is a share of a value, from 0 to below 1."


def _item_problems(analysis: AnalysisConf) -> Iterator[str]:
    """Sentences about what is made of single answers."""
    if analysis.item_model is not None and analysis.item_model not in ITEM_MODELS:
        yield f"analysis.item_model is '{analysis.item_model}': {suggest(analysis.item_model, ITEM_MODELS)}"
    if analysis.cluster_by is not None and not analysis.items:
        yield f"analysis.cluster_by is '{analysis.cluster_by}', but no items are read: set analysis.items=true with it."
    if analysis.item_model_most < 1:
        yield f"analysis.item_model_most is {analysis.item_model_most}: it must be 1 checkpoint or more."
    if analysis.item_guess is not None and not 0 <= analysis.item_guess < 1:
        yield f"analysis.item_guess is {analysis.item_guess}: it is a probability below 1, or null for 1 / choices."
    if not 0 < analysis.item_slip < 0.5:
        yield f"analysis.item_slip is {analysis.item_slip}: it is a share above 0 and below 0.5."
    if analysis.item_parts and not (analysis.items and analysis.item_dynamics):
        missing = "analysis.items" if not analysis.items else "analysis.item_dynamics"
        yield f"analysis.item_parts is {list(analysis.item_parts)}, but {missing} is false: set {missing}=true with it."
    if not all(analysis.item_parts) or len(set(analysis.item_parts)) < len(analysis.item_parts):
        yield f"analysis.item_parts is {list(analysis.item_parts)}: name each way to divide items once."
    if analysis.item_pages not in ITEM_PAGES:
        yield f"analysis.item_pages is '{analysis.item_pages}': {suggest(analysis.item_pages, ITEM_PAGES)}"


def _checkpoint_problems(checkpoint: CheckpointConf) -> Iterator[str]:
    """Sentences about what cannot be right in `checkpoint`: place, patterns, unit, tokens, steps."""
    if (checkpoint.revision is None) == (checkpoint.folder is None):
        yield "checkpoint needs either a revision (hub) or a folder (local), not both and not neither."
    for key in ("revision", "folder"):
        pattern = getattr(checkpoint, key)
        if pattern not in (None, "auto") and (problem := pattern_problem(pattern, f"checkpoint.{key}")):
            yield problem
    if checkpoint.unit is not None and checkpoint.unit not in UNITS:
        yield f"checkpoint.unit is '{checkpoint.unit}': {suggest(checkpoint.unit, UNITS)}"
    if checkpoint.tokens_per_step is not None and checkpoint.tokens_per_step < 1:
        yield f"checkpoint.tokens_per_step is {checkpoint.tokens_per_step}: it must be 1 token or more."
    yield from _converter_problems(checkpoint)
    steps = checkpoint.steps
    yield from kind_problems(steps, "checkpoint.steps")
    if isinstance(steps, list):
        try:
            if not released_steps(steps):
                yield "checkpoint.steps is []: list one at least, or write null for those that are there."
        except ConfigError as error:
            yield from error.problems


def _converter_problems(checkpoint: CheckpointConf) -> Iterator[str]:
    """Sentences about a converter that cannot be run, or that is not there to use its settings."""
    if checkpoint.convert is None:
        for key in ("converted", "convert_text"):
            if (value := getattr(checkpoint, key)) is not None:
                yield f"checkpoint.{key} is '{value}', but nothing is converted: set checkpoint.convert with it."
        return
    if checkpoint.revision is not None:
        yield (
            f"checkpoint.convert is '{checkpoint.convert}', and this model is on the hub: a converter is for local "
            "checkpoints, model=local path=FOLDER."
        )
    elif (problem := converter.problem(checkpoint.convert)) is not None:
        yield problem
    if checkpoint.format is not None:
        yield (
            f"checkpoint.format is '{checkpoint.format}', and checkpoint.convert makes Hugging Face folders: leave one "
            "of the two out."
        )
    text = checkpoint.convert_text
    if text not in (None, "none") and not Path(text).is_file():
        yield f"checkpoint.convert_text is '{text}', which is no file: name one, or none, or null for English."
