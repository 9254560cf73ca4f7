"""`evalrun.export`: results of the store in the forms that other programs read."""

from __future__ import annotations

from pathlib import Path

from evalrun.commands.export import export as export_results
from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value


def export(
    format: str,
    target: Path | str | None = None,
    *,
    suite: str | None = None,
    sweep: str | None = None,
    scored: str | None = None,
    x: str = "step",
    root: Path | str | None = None,
    **overrides: Value,
) -> list[Path]:
    """Write results of the store for another program; the same call again writes only what is new.

    Args:
        format: "tensorboard", "wandb", "parquet", "csv", "lm-eval" or "model-card".
        target: File or folder; None for the format's place below `multirun/export`.
        suite: Of this suite alone.
        sweep: Only the checkpoints that the multirun of this name wanted.
        scored: Only what was scored in this way: "shared_prefix float32".
        x: What TensorBoard takes for the step: "step" or "tokens".
        root: The folder to work in; None for the current one.
        **overrides: A grid, as for `results`, and the store: `task="memo_trap"`, `tracking={"uri": "http://..."}`.

    Returns:
        The files that were written; none where all were there as they should be.

    Raises:
        ConfigError: mistakes, a package that is missing, a target that holds something else.
        AnalysisError: there are no such results.
        TrackingError: the store cannot be read.
        StorageError: the target cannot be written.
    """
    place = None if target is None else Path(target).expanduser().absolute()
    which = {"suite": suite, "sweep": sweep, "scored": scored, "x": x}
    own = {name: str(value) for name, value in which.items() if value is not None}
    with inprocess.session(root):
        _, done = export_results(format, place, own, inprocess.words(overrides))
        return [path.absolute() for path in done.written]
