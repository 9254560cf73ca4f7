"""lm-eval's result files: version 0.3's one JSON, version 0.4's `results_*.json` with or without samples beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalrun.commands.ingest.model_args import ModelArgs, model_args
from evalrun.commands.ingest.parsed import DamagedError, NotResultsError, ParsedResult, mapping, number, whole
from evalrun.core.directions import is_lower_better

_NONE = ("n/a", "na", "none", "null", "nan", "")  # how an error is written that there is not
_CHANGES_PROMPTS = ("system_instruction_sha", "chat_template_sha", "fewshot_as_multiturn")


def read(path: Path, shown: str) -> list[ParsedResult]:
    """All results of one JSON file.

    Args:
        path: The file.
        shown: What to call it.

    Raises:
        DamagedError: it cannot be read, or is no whole JSON.
        NotResultsError: it is JSON of something else.
    """
    data = load(path)
    results, config = mapping(data.get("results")), data.get("config")
    tasks = {str(task): values for task, values in results.items() if isinstance(values, Mapping)}
    if not tasks or not isinstance(config, Mapping):
        raise NotResultsError("holds no lm-eval results (`results` and `config`)")
    return _read_04(path, shown, data, tasks) if _is_04(data, tasks) else _read_03(shown, data, tasks)


def load(path: Path) -> Mapping[str, Any]:
    """The JSON object of a result file.

    Raises:
        DamagedError: it is no whole JSON, or cannot be read.
        NotResultsError: it is no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DamagedError(f"is not whole JSON (it breaks off or is damaged at line {error.lineno})") from None
    except UnicodeDecodeError:
        raise DamagedError("is not text") from None
    except RecursionError:
        raise DamagedError("is nested too deeply to be read") from None
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})") from None
    if not isinstance(content, Mapping):
        raise NotResultsError("holds no lm-eval results (no JSON object)")
    return content


def _is_04(data: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> bool:
    """0.4 packs the filter into the metric's name."""
    newer = "lm_eval_version" in data or "n-shot" in data or "configs" in data
    return newer or any("," in str(key) for values in tasks.values() for key in values)


def _read_03(shown: str, data: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> list[ParsedResult]:
    """Results of lm-eval 0.3's form: the settings are one `config`, metrics have plain names.

    Args:
        shown: The file's name for messages.
        data: Its content.
        tasks: Task -> its entry of `results`.

    Raises:
        NotResultsError: no task has a metric.
    """
    config, versions = mapping(data["config"]), mapping(data.get("versions"))
    args = model_args(config.get("model_args"))
    settings = _settings("0.3", config, args, args.dtype)
    found = []
    for task, values in tasks.items():
        metrics, stderrs, unread = _metrics(values, "")
        if not metrics:
            continue
        primary = _primary(metrics)
        found.append(
            ParsedResult(
                file=shown,
                model=args,
                task=task,
                metrics=metrics,
                stderrs=stderrs,
                settings=settings | _known(task_version=versions.get(task)),
                primary=primary,
                higher_is_better=not is_lower_better(primary),
                num_fewshot=whole(config.get("num_fewshot")),
                environment=_known(lm_eval="0.3", device=config.get("device")),
                unread=unread,
            )
        )
    return _some(found)


def _read_04(
    path: Path, shown: str, data: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]
) -> list[ParsedResult]:
    """Results of lm-eval 0.4's form: metrics are named with their filter, and samples lie in files beside.

    Args:
        path: The file, to find its samples by their names.
        shown: Its name for messages.
        data: Its content.
        tasks: Task -> its entry of `results`; means of groups are passed over.

    Raises:
        NotResultsError: no task has a metric.
    """
    config, versions = mapping(data["config"]), mapping(data.get("versions"))
    args = model_args(config.get("model_args"), data.get("model_name"), config.get("model_revision"))
    version = str(data.get("lm_eval_version") or "0.4")
    dtype = str(config.get("model_dtype") or "").removeprefix("torch.") or None
    # Quantised weights are loaded with a dtype too, which is not the one they are computed in.
    settings = _settings(version, config, args, args.dtype if args.dtype in ("4bit", "8bit") else dtype or args.dtype)
    settings |= _known(**{key: data.get(key) for key in _CHANGES_PROMPTS})
    torch = re.search(r"PyTorch version: (\S+)", str(data.get("pretty_env_info")))
    environment = _known(
        lm_eval=version,
        transformers=data.get("transformers_version"),
        torch=torch[1] if torch else None,
        device=config.get("device"),
        git_hash=data.get("git_hash"),
    )
    seconds = number(data.get("date"))
    stamp = path.stem.rpartition("_")[2]
    found = []
    for task, values in tasks.items():
        metrics, stderrs, unread = _metrics(values, ",")
        if not metrics or any(member in tasks for member in mapping(data.get("group_subtasks")).get(task) or ()):
            continue  # a group's mean is no result of its own: its tasks are
        primary = _primary(metrics)
        said = mapping(mapping(data.get("higher_is_better")).get(task))
        better = said.get(primary)
        samples = path.with_name(f"samples_{task}_{stamp}.jsonl") if "/" not in task else None
        found.append(
            ParsedResult(
                file=shown,
                model=args,
                task=task,
                metrics=metrics,
                stderrs=stderrs,
                settings=settings | _known(task_version=versions.get(task)),
                primary=primary,
                higher_is_better=better if isinstance(better, bool) else not is_lower_better(primary),
                lower=sorted(m for m in metrics if _is_lower(m, said)) if said else None,
                n=whole(mapping(mapping(data.get("n-samples")).get(task)).get("effective")),
                num_fewshot=whole(mapping(data.get("n-shot")).get(task)),
                environment=environment,
                finished_ms=int(seconds * 1000) if seconds and 0 < seconds < 1e11 else None,
                samples=samples if samples is not None and samples.is_file() else None,
                unread=unread,
            )
        )
    return _some(found)


def _is_lower(metric: str, said: Mapping[str, Any]) -> bool:
    better = said.get(metric)
    return not better if isinstance(better, bool) else is_lower_better(metric)


def _settings(version: str, config: Mapping[str, Any], args: ModelArgs, dtype: str | None) -> dict[str, Any]:
    """What determined the numbers; of a version its first two parts, since the later ones compute the same."""
    source = str(config.get("model") or "")
    backend = "" if source.startswith(("hf", "gpt2")) else source  # vllm and others round otherwise
    scorer = f"lm_eval {'.'.join(version.split('.')[:2])} {backend}".strip()
    other = dict(args.other) or None
    generation = config.get("gen_kwargs") or None
    limit = config.get("limit")
    return _known(scorer=scorer, dtype=dtype, limit=whole(limit) or limit, model_args=other, gen_kwargs=generation)


def _metrics(values: Mapping[str, Any], separator: str) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    """Metrics, standard errors, and reasons why an error cannot be read.

    0.4's filter `none` is left unsaid, as evalrun's own results leave it.
    """
    metrics: dict[str, float] = {}
    stderrs: dict[str, float] = {}
    unread = []
    for key, value in values.items():
        metric, comma, filtered = str(key).partition(",")
        found = None if isinstance(value, str) else number(value)
        if found is None and metric.endswith("_stderr") and str(value).lower() not in _NONE:
            unread.append(f"the {metric} '{value!s:.60}' is no number, and its result is filed without it")
        if found is None or bool(comma) != bool(separator):
            continue
        name = metric.removesuffix("_stderr") + ("" if filtered in ("", "none") else f"_{filtered}")
        (stderrs if metric.endswith("_stderr") else metrics)[name] = found
    return (
        metrics,
        {name: value for name, value in stderrs.items() if name in metrics and value == value},
        tuple(unread),
    )


def _primary(metrics: Mapping[str, float]) -> str:
    return "acc" if "acc" in metrics else next(iter(metrics))


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _some(found: list[ParsedResult]) -> list[ParsedResult]:
    if not found:
        raise NotResultsError("holds no number under `results`")
    return found
