"""What the code says of itself: everything public, and all that is long, is explained; what is named exists."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import yaml

from helpers import ROOT

SRC = ROOT / "src"
LONG = 12  # lines, of a function that has a docstring even if it is private
UNEXPLAINED = 0  # of these, those that have none yet: this number only falls
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
NAMED = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:\([^`]*\))?`|\b((?:[a-z]\w*\.)+\w+)|\b[Ss]ee ([a-z]+_\w+)")
OUTSIDE = (  # whose names are not ours: libraries, and files of models, trainings, tasks and results
    "AutoTokenizer", "HFLM", "Trainer", "datasets", "hydra", "lm_eval", "mlflow", "numpy", "pandas", "scipy",
    "statsmodels", "tokenizers", "torch", "transformers",
)  # fmt: skip
FILES = ("csv", "html", "json", "log", "md", "parquet", "pdf", "png", "py", "safetensors", "svg", "txt", "yaml")
WORDS = {  # of other projects' configs and results, and examples
    "add_eos_token", "add_prefix_space", "aggregate_metric_list", "exact_match", "exact_match_strict",
    "fewshot_config", "generation_kwargs", "logging_nan_inf_filter", "no", "none", "on", "save_total_limit", "svg",
    "ter", "ter_strip", "total_flos", "wilson", "a.b",
}  # fmt: skip
EXAMPLES = re.compile(r"(global_step|iter_|step|tokens_|run_|isp_)[\d.\w]+")


def modules() -> dict[str, Path]:
    paths = sorted(SRC.rglob("*.py"))
    return {".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def definitions(node: ast.AST, prefix: str = "", inner: bool = False) -> Iterator[tuple[str, Definition, bool]]:
    """Name, node and whether it is private: by an underscore in its name or its class's, or inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            name = f"{prefix}{child.name}"
            private = inner or any(part.startswith("_") for part in name.split("."))
            yield name, child, private
            yield from definitions(child, f"{name}.", private or not isinstance(child, ast.ClassDef))
        else:
            yield from definitions(child, prefix, inner)


def test_everything_public_is_explained() -> None:
    silent = [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    for module, tree in TREES.items():
        silent += [
            f"{module}.{name}"
            for name, node, private in definitions(tree)
            if not private and not ast.get_docstring(node)
        ]
    assert not silent


def test_a_long_function_is_explained_even_if_it_is_private() -> None:
    silent = [
        f"{module}.{name}"
        for module, tree in TREES.items()
        for name, node, _ in definitions(tree)
        if not isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
        if (node.end_lineno or 0) - node.lineno + 1 >= LONG
    ]
    assert len(silent) <= UNEXPLAINED, f"UNEXPLAINED only falls: {silent}"


def test_a_docstring_can_be_read_alone() -> None:
    """A hover shows it without its neighbours."""
    leaning = re.compile(r"(The same\b|See (?!that )|Of (the|a|all)\b|That of|As |It is\.|Say so)")
    found = [
        f"{module}.{name}"
        for module, tree in TREES.items()
        if not module.endswith("plain_columns")  # its content is part of results' keys
        for name, node, _ in definitions(tree)
        if leaning.match(ast.get_docstring(node) or "")
    ]
    assert not found


def texts(module: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments with their lines."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Module | Definition) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
    for token in tokenize.generate_tokens(io.StringIO(MODULES[module].read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def assigned(body: list[ast.stmt]) -> Iterator[str]:
    """What a module or a class binds by its statements, those inside `if` and `try` too."""
    for node in body:
        if isinstance(node, Definition):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from assigned([*node.body, *getattr(node, "orelse", [])])


def members(node: ast.ClassDef) -> set[str]:
    """Fields, methods and what its methods set on `self`."""
    on_self = {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self"
    }
    return {*assigned(node.body), *on_self}


CLASSES = {
    node.name: (node, members(node))
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}
BOUND = {module: set(assigned(tree.body)) for module, tree in TREES.items()}
ATTRIBUTES = set().union(*(names for _, names in CLASSES.values()))
DEFINED = {part for module in MODULES for part in module.split(".")} | ATTRIBUTES | set(CLASSES)
LAST_NAMES = {name.split(".")[-1] for name in MODULES}
DEFINED |= {name for module, tree in TREES.items() for name, _, _ in definitions(tree) for name in name.split(".")}


TEXTS = {  # columns, tags and keys, as the code writes them
    node.value
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value)
}


def keys() -> set[str]:
    """Dotted keys of conf/ and their parts."""
    found: set[str] = set()

    class Loose(yaml.SafeLoader):
        pass

    Loose.add_multi_constructor("!", lambda loader, suffix, node: suffix)

    def walk(content: object, prefix: str) -> None:
        if isinstance(content, dict):
            for key, value in content.items():
                found.update({f"{prefix}{key}", str(key)})
                walk(value, f"{prefix}{key}.")

    for path in (ROOT / "conf").rglob("*.yaml"):
        found.add(path.stem)
        content = yaml.load(path.read_text(), Loose)
        walk(content, "")
        walk(content, f"{path.parent.name}.")
    return found


KEYS = keys()


def used(module: str) -> set[str]:
    """Identifiers and short strings of a module: what its own texts may call by name."""
    found: set[str] = set()
    for node in ast.walk(TREES[module]):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.keyword(arg=str(name)):
                found.add(name)
            case ast.Constant(value=str(text)) if len(text) < 60:
                found.update(re.findall(r"\w+", text))
            case ast.alias(name=name, asname=other):
                found.update((other or name).split("."))
    return found


def resolves(name: str, module: str, local: set[str]) -> bool:
    """Whether a name in a text of a module means something."""
    first, *rest = name.split(".")
    if first in OUTSIDE or name in KEYS | WORDS | TEXTS or EXAMPLES.fullmatch(name):
        return True
    if first == "evalrun" and any(f"{name}.".startswith(f"{text.rstrip('.')}.") for text in TEXTS if "." in text):
        return True  # a tag, or the name of a function in task files
    if not rest:
        return name in local or name in DEFINED or keyword.iskeyword(name) or hasattr(builtins, name)
    if rest[-1] in FILES:
        return True
    for end in range(len(rest), -1, -1):  # the longest module, then its names
        path = ".".join([first, *rest[:end]])
        for there in (one for one in MODULES if one == path or one.endswith(f".{path}")):
            if within(rest[end:], there):
                return True
    if first in CLASSES:
        return rest[0] in CLASSES[first][1]
    variable = first in local and first not in LAST_NAMES
    return variable and rest[-1] in ATTRIBUTES | local


def within(names: list[str], module: str) -> bool:
    if not names:
        return True
    if names[0] in CLASSES and len(names) > 1:
        return names[1] in CLASSES[names[0]][1]
    return names[0] in BOUND[module] or f"{module}.{names[0]}" in MODULES


def test_what_a_docstring_or_comment_names_exists() -> None:
    dangling = []
    for module in MODULES:
        local = used(module)
        for line, text in texts(module):
            for found in NAMED.finditer(text):
                name = found[1] or found[2] or found[3]
                if found[2] and name.split(".")[0] not in LAST_NAMES:
                    continue  # an abbreviation, a file, an address
                if not resolves(name, module, local):
                    dangling.append(f"{MODULES[module].relative_to(SRC)}:{line}: {name}")
    assert not dangling, "\n".join(dangling)


def test_a_name_that_is_gone_is_found() -> None:
    local = used("evalrun.pipeline")
    for name in ("pipeline.no_such", "no.such", "Checkpoint.no_such", "no_such_function", "scorer.no_such_key"):
        assert not resolves(name, "evalrun.pipeline", local), name
    for name in ("pipeline.evaluate", "records.TaskResult.key", "Checkpoint.flops", "scorer.ties", "evaluate"):
        assert resolves(name, "evalrun.pipeline", local), name


def test_what_a_package_lists_lies_in_it() -> None:
    """A line a module: its name, two blanks or more, what it is for."""
    gone = []
    for module, path in MODULES.items():
        lines = re.findall(r"^([a-z_]+(?:, [a-z_]+)*)  +\S", ast.get_docstring(TREES[module]) or "", re.MULTILINE)
        there = {child.stem for child in path.parent.iterdir()}
        names = {name for line in lines for name in line.split(", ")}
        if names & there:
            gone += [f"{module}: {name}" for name in sorted(names - there)]
    assert not gone


def test_what_the_glossary_names_exists() -> None:
    page = (ROOT / "docs" / "reference" / "glossary.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    names = [name for row in rows for name in re.findall(r"`([\w./]+)`", row[-1])]
    assert len(names) > 30
    assert not [name for name in names if "/" not in name and not resolves(name, "evalrun.pipeline", set())]
    assert not [name for name in names if "/" in name and not (ROOT / name).exists()]
