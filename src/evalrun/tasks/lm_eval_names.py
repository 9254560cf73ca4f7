"""What lm-eval knows by name, read from its source without running it: keys of its files, metrics, filters, samplers.

Importing lm-eval takes seconds; a task file is checked in a moment, before anything else is done.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_ANY = "**"  # stands for the names of options that cannot be known


@dataclass(frozen=True)
class KnownMetric:
    """A metric of lm-eval's registry."""

    higher_is_better: bool
    aggregation: str  # unless the task names another


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where lm-eval is installed."""
    return _package("lm_eval")


@lru_cache(maxsize=32)
def _parsed(module: str) -> ast.Module:
    return ast.parse((folder() / module).read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _fields(module: str, name: str) -> frozenset[str]:
    """The fields of a dataclass."""
    (shape,) = (n for n in _parsed(module).body if isinstance(n, ast.ClassDef) and n.name == name)
    named = (node.target for node in shape.body if isinstance(node, ast.AnnAssign))
    return frozenset(target.id for target in named if isinstance(target, ast.Name))


def task_keys() -> frozenset[str]:
    """Keys of a task config."""
    return _fields("config/task.py", "TaskConfig")


def fewshot_keys() -> frozenset[str]:
    """Keys of `fewshot_config`."""
    return _fields("config/task.py", "FewshotConfig")


def group_keys() -> frozenset[str]:
    """Keys of a group that are not options of its tasks."""
    return _fields("config/group.py", "GroupConfig")


def aggregate_keys() -> frozenset[str]:
    """Keys of an entry of a group's `aggregate_metric_list`."""
    return _fields("config/group.py", "AggMetricConfig")


@lru_cache(maxsize=1)
def metrics() -> dict[str, KnownMetric]:
    """The registered metrics by name."""
    found = {}
    for options in _decorated("api/metrics.py", "register_metric"):
        said = {key: node.value for key, node in options.items() if isinstance(node, ast.Constant)}
        found[str(said["metric"])] = KnownMetric(bool(said["higher_is_better"]), str(said["aggregation"]))
    return found


@lru_cache(maxsize=1)
def aggregations() -> frozenset[str]:
    """Names of the registered aggregations."""
    return frozenset(
        str(node.value)
        for options in _decorated("api/metrics.py", "register_aggregation")
        for node in options.values()
        if isinstance(node, ast.Constant)
    )


@lru_cache(maxsize=1)
def samplers() -> frozenset[str]:
    """Names of the ways to draw examples."""
    for node in _parsed("api/samplers.py").body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            return frozenset(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    return frozenset({"default"})


@lru_cache(maxsize=1)
def exact_match_options() -> frozenset[str]:
    """What an entry of `metric_list` may say of exact_match."""
    for node in _parsed("api/metrics.py").body:
        if isinstance(node, ast.FunctionDef) and node.name == "exact_match_hf_evaluate":
            return frozenset(one.arg for one in node.args.args) - {"predictions", "references"}
    return frozenset()


@lru_cache(maxsize=1)
def filters() -> dict[str, frozenset[str] | None]:
    """The registered filters by name, each with its options; None where these cannot be known."""
    classes: dict[str, frozenset[str]] = {"Filter": frozenset()}
    found: dict[str, frozenset[str] | None] = {}
    for path in sorted((folder() / "filters").glob("*.py")):
        for node in _parsed(f"filters/{path.name}").body:
            if not isinstance(node, ast.ClassDef):
                continue
            base = next((b.id for b in node.bases if isinstance(b, ast.Name)), "")
            classes[node.name] = _options(node) or classes.get(base, frozenset())
            for options in _calls(node, "register_filter"):
                for name in options.values():
                    if isinstance(name, ast.Constant):
                        known = classes[node.name]
                        found[str(name.value)] = None if _ANY in known else known
    return found


def _options(node: ast.ClassDef) -> frozenset[str] | None:
    for made in node.body:
        if isinstance(made, ast.FunctionDef) and made.name == "__init__":
            named = [one.arg for one in (*made.args.args, *made.args.kwonlyargs)][1:]
            return frozenset([*named, *([_ANY] if made.args.kwarg else [])])
    return None


@lru_cache(maxsize=1)
def generation_keys() -> frozenset[str]:
    """What `generation_kwargs` may hold: lm-eval's own, and whatever transformers' generation takes."""
    own = {"until", "max_gen_toks", "max_tokens", "max_completion_tokens"}
    source = (_package("transformers") / "generation" / "configuration_utils.py").read_text(encoding="utf-8")
    return frozenset(own | set(re.findall(r"self\.([a-z]\w*) = kwargs\.pop\(", source)))


def _decorated(module: str, decorator: str) -> Iterator[dict[str, ast.expr]]:
    for node in _parsed(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from _calls(node, decorator)


def _calls(node: ast.FunctionDef | ast.ClassDef, decorator: str) -> Iterator[dict[str, ast.expr]]:
    """The arguments of a decorator: by name, or by number."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator:
            yield {str(i): one for i, one in enumerate(call.args)} | {str(k.arg): k.value for k in call.keywords}
