"""A reader who types what the pages say: makes a folder like a user's, then runs each page's blocks in order.

    python reader.py FOLDER RESULTS.json

One process imports what is heavy; each page is a fork of it, so that nothing but the folder passes from page to page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from blocks import COMMAND, blocks_of, data_file, pages  # noqa: E402

from training_runs import save_steps, write_state  # noqa: E402

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
RUNS = ("bash", "console")
GRIDS = ("", "plan", "prefetch", "status", "audit", "watch")  # commands that take one; "" evaluates


def make_folder(folder: Path) -> None:
    """The embedded suite with random weights, and two training runs of the user's."""
    from omegaconf import OmegaConf

    from evalrun.checkpoints.tiny.corpus import Corpus
    from evalrun.checkpoints.tiny.model import build_model, build_tokenizer
    from evalrun.checkpoints.tiny.settings import TinyConf
    from evalrun.checkpoints.tiny.suite_files import save_checkpoint, write_items
    from evalrun.config.compose import compose, hydra_session, to_config

    with hydra_session():
        chosen = compose([], name="tiny")
        plain = OmegaConf.masked_copy(chosen, [str(key) for key in chosen if key != "hydra"])
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TinyConf), plain))
        assert isinstance(settings, TinyConf)
        models = {size: to_config(compose([f"model=tiny/{size}", "step=1"])).model for size in ("xs", "s", "m", "l")}
    few = dataclasses.replace(settings.corpus, items_per_task=30)
    write_items(Corpus(few), folder / "models" / "tiny" / "data")
    tokenizer = build_tokenizer(settings)
    for size, model in models.items():
        for step in STEPS:
            target = folder / "models" / "tiny" / "seed0" / size / f"step{step}"
            target.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(build_model(model.architecture, settings, len(tokenizer), step), tokenizer, target)
    for name in ("mine", "my-model"):
        run = save_steps(folder / "runs" / name, {f"checkpoint-{step}": step for step in (4, 8, 12)})
        for step in (4, 8, 12):
            write_state(run / f"checkpoint-{step}", step, tokens=128 * step)


def warm_up() -> None:
    """Import what is heavy, and let lm-eval list its tasks, once for all pages."""
    import statsmodels.formula.api  # noqa: F401

    import evalrun.pipeline
    import evalrun.reporting.build
    import evalrun.tasks.builder  # noqa: F401
    from evalrun.errors import EvalrunError
    from evalrun.tasks import task_file

    with contextlib.suppress(EvalrunError):
        task_file.resolve(["no such task"], None, False, "corrected")


def read(page: str, folder: Path) -> list[dict[str, Any]]:
    """Do what a page says; what each command printed and returned."""
    done: list[dict[str, Any]] = []
    for block in blocks_of(page):
        if block.marker == "file":
            path = data_file(block, folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.marker in ("", "checked") and block.language in RUNS:
            how = compose if block.marker else run
            done += [{"where": block.where, "words": words, **how(words[len(COMMAND) :])} for words in block.commands]
    return done


def compose(words: list[str]) -> dict[str, Any]:
    """See that a command that takes a grid is right, without running it: all words, and the jobs of its first model."""
    from evalrun.commands import help
    from evalrun.config.compose import hydra_session
    from evalrun.errors import EvalrunError
    from evalrun.grid import override_checks, planning
    from evalrun.grid import overrides as ov

    command = words[0] if words[0] in help.COMMANDS else ""
    if command not in GRIDS:
        return {"code": 2, "printed": f"'{command}' takes no grid: run it, or say why not"}
    rest = [word for word in words[bool(command) :] if not word.startswith("-")]
    rest = [word.replace("paths=runs/*", "path=runs/my-model") for word in rest]  # a pattern of folders to watch
    rest += ["model=local"] * (command == "watch")
    rest += ["step=all"] * (command in ("audit", "watch"))
    try:
        with hydra_session():
            given = ov.parse(rest)
            override_checks.check(given)
            names = [name for o in given if o.key_or_group == "model" for name in ov.choices(o)]
            first = [o for o in given if o.key_or_group != "model"] + ov.parse([f"model={name}" for name in names[:1]])
            jobs = planning.plan(tuple(ov.for_hydra(first))).jobs
    except EvalrunError as error:
        return {"code": 2, "printed": str(error)}
    one = not command and "-m" not in words and len(jobs) * len(names) > 1
    return {"code": 2 if one else 0, "printed": f"{len(jobs)} jobs of a model, {len(names)} models"}


def run(words: list[str]) -> dict[str, Any]:
    """One command, as a process of its own would do it."""
    from evalrun import cli

    if "-m" in words and not any(word.startswith("analysis") for word in words):
        words.append("analysis.after_sweep=false")  # the statistics have tests of their own
    out = io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = cli.main(words)
    return {"code": code, "printed": out.getvalue(), "seconds": round(time.process_time() - started, 1)}


def main() -> None:
    """Read all pages."""
    folder, results = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    make_folder(folder)
    os.chdir(folder)
    warm_up()
    everything: list[dict[str, Any]] = []
    for page in pages():
        said = results.with_suffix(".page")
        child = os.fork()
        if child == 0:
            try:
                said.write_text(json.dumps(read(page, folder)))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status:
            everything.append({"where": page, "words": [], "code": status, "printed": "see standard error"})
        else:
            everything += json.loads(said.read_text())
    results.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
