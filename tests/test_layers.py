"""The structure: imports go down only, and each heavy library has one home."""

from __future__ import annotations

import ast
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src" / "evalrun"
LEVELS: list[set[str]] = [
    {"masking", "directions", "wording"},
    {
        *("__init__", "errors", "records", "causes", "palette", "markup", "power", "task_metrics", "task_columns"),
        *(
            "digests",
            "task_answers",
            "task_targets",
            "task_numbers",
            "task_gaps",
            "lm_eval_source",
            "step_words",
            "token_rules",
        ),
    },
    {"token_ends"},
    {"tokenizer", "patterns", "task_tables", "conf_yaml", "steps"},
    {"token_keys"},
    {"task_rows", "task_checks", "task_items"},
    {"manual", "config", "console", "provenance", "checkpoints"},
    {"as_typed"},
    {"task_yaml", "task_data", "task_documents", "task_past", "suites", "conf_files"},
    {"task_shape", "task_scores"},
    {"task_groups"},
    {"task_files", "journal", "jobstate", "tracking", "analysis", "tiny", "tasks", "scoring"},
    {"ledger", "live", "recorded", "attempts"},
    {"audit", "ahead", "namesakes"},
    {"overrides", "pipeline", "study"},
    {"sweep", "ingest", "launch"},
    {"supply", "survey"},
    {
        *("status", "sync", "comparison", "catalogue", "commands", "inprocess", "watch", "show", "doctor"),
        *("completion", "summary", "interruption"),
    },
    {"new_task"},
    {"cli", "api", "integrations"},
    {"__main__"},
]
MAY_ALSO = {
    *{("tasks", "task_files"), ("scoring", "tasks")},  # within a level: a task is built from its file
    ("__init__", "api"),  # for type checkers; when evalrun is imported, nothing of it is
}
HOMES = {
    "mlflow": {"tracking"},
    "statsmodels": {"analysis"},
    "matplotlib": {"analysis"},
    "torch": {"checkpoints", "integrations", "tiny", "pipeline", "provenance", "scoring", "suites"},
    "transformers": {"checkpoints", "integrations", "scoring", "suites", "tiny", "tokenizer"},
    "tokenizers": {"token_ends", "token_rules", "tiny"},
    "lm_eval": {"tasks", "task_checks", "task_numbers", "task_gaps", "scoring", "task_groups"},
    "hydra": {"as_typed", "cli", "commands", "config", "launch", "overrides", "sweep"},
    "ray": {"launch"},
    "submitit": {"launch"},
}


def module_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "evalrun":
                found.update(f"evalrun.{alias.name}" for alias in node.names)
    return found


def files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def level(module: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if module in names)


def test_every_module_has_a_level() -> None:
    assert {module_of(path) for path in files()} == set().union(*LEVELS)


def test_imports_go_down_only() -> None:
    wrong = []
    for path in files():
        here = module_of(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "evalrun" or len(parts) < 2 or parts[1] == here or parts[1] == "__version__":
                continue
            if level(parts[1]) >= level(here) and (here, parts[1]) not in MAY_ALSO:
                wrong.append(f"{path.relative_to(SRC)} imports {name}")
    assert not wrong


def test_each_heavy_library_has_its_home() -> None:
    wrong = []
    for path in files():
        for name in imports(path):
            library = name.split(".")[0]
            if library in HOMES and module_of(path) not in HOMES[library]:
                wrong.append(f"{path.relative_to(SRC)} imports {library}")
    assert not wrong


def test_modules_and_functions_stay_small() -> None:
    for path in files():
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{path.name}:{node.name}"
