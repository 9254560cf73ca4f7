"""All that an analysis finds, as frames: what the report, the tables and the terminal are made from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.core.second_process import beside
from evalrun.core.stages import stage
from evalrun.core.task_group import Groups
from evalrun.statistics.coverage import Cell, Coverage, Place, coverage_sentences, measure_coverage
from evalrun.statistics.dynamics.distractors import Words
from evalrun.statistics.dynamics.followed import Followed, follow_tasks
from evalrun.statistics.dynamics.item_parts import Judge, PartFindings, parts, task_of
from evalrun.statistics.expected import compare_labels
from evalrun.statistics.group_means import GroupMeans, group_means_of
from evalrun.statistics.items.artefacts import find_artefacts, of_curves_that_move
from evalrun.statistics.items.clustered_errors import clustered_errors
from evalrun.statistics.items.clusters import Clusters, unclustered
from evalrun.statistics.items.item_model import fit_items
from evalrun.statistics.items.measured import Measured, continuous_table
from evalrun.statistics.items.sample_variance import sample_variance
from evalrun.statistics.items.values import Items
from evalrun.statistics.over_loss.loss_findings import OverLoss, over_loss
from evalrun.statistics.parallel import on_one_core
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.prediction import predict_ahead, with_forecasts
from evalrun.statistics.regression.two_stories import two_stories
from evalrun.statistics.row_findings import find_of_rows
from evalrun.statistics.shapes.curves import CurveSet, on_the_same_items, over_training
from evalrun.statistics.shapes.decision import Decision, decide
from evalrun.statistics.shapes.evidence import with_agreement
from evalrun.statistics.shapes.falls import find_falls
from evalrun.statistics.shapes.labels import describe_shapes
from evalrun.statistics.shapes.thresholds import ShapeSettings
from evalrun.statistics.table import Prepared, capped, numbers_of, prepare, without
from evalrun.statistics.tuning.stage_rows import StageSplit, split
from evalrun.statistics.tuning.tuning_findings import TuningFindings, tuning_findings

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class Findings:
    """A suite's results and what was found in them."""

    suite: str
    table: pd.DataFrame  # table.Prepared.table
    notes: list[str]  # sentences about what was left out, merged or is doubtful
    groups: GroupMeans  # of tasks; no test is of them
    coverage: Coverage  # which cells of the grid are there
    choice: RegressionSettings
    metric: str | None
    decision: Decision  # about the curves over training
    same_within: float
    effects: pd.DataFrame  # interactions.fit_interactions, every method, with equivalence.with_equivalence
    smallest_effect: float
    pooled: pd.DataFrame  # pooled.fit_pooled
    sensitivity: pd.DataFrame  # sensitivity.sensitivity; empty where it is not asked for
    two_stories: pd.DataFrame  # two_stories.two_stories: by the headline method, or by OLS beside it
    diagnostics: pd.DataFrame  # diagnostics.diagnose
    over_loss: OverLoss  # empty where no loss is asked for
    predictions: pd.DataFrame  # prediction.predict_ahead and forecasts by loss; empty without either
    shapes: pd.DataFrame  # labels.describe_shapes
    size_shapes: pd.DataFrame  # labels.shapes_over_size
    evidence: pd.DataFrame  # evidence.with_agreement
    falls: pd.DataFrame  # falls.find_falls
    continuous: pd.DataFrame  # measured.continuous_table; empty where items are not read
    artefacts: pd.DataFrame  # artefacts.find_artefacts
    samples: pd.DataFrame  # sample_variance.sample_variance; empty where no item was answered several times
    clustered: pd.DataFrame  # clustered_errors.clustered_errors; empty without clusters
    dynamics: Followed  # followed.follow_tasks; empty where items are not read
    parts: PartFindings  # item_parts.parts of the tasks by `analysis.item_parts`; empty where nothing is divided
    item_effects: pd.DataFrame  # item_model.fit_items; empty where answers are not modelled
    signal: pd.DataFrame  # snr.signal_to_noise
    seeds: pd.DataFrame  # seeds.seed_variance
    expected: pd.DataFrame  # expected.compare_labels
    expected_over: str
    tuning: TuningFindings  # empty without later stages
    word_correlates: pd.DataFrame = field(default_factory=pd.DataFrame)  # word_curves.correlate_words, where asked for

    @property
    def thresholds(self) -> ShapeSettings:
        """What the decision about curves went by."""
        return self.decision.settings

    @property
    def headline(self) -> pd.DataFrame:
        """The effects by the first method."""
        return self.effects[self.effects["method"] == self.choice.methods[0]]

    @property
    def beside(self) -> pd.DataFrame | None:
        """The effects by plain least squares; None where these are the headline, or were not asked for."""
        return self.effects[self.effects["method"] == "ols"] if "ols" in self.choice.methods[1:] else None

    @property
    def largest(self) -> str:
        """The largest model's name."""
        models = self.table[["n_params", "model"]].drop_duplicates()
        return str(models.sort_values(["n_params", "model"])["model"].iloc[-1])


def analyze_table(
    table: pd.DataFrame,
    conf: AnalysisConf,
    suite: str,
    finals: Mapping[str, int] | None = None,
    items: Items | None = None,
    failed: Sequence[str] = (),
    wanted: Collection[Place] | None = None,
    settled: Collection[Cell] = (),
    clusters: Clusters | None = None,
    words: Words | None = None,
    groups: Groups | None = None,
    logged: pd.DataFrame | None = None,
) -> Findings:
    """Fit the regressions, test the curves and their falls, and class their shapes.

    Args:
        table: The tidy table with the columns of `columns.TABLE_COLUMNS`, older results first.
        conf: What to do: conf/analysis.
        suite: The suite's name.
        finals: Model -> the last step that its suite released, for `table.prepare`.
        items: Gives per-item results; None to do without.
        failed: Why checkpoints that were wanted have no result, a sentence each.
        wanted: The grid that was asked for, as (model, seed, step); None where nothing says so.
        settled: What of it was not computed because `until=` found no need, as (task, model, seed, step).
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        words: Gives the texts of a task's items; None to do without.
        groups: Groups of the tasks, which get means and no tests; None for none.
        logged: Losses of training logs (`loss_rows.LOSS_COLUMNS`), where `conf.x` names these.

    Raises:
        AnalysisError: When there is nothing to analyse, no task has the metric, or a setting is none of those allowed.
    """
    choice = choice_of(conf)
    prepared, measured, (every, rows, fit, said) = _believed(table, conf, finals, items)
    count = partial(measure_coverage, prepared.seen, every, prepared.disagreeing, wanted, settled)
    with beside(partial(find_of_rows, rows, numbers_of(fit), choice, conf, count)) as of_rows:
        decision, shapes, falls = judge_curves(rows, conf, items, clusters)
        by_loss = over_loss(fit, table, conf, choice, shapes, logged)
        dynamics = follow_tasks(rows, falls, conf, items, words, clusters)
        found = stage("regression")(of_rows)()
    return Findings(
        suite=suite,
        table=rows,
        notes=[*_told(failed, found.coverage, rows, clusters), *said, *dynamics.notes, *by_loss.notes],
        groups=group_means_of(rows, groups or {}, items),
        choice=choice,
        metric=conf.metric,
        decision=decision,
        same_within=conf.same_within,
        smallest_effect=conf.smallest_effect,
        two_stories=two_stories(fit, found.effects, shapes, choice, [choice.methods[0], "ols"]),
        over_loss=by_loss,
        predictions=with_forecasts(predict_ahead(found.planes, found.diagnostics, shapes), by_loss.forecasts),
        shapes=shapes,
        evidence=with_agreement(decision.tests, shapes),
        falls=falls,
        **_of_answers(rows, measured, shapes, items),
        clustered=clustered_errors(rows, items, clusters, conf.alpha),
        dynamics=replace(dynamics, divided=[]),
        parts=parts(dynamics.divided, falls, part_judge(conf, clusters)),
        item_effects=fit_items(fit, items, choice, conf.item_model, conf.item_model_most, clusters),
        **found.named,
        expected=compare_labels(conf.expected, conf.expected_over, shapes, found.size_shapes),
        expected_over=conf.expected_over,
        tuning=tuning_findings(every, conf, items, clusters, judge_curves),
    )


def _believed(
    table: pd.DataFrame, conf: AnalysisConf, finals: Mapping[str, int] | None, items: Items | None
) -> tuple[Prepared, Measured, StageSplit]:
    """The rows that are analysed, without those whose items contradict them, and what was done to get them.

    Args:
        table: As for `analyze_table`.
        conf: As there.
        finals: As there.
        items: As there.

    Raises:
        AnalysisError: no row is left.
    """
    prepared = prepare(table, conf.metric, finals, conf.same_within)
    measured = continuous_table(prepared.table, items)
    rows = without(prepared.table, prepared.table.index.isin(measured.disbelieved)).reset_index(drop=True)
    if rows.empty:
        raise AnalysisError("no result is left to analyse: " + " ".join(measured.notes))
    stages = split(rows, conf.fit_stages)
    return prepared, measured, stages._replace(notes=[*prepared.notes, *measured.notes, *stages.notes])


def _of_answers(rows: pd.DataFrame, measured: Measured, shapes: pd.DataFrame, items: Items | None) -> dict[str, Any]:
    """What continuous metrics and samples of the items say: three fields of `Findings`."""
    artefacts = of_curves_that_move(find_artefacts(rows, measured.table), shapes)
    return {"continuous": measured.table, "artefacts": artefacts, "samples": sample_variance(rows, items)}


def _told(failed: Sequence[str], coverage: Coverage, rows: pd.DataFrame, clusters: Clusters | None) -> Iterator[str]:
    """What was not scored, or not clustered, and which cells are missing."""
    yield from capped([f"Not scored: {why}" for why in failed])
    yield from coverage_sentences(coverage)
    yield from capped([f"Items not clustered: {why}." for why in unclustered(rows["task"].unique(), clusters)])


def choice_of(conf: AnalysisConf) -> RegressionSettings:
    """What the regression is to do."""
    return RegressionSettings(conf.params, conf.axis, conf.methods, conf.corrections, conf.alpha, conf.draws, conf.seed)


@stage("shapes and falls")
@on_one_core()
def decide_curves(
    rows: pd.DataFrame, conf: AnalysisConf, items: Items | None = None, clusters: Clusters | None = None
) -> Decision:
    """Which moves of the curves over training count.

    Args:
        rows: Of `Prepared.table`.
        conf: What to do: conf/analysis.
        items: Gives per-item results; None to do without.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
    """
    curves: CurveSet = over_training(rows, conf.axis)
    return decide(curves if items is None else on_the_same_items(curves, items, clusters), ShapeSettings.of(conf))


def judge_curves(
    rows: pd.DataFrame, conf: AnalysisConf, items: Items | None = None, clusters: Clusters | None = None
) -> tuple[Decision, pd.DataFrame, pd.DataFrame]:
    """`decide_curves`, the curves' shapes (`describe_shapes`) and their falls (`find_falls`)."""
    decision = decide_curves(rows, conf, items, clusters)
    shapes = describe_shapes(decision)
    return decision, shapes, find_falls(decision, shapes)


def part_judge(conf: AnalysisConf, clusters: Clusters | None = None) -> Judge:
    """Decides about the curves of parts as about those of tasks, by one decision for all that it is given.

    Args:
        conf: What to do: conf/analysis.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
    """

    def judge(table: pd.DataFrame, items: Items) -> tuple[pd.DataFrame, pd.DataFrame]:
        of_part = None if clusters is None else lambda part: clusters(task_of(part))
        _, shapes, falls = judge_curves(table, conf, items, of_part)
        return shapes, falls

    return judge
