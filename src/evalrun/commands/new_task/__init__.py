"""`new-task`: a task file for a data file, from what its columns look like, and three prompts of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalrun.commands import show
from evalrun.commands.new_task import preview, to_yaml
from evalrun.commands.new_task.guess import Guess, guess
from evalrun.config.own_yaml import conf_dirs
from evalrun.core.errors import ConfigError, StorageError
from evalrun.core.text import counted
from evalrun.grid import overrides as ov
from evalrun.tasks.data_rows import BUILDERS
from evalrun.tasks.task_yaml import lm_eval_tasks

_VALUES = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")  # of Hydra and YAML, which are no text
USAGE = "new-task takes a name and a data file, `python -m evalrun new-task capitals data/capitals.jsonl`"


def command(words: Sequence[str]) -> int:
    """Write conf/task/NAME.yaml and show three items; 1 where the rows cannot be scored with it.

    Raises:
        ConfigError: words that cannot be right, a file of that name, or columns that say nothing.
        TaskError: data that cannot be read.
        StorageError: the file cannot be written.
    """
    flags, rest = ov.split_flags(words)
    given = [word for word in rest if "=" not in word or Path(word).exists()]
    if len(given) != 2:
        raise ConfigError(f"{USAGE}: {_counted(given)}.")
    name, data = given
    if "://" in data:
        raise ConfigError(f"'{data}' is an address, and the data must be a file: download it, then name the file.")
    path = to_yaml.path_of(name)
    _check_name(name, data, path, "--force" in flags)
    asked = show.ask([f"task={name}", *(word for word in rest if word not in given)], new=True)
    found = preview.read(Path(data))
    guessed = guess(found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_yaml.text(name, data, guessed), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}): work in a folder of your own.") from None
    print("\n".join(_taken(path, found, guessed)), end="\n\n", flush=True)
    code = show.show(asked)
    print()
    if code:
        print(f"{path} is written, but cannot be scored yet: mend it or the data, then")
        print(f"  python -m evalrun show task={name}")
        return code
    print("next")
    print(f"  python -m evalrun show task={name} limit=10")
    print(f"  {_run(name)}")
    return 0


def _counted(given: Sequence[str]) -> str:
    return f"'{given[0]}' is one of them" if len(given) == 1 else f"{len(given)} were given"


def _check_name(name: str, data: str, path: Path, force: bool) -> None:
    """Refuse a name that cannot name a task or is taken.

    Args:
        name: As typed.
        data: The word beside it, to see whether the two are swapped.
        path: The file that would be written.
        force: Write over it.

    Raises:
        ConfigError: with what to do instead.
    """
    suffix = Path(name).suffix.lower()
    if suffix in BUILDERS or not re.fullmatch(r"[A-Za-z0-9]\w*([.-]\w+)*", name, re.ASCII):
        swapped = f" The name comes first: new-task {data} {name}." if suffix in BUILDERS else ""
        raise ConfigError(f"'{name}' cannot name a task: use the letters A to Z, digits, '_' and '-'.{swapped}")
    if suffix in (".yaml", ".yml"):
        raise ConfigError(f"'{name}' cannot name a task: leave out its ending, '{Path(name).stem}'.")
    if name.lower() in _VALUES or re.fullmatch(r"\d[\d_]*(\.[\d_]*)?(e\d+)?", name, re.IGNORECASE):
        raise ConfigError(f"'{name}' cannot name a task, because task={name} is read as a value: add a letter or word.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already: add --force to write it anew, or choose another name.")
    own = path.resolve()
    taken = [f for folder in conf_dirs() for f in (folder / "task").rglob(f"{name}.yaml") if f.resolve() != own]
    if taken or next(lm_eval_tasks().rglob(f"{name}.yaml"), None) is not None:
        whose = "of conf/task" if taken else "of lm-eval"
        raise ConfigError(f"'{name}' is a task {whose} already: choose another name.")


def _taken(path: Path, found: preview.Rows, guessed: Guess) -> Iterator[str]:
    """Lines that say which column was taken for what, and where that is doubtful."""
    looked = len(found.rows)
    which = f"{'the' if found.all else 'the first'} {counted(looked, 'row')}"
    yield f"{path} is written, from {which} of {found.path}"
    parts = [("prompt", guessed.text), ("choices", guessed.choices), ("answer", guessed.target)]
    for said, part in parts:
        if part is not None:
            yield f"  {said:<9} {part.said}"
            if part.comment:
                yield f"  {'':<9} {part.comment}"
    yield f"  {'between':<9} {'a space' if guessed.delimiter else 'nothing'}, after the prompt"
    if guessed.unused:
        yield f"  {'not used':<9} {', '.join(guessed.unused)}"
    yield from (f"  {'':<9} {note}" for note in guessed.notes)
    if found.repeated:
        rows_are = f"{found.repeated} rows equal" if found.repeated > 1 else "1 row equals"
        yield f"  {'repeated':<9} {rows_are} an earlier one: they count as items of their own"


def _run(name: str) -> str:
    tiny = Path("models/tiny").is_dir()
    model, step = ("'model=glob(tiny/*)'", "all") if tiny else ("'model=glob(*)'", "2,4,...,143000")
    return f"python -m evalrun -m {model} step={step} task={name}"
