"""evalrun in a notebook or a program: evaluate, get the table, ask it what the report asks.

    import evalrun

    table = evalrun.evaluate("tiny/s", step="all", task="tiny")
    evalrun.fit(table, methods=["ols", "cr2"])

Every function is the command's own work with the defaults of conf/, and raises `evalrun.errors.EvalrunError` with the
sentence that the command would print: `ConfigError`, all mistakes at once, for a name, key or value that cannot be
right. Nothing is printed; progress and warnings go to the logger `evalrun`.

Keywords that are not named in a signature are what the command takes as `key=value`. Strings are written as there,
without the shell's quotes (`step="2,4,...,1024"`, `model="glob(tiny/*)"`); numbers, None, paths and lists are Python's;
a dict sets keys below its own: `scorer={"dtype": "float32"}`. The functions on tables take the keys of conf/analysis by
their short names too: `alpha=0.01`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands import analyze
from evalrun.commands.items import follow_table
from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value
from evalrun.commands.selecting_words import refuse_unselecting
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.commands.table_plot import draw_curves
from evalrun.commands.table_report import write_report
from evalrun.comparing import compare, compare_runs
from evalrun.exporting import export
from evalrun.grouping import groups
from evalrun.predicting import decision_accuracy, over_loss, predict
from evalrun.progress import sweep_start
from evalrun.surprisals import reading_times, word_ages, word_correlations, words
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.reporting.figures import NotebookFigure
    from evalrun.statistics.dynamics.item_dynamics import ItemDynamics

__all__ = [
    "compare", "compare_runs", "decision_accuracy", "evaluate", "export", "falls", "fit", "groups", "items",
    "over_loss", "plot", "predict", "reading_times", "report", "results", "shapes", "word_ages",
    "word_correlations", "words",
]  # fmt: skip


def evaluate(
    model: str | Path | Sequence[str] | None = None,
    step: int | str | Sequence[int] | None = None,
    task: str | Sequence[str] | None = None,
    *,
    root: Path | str | None = None,
    **overrides: Value,
) -> pd.DataFrame:
    """Evaluate checkpoints, here and one after the other; what is done already is found, not computed again.

    The journal below `multirun/` and the MLflow runs are those of `python -m evalrun -m` with the same words.

    Args:
        model: A config of conf/model, several, a glob; or a folder with the checkpoints of a training run.
        step: Training steps: 1000, [1000, 2000], "final", "all", "2,4,...,1024".
        task: Files of conf/task, sets of them, or names that lm-eval knows; None for conf's default.
        root: The folder to work in, which may have a `conf` of its own; None for the current one.
        **overrides: What else the command takes: `limit=50`, `force=True`, `experiment="demo"`.

    Returns:
        One row for each checkpoint, task and metric of what was asked for, with the columns of
        `evalrun.core.columns.TABLE_COLUMNS`; `tokens` and `n_params` are counts, `value` is in the metric's units.

    Raises:
        ConfigError: mistakes, before anything runs.
        EvalrunError: a checkpoint, task or store that fails. Of several checkpoints the others are done first,
            unless `fail_fast=True`, and all that failed are named.
    """
    import pandas as pd

    with inprocess.session(root):
        named: dict[str, Value] = {} if model is None else inprocess.model_words(model)
        axes = {"step": step, "task": task}
        named |= {key: value for key, value in axes.items() if value is not None}
        plan = inprocess.run(inprocess.words(named | overrides))
        keys = sweep_start.wanted_keys(plan.jobs)
        store = Store(plan.config.tracking)
        frames = [store.table(suite) for suite in dict.fromkeys(job.cell.suite for job in plan.jobs)]
        return pd.concat([frame[frame["task_key"].isin(keys)] for frame in frames], ignore_index=True)


def results(
    suite: str | None = None,
    sweep: str | None = None,
    scored: str | None = None,
    *,
    root: Path | str | None = None,
    **overrides: Value,
) -> pd.DataFrame:
    """The results that are in the store.

    Args:
        suite: Of this suite alone, such as "pythia".
        sweep: Only the checkpoints that the multirun of this name wanted.
        scored: Only what was scored in this way: "shared_prefix float32".
        root: The folder to work in; None for the current one.
        **overrides: A grid, as for `evaluate`, and the store: `model="glob(tiny/*)"`, `task="memo_trap"`,
            `experiment="paper"`, `tracking={"uri": "http://..."}`.

    Returns:
        One row for each checkpoint, task and metric, with the columns of `evalrun.core.columns.TABLE_COLUMNS`, older
        results first where there are several of one kind.

    Raises:
        ConfigError: mistakes.
        AnalysisError: there are no such results.
        TrackingError: the store cannot be read.
    """
    import pandas as pd

    with inprocess.session(root):
        words = inprocess.words(overrides)
        refuse_unselecting("results", words)
        plan, selection = analyze.select(words, *(name and str(name) for name in (suite, sweep, scored)))
        store = Store(plan.config.tracking)
        store.check_readable()
        return pd.concat(study.tables(store, selection).values(), ignore_index=True)


def fit(table: pd.DataFrame, methods: Sequence[str] | None = None, **settings: Value) -> pd.DataFrame:
    """Regress each task's values on log parameters, log tokens and their interaction: Table 1, by several methods.

    Args:
        table: Rows of one suite, scored in one way: of `evaluate` or `results`.
        methods: Names of `conf/analysis`, such as ["ols", "cr2"]; None for all of conf's.
        **settings: Keys of conf/analysis: `params="nonembedding"`, `axis="flops"`, `corrections=["holm"]`.

    Returns:
        One row for each task, method and effect (parameters, tokens, interaction). estimate, stderr, low and high are
        in standard deviations, raw_* per factor of ten; q is p corrected over all tests of its method; verdict says
        whether what is not significant is shown to be smaller than `smallest_effect`; note says why a row has none.

    Raises:
        ConfigError: a setting that cannot be right.
        AnalysisError: a table that cannot be analysed, or a method or correction that there is not.
    """
    from evalrun.statistics.findings import choice_of
    from evalrun.statistics.regression.equivalence import with_equivalence
    from evalrun.statistics.regression.interactions import fit_interactions

    config = config_of(settings | ({} if methods is None else {"methods": methods}))
    rows, choice = prepared_rows(table, config, fitted=True), choice_of(config.analysis)
    return with_equivalence(fit_interactions(rows, choice), rows, choice, config.analysis.smallest_effect)


def shapes(table: pd.DataFrame, **settings: Value) -> pd.DataFrame:
    """Name the shape of every curve over training: positive, inverse, U-shaped, emergent, late drop, undecided...

    Args:
        table: As for `fit`.
        **settings: Keys of conf/analysis: `smallest_change=0.02`, `alpha=0.01`, `axis="flops"`.

    Returns:
        One row for each task, model and seed: `label` and `sentence`, the steps that show it, the strongest moves in
        standard errors; see `evalrun.statistics.shapes.labels.describe_shapes`.

    Raises:
        ConfigError, AnalysisError: as `fit`.
    """
    from evalrun.statistics.findings import decide_curves
    from evalrun.statistics.shapes.labels import describe_shapes

    config = config_of(settings)
    return describe_shapes(decide_curves(prepared_rows(table, config), config.analysis))


def falls(table: pd.DataFrame, *, root: Path | str | None = None, **settings: Value) -> pd.DataFrame:
    """Find the largest fall of every curve after a peak, tested on the same items.

    Args:
        table: As for `fit`.
        root: The folder whose store has the per-item results; None for the current one.
        **settings: Keys of conf/analysis, and the store: `alpha=0.01`, `items=False` (do without them: standard errors
            alone), `tracking={"uri": "http://..."}`.

    Returns:
        One row for each task, model and seed: from `peak_step` to `trough_step` it got worse by `fall` (positive, in
        the metric's units; low and high its interval); p pays for the search along the curve, q for the curves too.

    Raises:
        ConfigError, AnalysisError: as `fit`.
        TrackingError: the store cannot be read.
    """
    from evalrun.statistics.findings import decide_curves
    from evalrun.statistics.shapes.falls import find_falls
    from evalrun.statistics.shapes.labels import describe_shapes

    with inprocess.session(root):
        config = config_of(settings)
        rows, conf = prepared_rows(table, config), config.analysis
        with study.items_of(config, Store(config.tracking), rows) as items:
            decision = decide_curves(rows, conf, items, study.clusters_of(config))
            return find_falls(decision, describe_shapes(decision))


def items(
    table: pd.DataFrame,
    task: str | None = None,
    by: str | Sequence[str] | None = None,
    *,
    root: Path | str | None = None,
    **settings: Value,
) -> ItemDynamics:
    """Follow the items of a task over training: which are learned, lost and regained, and which answer took over.

    Args:
        table: As for `fit`; its items are read from the store.
        task: Which task, where the table has several.
        by: Divide the items by "difficulty" (to the other models), "gold_position", "prompt_length" or a column of the
            task's data such as "subject"; several as a list. Shapes and falls have one correction over all parts.
        root: As for `falls`.
        **settings: As for `falls`: `item_guess=0.6`.

    Returns:
        Frames (`items`: a row an item and model; `classes`, `transitions`, ...; with `by` also `parts`, `part_curves`),
        all answers as arrays, and notes.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `falls`; or there are no items that can be followed.
    """
    with inprocess.session(root):
        return follow_table(table, task, by, settings)


def report(table: pd.DataFrame, out: Path | str, *, root: Path | str | None = None, **settings: Value) -> Path:
    """Write the report that a sweep ends with, of any table; nothing is filed in MLflow.

    Args:
        table: As for `fit`.
        out: Folder to write into, made if need be: report.html, effects.csv, tables/, figures/.
        root: As for `falls`.
        **settings: As for `falls`.

    Returns:
        The HTML file, which needs nothing else.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `falls`.
        StorageError: a file cannot be written.
    """
    absolute = Path(out).expanduser().absolute()
    with inprocess.session(root):
        return write_report(table, absolute, settings)


def plot(table: pd.DataFrame, x: str = "tokens", **settings: Value) -> NotebookFigure:
    """Draw every task's curves; a notebook shows the figure by itself, `savefig` saves it.

    Args:
        table: As for `fit`.
        x: tokens or flops (one line a model), or parameters (one line a training step). Of several suites, flops draws
            one line a suite through the last checkpoints of its models, in the tasks that they share.
        **settings: Keys of conf/analysis: `metric="acc_norm"`, `params="total"`.

    Returns:
        A matplotlib figure with a panel a task, on a logarithmic axis; pyplot knows nothing of it.

    Raises:
        ConfigError, AnalysisError: as `fit`.
    """
    return draw_curves(table, x, settings)
