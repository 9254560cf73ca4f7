"""The reference pages that are made, not written: commands, configuration, models, tasks, columns.

Each function returns Markdown. `pages.py` puts it where a page of docs/reference/ says `<!-- generated: NAME -->`.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from evalrun import cli
from evalrun.commands import help
from evalrun.config import schema
from evalrun.config.own_yaml import conf_dir
from evalrun.core import records
from evalrun.core.columns import TABLE_COLUMNS

LAUNCHERS = "hydra/launcher"


def commands() -> str:
    """Each command's help, as `python -m evalrun help COMMAND` prints it."""
    parts = [_block(_printed(["--help"]), "text")]
    for name in (help.RUN, *help.COMMANDS):
        parts.append(f"## {name}\n\n{_block(_printed(['help', name]), 'text')}")
    return "\n\n".join(parts)


def configuration() -> str:
    """Every key of conf/ with its default and what its file says about it."""
    conf = conf_dir()
    parts = ["## conf/config.yaml", *_file_parts(conf / "config.yaml", skip=("defaults", "hydra"))]
    for group in ("scorer", "profile", "generation", "chat", "tracking", "analysis", "gate", LAUNCHERS):
        parts.append(f"## {group}=")
        for path in sorted((conf / group).glob("*.yaml")):
            parts += [f"### {group}={path.stem}", *_file_parts(path, skip=("defaults", "_target_"))]
    parts += ["## experiment=", _table(("experiment=", "what it is"), _experiments(conf / "experiment"))]
    parts += ["## The embedded suite", *_file_parts(conf / "tiny.yaml")]
    for title, kind in (("conf/model", schema.ModelConf), ("conf/checkpoint", schema.CheckpointConf)):
        parts += [f"## Files of {title}", inspect.getdoc(kind) or ""]
        parts.append(_table(("key", "default", "meaning"), _fields(kind)))
    return "\n\n".join(parts)


def models() -> str:
    """Every model of conf/model by suite, as `suites --json` lists them."""
    parts = []
    for suite in json.loads(_printed(["suites", "--json"])):
        rows = [
            (f"`{m['model']}`", f"`{m['path']}`", _count(m["n_params"]), _count(m["tokens_per_step"]), _steps(m))
            for m in suite["models"]
        ]
        checked = {False: "Not compared with the published repositories.", True: "Compared with the hub.", None: ""}
        source = f"{suite['source']}. " if suite["source"] else ""
        parts += [f"## {suite['suite']}", _linked(source) + checked[suite["checked"]]]
        parts.append(_table(("model=", "repository or folder", "parameters", "tokens a step", "steps"), rows))
    return "\n\n".join(part for part in parts if part)


def tasks() -> str:
    """Tasks and sets of conf/task."""
    single: list[Sequence[str]] = []
    sets: list[Sequence[str]] = []
    for path in sorted((conf_dir() / "task").glob("[!_]*.yaml")):
        content = yaml.load(path.read_text(), _Loose)
        if "group" in content:
            sets.append((f"`{path.stem}`", ", ".join(f"`{name}`" for name in content["task"])))
            continue
        about = content.get("metadata", {})
        single.append(
            (f"`{path.stem}`", about.get("title", ""), about.get("cause") or about.get("role", ""),
             f"{about.get('rows', '')}", _linked(str(about.get("source", "")))),
        )  # fmt: skip
    heads = ("task=", "title", "cause, or role", "rows", "described in")
    return f"## Sets\n\n{_table(('task=', 'holds'), sets)}\n\n## Tasks\n\n{_table(heads, single)}"


def columns() -> str:
    """The columns of the table that `evaluate` and `results` return."""
    heads = ("column", "type", "unit", "meaning", "in a record of the journal")
    rows = [
        (f"`{name}`", column.dtype, column.unit, column.meaning, f"`{column.record}`" if column.record else "")
        for name, column in TABLE_COLUMNS.items()
    ]
    return _table(heads, rows)


def result() -> str:
    """The keys of a record of the journal."""
    return _table(("key", "meaning"), ((key, text) for key, _, text in _fields(records.TaskResult)))


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands, "configuration": configuration, "models": models, "tasks": tasks, "columns": columns,
    "result": result,
}  # fmt: skip


def entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each key of a YAML file, dotted, with its value and the comment on its line or on lines of their own above it."""
    text = path.read_text()
    yield from _entries(yaml.compose(text), text.splitlines(), "")


def _entries(node: yaml.Node | None, lines: Sequence[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        first, last = key.start_mark.line, value.end_mark.line
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield name, "", _comment(lines[first])
            yield from _entries(value, lines, f"{name}.")
        else:
            shown = lines[first][value.start_mark.column : value.end_mark.column] if first == last else "..."
            yield name, shown, " ".join([_comment(lines[first]), *_continued(lines, first)]).strip()


def _comment(line: str) -> str:
    return line.partition(" # ")[2].strip()


def _continued(lines: Sequence[str], at: int) -> list[str]:
    """Comments that stand alone, far to the right, below a line's own."""
    found = []
    for line in lines[at + 1 :]:
        if not re.match(r" {8,}#", line):
            break
        found.append(line.strip("# "))
    return found


def _file_parts(path: Path, skip: Sequence[str] = ()) -> list[str]:
    about = " ".join(line[1:].strip() for line in _head(path) if not line.startswith("# @"))
    rows = [
        (f"`{key}`", "must be given" if value == "???" else f"`{value}`" if value else "", _marked(text))
        for key, value, text in entries(path)
        if key.split(".")[0] not in skip
    ]
    inherits = [str(one) for one in (yaml.load(path.read_text(), _Loose) or {}).get("defaults", []) if one != "_self_"]
    also = (
        f"With all of {', '.join(f'`{one}`' for one in inherits)}, and:" if inherits and path.stem != "config" else ""
    )
    return [part for part in (_marked(about), also, _table(("key", "default", "meaning"), rows)) if part]


def _head(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:count]


def _experiments(folder: Path) -> Iterator[Sequence[str]]:
    for path in sorted(folder.glob("*.yaml")):
        about = [line[1:].strip() for line in _head(path) if not line.startswith(("# @", "#   "))]
        yield f"`{path.stem}`", _linked(_marked(" ".join(about)))


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """A dataclass's fields with default and the comment on the line."""
    source = inspect.getsource(kind)
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        default = "" if node.value is None else ast.unparse(node.value)
        shown = {"MISSING": "must be given", "None": "`null`", "''": ""}.get(default, default and "`{}`")
        text = _comment(source.splitlines()[node.lineno - 1])
        yield f"`{ast.unparse(node.target)}`", shown, _marked(text)


def _printed(words: list[str]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(words)
    return out.getvalue()


def _block(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""


def _marked(text: str) -> str:
    """Plain text for Markdown: what looks like code is set as code."""
    return re.sub(r"(?<![`\w])(\+?[\w./]+=[^\s,;:()]+(?:\([^)]*\))?)", r"`\1`", text.replace("*", "\\*"))


def _linked(text: str) -> str:
    text = re.sub(r"(?<![/\w])arXiv:(\d{4}\.\d{5})(v\d)?", r"[arXiv:\1\2](https://arxiv.org/abs/\1\2)", text)
    return re.sub(
        r"(?<![(\w])https://[^\s),]*[^\s),.]", lambda found: f"[{found[0].removeprefix('https://')}]({found[0]})", text
    )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _steps(model: dict[str, Any]) -> str:
    steps = model["steps"]
    return model["steps_known"] if steps is None else f"{len(steps)}, {steps[0]:,} to {steps[-1]:,}"


class _Loose(yaml.SafeLoader):
    """Reads lm-eval's `!function` tags as text."""


_Loose.add_constructor("!function", lambda loader, node: str(node.value))
