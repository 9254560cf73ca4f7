"""The structure: imports go down only, and each heavy library has one home."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src" / "evalrun"
ORDER = [  # each may import those above it, none of its own line
    {"core"},
    {"config", "journal"},
    {"checkpoints", "statistics", "tasks", "tracking"},
    {"grid", "reporting", "scoring"},
    {"pipeline", "study"},
    {"progress"},
    {"launch"},
    {"commands"},
    {"comparing", "exporting", "grouping", "predicting", "surprisals"},
    {"api", "cli", "errors", "integrations"},
]
HOMES = {
    "mlflow": {"tracking"},
    "statsmodels": {"statistics"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting", "tasks"},
    "torch": {"checkpoints", "core", "integrations", "pipeline", "scoring"},
    "transformers": {"checkpoints", "integrations", "scoring"},
    "tokenizers": {"checkpoints"},
    "peft": {"checkpoints"},
    "lm_eval": {"scoring", "tasks"},
    "hydra": {"cli", "commands", "config", "grid", "launch"},
    "ray": {"launch"},
    "submitit": {"launch"},
    "tensorboard": {"commands"},
    "wandb": {"commands"},
    "requests": {"scoring"},
    "vllm": {"scoring"},
}


def module_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules in full: of `from package import module` the module, of `from module import name` the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


MODULES = {
    ".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in files()
}


def level(module: str) -> int:
    return next(number for number, names in enumerate(ORDER) if module in names)


def test_every_room_has_its_place() -> None:
    assert {module_of(path) for path in files()} == set().union(*ORDER, {"__init__", "__main__"})


def test_imports_go_one_way() -> None:
    wrong = []
    for path in files():
        here = module_of(path)
        if here in ("__init__", "__main__"):
            continue
        for name in imports(path):
            there = name.split(".")[1] if name.startswith("evalrun.") else here
            if there not in (here, "__init__") and level(there) >= level(here):
                wrong.append(f"{path.relative_to(SRC)} imports {name}")
    assert not wrong


def test_no_circle_inside_a_room() -> None:
    graph = {name: imports(path) & MODULES.keys() - {"evalrun"} for name, path in MODULES.items() if name != "evalrun"}
    TopologicalSorter(graph).prepare()  # raises CycleError


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
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{path.name}:{node.name}"


def test_no_name_stands_for_two_things() -> None:
    """Of modules and of classes; what a command's front and its text are called is the same in every command."""
    modules = Counter(name.rsplit(".", 1)[-1] for name in MODULES)
    # A command, or a public face, of the room with the same name.
    faces = {"audit", "errors", "items", "suites", "tiny"}
    assert {name for name, times in modules.items() if times > 1} <= {"command", "render", *faces}
    classes = Counter(
        node.name for path in files() for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in classes.items() if times > 1] == []


PRIVATE = {  # where names live that a library keeps to itself, so that its upgrade breaks one file
    "hydra": {"hydra_private.py", "config_source.py"},  # the second extends a class of it
    "lm_eval": {"lm_eval_private.py", "lm_eval_model.py"},  # the second overrides methods of a class
    "mlflow": {"mlflow_private.py", "mlflow_tables.py"},
    "omegaconf": {"omegaconf_private.py"},
    "transformers": {"attention.py", "own_attention.py"},
}
OVERRIDDEN = {"_encode_pair", "_loglikelihood_tokens", "_model_call"}  # methods of lm-eval's model
ANYWHERE = {
    "_asdict",
    "_exit",
    "_return_value",
}  # public: of named tuples, os._exit; what Hydra hands to and takes from a launcher


def test_private_names_of_libraries_have_one_home() -> None:
    """Imports of them, and attributes with an underscore that nothing in evalrun defines."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SRC.parent.rglob("*.py"))}
    homes = set().union(*PRIVATE.values())
    ours = set(ANYWHERE)
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                ours.add(node.name)
            elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
                owner = node.value if isinstance(node, ast.Attribute) else None
                if owner is None or (isinstance(owner, ast.Name) and owner.id == "self"):
                    ours.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    ours -= OVERRIDDEN
    wrong = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("evalrun"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and node.attr not in ours:
                names = [node.attr]
            parts = {part for name in names for part in name.split(".") if part[0] == "_" and part[:2] != "__"}
            if parts and path.name not in homes:
                wrong.append(f"{path.name}:{node.lineno} {' '.join(sorted(parts))}")
    assert not wrong
    for library, files_of in PRIVATE.items():
        for name in files_of:
            (path,) = [path for path in trees if path.name == name]
            assert any(one.split(".")[0] == library for one in imports(path)), name
