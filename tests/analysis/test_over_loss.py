"""Values over loss: one curve or several, thresholds, forecasts; on made suites and on published curves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from over_loss_suites import FLOOR, MIDDLE, SLOPE, curve, law, made_suite
from scipy import stats
from test_run import conf

import evalrun
from conftest import make_table
from evalrun.checkpoints.suites.training_logs import read_log
from evalrun.config.loss_axis import loss_source
from evalrun.errors import AnalysisError, ConfigError
from evalrun.grid.logged_losses import losses_of_logs, state_of_logs
from evalrun.reporting.loss_section import came_true, over_loss
from evalrun.reporting.prediction_section import ahead
from evalrun.statistics.findings import Findings, analyze_table
from evalrun.statistics.over_loss.fitted_form import LAW, fit_law, fit_sigmoid, sigmoid
from evalrun.statistics.over_loss.fitted_form import law as log_law
from evalrun.statistics.over_loss.loss_findings import shapes_over_loss
from evalrun.statistics.over_loss.one_curve import (
    TaskOverLoss,
    clustered,
    knots_of,
    shared_losses,
    size_effect,
    spline,
    threshold,
)
from evalrun.statistics.over_loss.two_steps import TaskPlaces, fit_two_steps, hold_out
from evalrun.statistics.shapes.curves import over_training
from evalrun.statistics.shapes.decision import decide
from evalrun.statistics.shapes.labels import describe_shapes
from evalrun.statistics.shapes.thresholds import ShapeSettings


def analysed(table: pd.DataFrame, x: str | None = "loss:text", **settings: object) -> Findings:
    return analyze_table(table, conf(methods=["cr2"], items=False, x=x, draws=999, **settings), "made")


@pytest.fixture(scope="module")
def one() -> Findings:
    return analysed(made_suite(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def apart() -> Findings:
    return analysed(made_suite(np.random.default_rng(1), gap=-0.12))


def rows_of(table: pd.DataFrame) -> TaskOverLoss:
    fact, text = (table[table["task"] == task].reset_index(drop=True) for task in ("fact", "text"))
    size = np.log10(fact["n_params_nominal"].to_numpy())
    return TaskOverLoss(fact["value"].to_numpy(), text["value"].to_numpy(), size, np.full(len(fact), np.nan))


def places_of(table: pd.DataFrame) -> TaskPlaces:
    fact, text = (table[table["task"] == task].reset_index(drop=True) for task in ("fact", "text"))
    return TaskPlaces.of(fact.assign(loss=text["value"]), "n_params_nominal")


def test_sizes_that_collapse_and_sizes_that_do_not(one: Findings, apart: Findings) -> None:
    (same,), (other,) = (study.over_loss.curves.to_dict("records") for study in (one, apart))
    assert same["verdict"] == "one curve"
    assert same["sentence"].startswith("Fact: all sizes fall on one curve of loss, within 0.05 per tenfold")
    assert other["verdict"] == "depends on size"
    assert "larger models are worse" in other["sentence"]
    assert "inverse in size, whatever the loss" in other["sentence"]
    assert other["early_low"] < -0.12 < other["early_high"]
    assert other["late_low"] < -0.12 < other["late_high"]


def test_a_loss_that_rises_again_is_told(one: Findings) -> None:
    assert one.over_loss.notes == []
    table = made_suite(np.random.default_rng(1))
    text, sizes = table["task"] == "text", sorted(table["n_params_nominal"].unique())
    last = text & (table["n_params_nominal"] == sizes[0]) & (table["step"] == table["step"].max())
    table.loc[last, "value"] = table.loc[text, "value"].max()
    (note,) = analysed(table).over_loss.notes
    assert note.startswith(f"Over loss: in 1 of {len(sizes)} runs the loss (")
    assert "rises again after its least value, by up to " in note


def test_the_threshold_is_where_the_curve_leaves_chance(one: Findings) -> None:
    (row,) = one.over_loss.curves.to_dict("records")
    true = MIDDLE + np.log(0.6 / 0.05 - 1) / SLOPE
    assert row["threshold_low"] < true < row["threshold_high"]
    assert row["threshold"] == pytest.approx(true, abs=0.1)
    assert row["rise_low"] > 0.4
    high = threshold(TaskOverLoss(*[getattr(rows_of(one_table()), name) for name in FIELDS]), 0.1, 0.05, 0.05)
    assert not isinstance(high, str)
    assert high.note == "off chance at the highest loss already"


FIELDS = ("value", "loss", "size", "error")


def one_table() -> pd.DataFrame:
    return made_suite(np.random.default_rng(1))


def test_errors_are_cr2_by_its_definition() -> None:
    """(I - H_gg)^(-1/2) of each size's residuals (Bell & McCaffrey 2002), with whole matrices."""
    of = rows_of(made_suite(np.random.default_rng(2)))
    x = spline(of.loss, knots_of(of.loss))
    asked = np.vstack([x[0], x[-1] - x[0]])
    found = clustered(x, of.value, of.clusters, asked, 0.05)
    bread = np.linalg.inv(x.T @ x)
    fit = sm.OLS(of.value, x).fit()
    meat = np.zeros((x.shape[1], x.shape[1]))
    for group in np.unique(of.clusters):
        own = x[of.clusters == group]
        values, vectors = np.linalg.eigh(np.eye(len(own)) - own @ bread @ own.T)
        root = vectors @ np.diag(np.where(values > 1e-10, np.abs(values) ** -0.5, 0)) @ vectors.T
        score = own.T @ root @ fit.resid[of.clusters == group]
        meat += np.outer(score, score)
    np.testing.assert_allclose(found.estimate, asked @ fit.params, rtol=1e-8)
    np.testing.assert_allclose(found.stderr, np.sqrt(np.diag(asked @ bread @ meat @ bread @ asked.T)), rtol=1e-6)


def test_a_spline_is_a_partition_of_one_and_shared_losses_need_two_sizes() -> None:
    loss = np.linspace(2, 5, 60)
    np.testing.assert_allclose(spline(loss, knots_of(loss)).sum(axis=1), 1)
    size = np.repeat([7.0, 8.0], 30)
    assert shared_losses(TaskOverLoss(loss, loss, size, loss)) is None
    both = TaskOverLoss(loss, np.concatenate([np.linspace(3, 6, 30), np.linspace(2, 5, 30)]), size, loss)
    assert shared_losses(both) == (3.0, 5.0)
    assert size_effect(both, 0.05, 0.05) == "2 sizes at losses that others have too: too few"


def test_forms_find_their_parameters_and_know_their_gradients() -> None:
    loss = np.linspace(2, 5, 40)
    groups = np.repeat(np.arange(4), 10)
    found = fit_sigmoid(loss, curve(loss), groups, True)
    np.testing.assert_allclose(found.parameters, [FLOOR, 0.85, SLOPE, MIDDLE], rtol=1e-4)
    size, tokens = (np.tile(np.logspace(8, 9.5, 4), 10), np.repeat(np.logspace(9, 12, 10), 4))
    by_law = fit_law(np.log(size / 1e9), np.log(tokens / 1e10), law(size, tokens), np.tile(np.arange(4), 10))
    known = dict(zip(LAW, by_law.parameters, strict=True))
    assert [np.exp(known["A"]), known["a"], np.exp(known["B"]), known["b"], np.exp(known["E"])] == pytest.approx(
        [0.9, 0.3, 0.8, 0.25, 1.6], rel=1e-2
    )
    for form, at, place in ((sigmoid, found.parameters, loss[:3, None]), (log_law, by_law.parameters, [[0.3, 0.2]])):
        place = np.asarray(place)
        for number in range(len(at)):
            step = np.eye(len(at))[number] * 1e-6
            slope = (form(at + step, place)[0] - form(at - step, place)[0]) / 2e-6
            np.testing.assert_allclose(form(at, place)[1][:, number], slope, rtol=1e-5, atol=1e-8)


def test_a_new_sizes_variance_is_that_of_a_one_way_layout() -> None:
    """A floor alone is free: the moments are then those of the analysis of variance."""
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), 5)
    value = 0.5 + np.repeat(generator.normal(0, 0.02, 8), 5) + generator.normal(0, 0.01, 40)
    found = fit_sigmoid(np.linspace(2, 3, 40), value, groups, True)
    mean = type(found)(
        ("floor",), np.array([value.mean()]), value - value.mean(), np.ones((40, 1)), np.array([True]), groups,
        lambda p, place: (np.full(len(place), p[0]), np.ones((len(place), 1))),
    )  # fmt: skip
    within = float(np.var(value.reshape(8, 5), axis=1, ddof=1).mean())
    between = float(5 * np.var(value.reshape(8, 5).mean(axis=1), ddof=1))
    shared, own = mean._variances
    assert own == pytest.approx(within, rel=1e-6)
    assert shared == pytest.approx((between - within) / 5, rel=1e-6)


def test_forecasts_come_true_where_the_form_is_right_and_are_refused_where_it_is_not(
    one: Findings, apart: Findings
) -> None:
    held = one.over_loss.hold_out
    assert set(held["left_out"]) == {"the largest size", "the two largest sizes", "the last half of the largest run"}
    assert held["error"].abs().max() < 0.05
    by_place = one.over_loss.forecasts.set_index("ahead")
    true = curve(law(10**10.6, 10**11.5))
    assert by_place.loc["parameters", "low"] < true < by_place.loc["parameters", "high"]
    assert by_place.loc["parameters", "loss"] == pytest.approx(law(10**10.6, 10**11.5), rel=0.03)
    assert apart.over_loss.forecasts["value"].isna().all()
    assert apart.over_loss.forecasts["note"].str.startswith("no prediction: ").all()
    few = made_suite(np.random.default_rng(1), sizes=3)
    assert fit_two_steps(places_of(few)) == "3 sizes: the law of loss needs 4"
    assert hold_out(places_of(made_suite(np.random.default_rng(1), sizes=4)), 0.05, 99, 0)["left_out"].tolist() == [
        "the last half of the largest run"
    ]


def test_what_is_sudden_in_tokens_and_gradual_in_loss_and_the_reverse() -> None:
    """A loss that falls at once, late, and a value in proportion to it; a steady loss, and a value that jumps."""
    generator, rows = np.random.default_rng(6), []
    falls = [3.0, 2.995, 2.99, 2.985, 2.98, 2.975, 2.97, 2.965, 2.3, 2.0]
    steady = np.linspace(3, 2, 10)
    for number, size in enumerate((1e8, 1e9, 1e10)):
        for task, losses in (("late", falls), ("steady", steady)):
            for step, loss in enumerate(losses):
                value = 0.25 + 0.4 * (3 - loss) if task == "late" else 0.25 + 0.4 * (step >= 8)
                place = {"suite": "made", "model": f"m{number}", "n_params_nominal": size, "n_params": size}
                place |= {"step": 2**step, "tokens": 1e6 * 2**step, "task": task, "title": task, "loss": loss}
                rows.append(place | {"value": value + generator.normal(0, 0.002), "stderr": 0.004})
    table = make_table(rows).assign(loss=[row["loss"] for row in rows])
    settings = ShapeSettings.of(conf())
    over_tokens = describe_shapes(decide(over_training(table), settings))
    labels = [
        of.groupby("task")["label"].unique().map(list).to_dict()
        for of in (over_tokens, shapes_over_loss(table, settings))
    ]
    assert labels == [{"late": ["emergent"], "steady": ["emergent"]}, {"late": ["positive"], "steady": ["emergent"]}]


def test_the_page_shows_it_and_one_model_answers_for_each_task(one: Findings) -> None:
    section, truth, plane = over_loss(one), came_true(one), ahead(one)
    assert section is not None
    assert section.title == "Over loss: Text, loss"
    assert section.rows[0][4].text == "one curve"
    assert section.pictures[0].said[0] == "All sizes fall on one curve of loss in 1 of 1 task: Fact."
    assert truth is not None
    assert len(truth.rows) == 4
    assert plane is not None
    by_task = {row[0].text: row[3].text for row in plane.rows}
    assert by_task["Fact"] == "loss"
    without = analysed(one_table(), x=None)
    assert over_loss(without) is None
    assert came_true(without) is None
    assert without.over_loss.curves.empty


def test_a_report_has_its_tables_and_figures(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n" + "\n".join(f"{s},{3 - 0.1 * s}" for s in range(1, 11)))
    for x, name in (
        ("loss:text", "Over loss: Text, loss"),
        (f"log:{tmp_path}/log.csv", "Over loss: loss of the training"),
    ):
        page = evalrun.report(
            one_table(), tmp_path / "out", x=x, items=False, methods=["cr2"], draws=99, root=workspace
        )
        assert name in page.read_text()
        curves = pd.read_csv(page.parent / "tables" / "over_loss.csv")
        assert "fact" in curves["task"].tolist()
        for made in ("tables/over_loss_points.csv", "tables/over_loss_hold_out.csv", "figures/over_loss.svg"):
            assert (page.parent / made).stat().st_size > 500


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("loss:txt", "analysis.x is 'loss:txt', but the results have no task 'txt': did you mean 'text'?"),
        ("loss:text:los", "analysis.x is 'loss:text:los', but text has no metric 'los': did you mean 'loss'?"),
        ("loss:fact", "whose acc is better the higher it is: name a loss"),
        ("tokens", "analysis.x is 'tokens': write loss:TASK"),
    ],
)
def test_wrong_names_end_in_one_sentence(x: str, said: str) -> None:
    with pytest.raises(AnalysisError, match=r"^[^\n]*$") as error:
        analysed(one_table(), x=x)
    assert said in str(error.value)


def test_public_face(one: Findings) -> None:
    """One function predicts: by loss where a loss is given, else by the plane; the column says which it was."""
    table = one_table()
    found = evalrun.over_loss(table, "loss:text", draws=999)
    pd.testing.assert_frame_equal(found.curves, one.over_loss.curves)
    told = evalrun.predict(table, 10**10.6, 10**11.5, x="loss:text", draws=999)
    true = curve(law(10**10.6, 10**11.5))
    assert told["method"].tolist() == ["loss"]
    assert told["low"].iloc[0] < true < told["high"].iloc[0]
    assert told["note"].str.contains("the hold-out reached").all()
    assert set(evalrun.predict(table, 1e9, 1e10)["method"]) == {"mixed"}
    with pytest.raises(AnalysisError, match="above 0, not 0 and"):
        evalrun.predict(table, 0, 1e8, x="loss:text")
    with pytest.raises(AnalysisError, match="is of tokens, not of flops"):
        evalrun.predict(table, 1e9, 1e20, x="loss:text", axis="flops")
    with pytest.raises(ConfigError, match=r'give x="loss:TASK"'):
        evalrun.predict(table, 1e9, 1e10, method="loss")


def test_losses_of_training_logs(tmp_path: Path) -> None:
    table = made_suite(np.random.default_rng(4), sizes=4, steps=8)
    losses = table[table["task"] == "text"]
    for model, own in losses.groupby("model"):
        history = [{"step": s, "eval_loss": v} for s, v in zip(own["step"], own["value"], strict=True)]
        folder = tmp_path / str(model) / "checkpoint-8"
        folder.mkdir(parents=True)
        state = {"log_history": [*history, {"step": 1, "lr": 0.1}, {"step": 500, "eval_loss": 9.9}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    x = f"log:{tmp_path}/{{model}}:eval_loss"
    found = losses_of_logs(x, table)
    assert found is not None
    assert found["loss"].tolist() == pytest.approx(losses["value"].tolist())
    assert len(state_of_logs(x)) == 4
    study = analyze_table(
        table[table["task"] == "fact"], conf(methods=["cr2"], items=False, x=x, draws=99), "m", logged=found
    )
    assert study.over_loss.name == "eval_loss of the training log"
    assert len(study.over_loss.rows) == 32
    with pytest.raises(AnalysisError, match="has no column 'eval_los': did you mean 'eval_loss'"):
        losses_of_logs(x.replace("eval_loss", "eval_los"), table)
    with pytest.raises(AnalysisError, match=r"there is no training log .*nowhere"):
        losses_of_logs(f"log:{tmp_path}/nowhere.csv", table)
    (tmp_path / "log.csv").write_text("step,loss\n100,3.0\n104,3.2\n200,\n300,x\n")
    with pytest.raises(AnalysisError, match="says loss 'x' at step 300, which is no number"):
        read_log(tmp_path / "log.csv", "loss")
    (tmp_path / "log.csv").write_text("step\tloss\n100\t3.0\n104\t3.2\n200\t\n")
    near = losses_of_logs(f"log:{tmp_path}/log.csv", table.assign(step=100))
    assert near is not None
    assert near["loss"].iloc[0] == pytest.approx(3.1)  # what was logged nearby is averaged
    (tmp_path / "log.csv").write_text("step,loss\n98,0.0\n100,3.0\n104,3.2\n")
    near = losses_of_logs(f"log:{tmp_path}/log.csv", table.assign(step=100))
    assert near is not None
    assert near["loss"].iloc[0] == pytest.approx(3.1)  # 0.0 is how a Trainer logs NaN


def test_where_a_loss_is_read() -> None:
    log, task = loss_source("log:runs/{model}/log.csv:eval_loss"), loss_source("loss:wiki:bits_per_byte")
    assert log is not None
    assert task is not None
    assert (log.name, log.of) == ("runs/{model}/log.csv", "eval_loss")
    assert (task.name, task.of) == ("wiki", "bits_per_byte")
    assert loss_source("loss:") is None
    assert loss_source("c4") is None


def test_the_published_ladder() -> None:
    """C4 loss of 3,507 checkpoints: one sigmoid a task; what 7B and 13B reach is forecast, or seen not to be."""
    shared = Path(os.environ.get("EVALRUN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    file = shared / "data" / "curves" / "olmo_ladder_curves.tsv.gz"
    if not file.exists():
        pytest.skip(f"the published curves are not at {file}; set EVALRUN_SHARED to the folder that has them")
    table = pd.read_csv(file, sep="\t")
    table = table[~table["run"].str.contains("medlr") & table["loss_c4_en"].notna() & (table["step"] > 0)]
    head = table["run"].str.extract(r"^([^-_]+)")[0]
    known = {"190M": 1.9e8, "370M": 3.7e8, "760M": 7.6e8, "1B": 1.3e9, "3B": 3.2e9, "peteish7": 7e9, "peteish13": 13e9}
    a_step = head.map({"peteish7": 4194304, "peteish13": 8388608})
    table = table.assign(size=head.map(known), tokens=table["tokens"].fillna(table["step"] * a_step))
    scatter, worst, largest = {}, {}, {}
    for name in ("hellaswag_val", "piqa_val", "winogrande_val", "boolq_val", "arc_challenge_test"):
        own = table.dropna(subset=[f"acc_{name}"])
        of = TaskPlaces(
            own["run"].to_numpy(),
            *(own[c].to_numpy(dtype=float) for c in ("size", "tokens", "loss_c4_en", f"acc_{name}")),
        )
        small = own["size"] < 5e9
        groups = np.unique(of.size[small], return_inverse=True)[1]
        fitted = fit_sigmoid(of.loss[small], of.value[small], groups, True)
        scatter[name] = fitted.sd
        largest[name] = fitted.at(own.loc[own["run"].str.startswith("peteish7"), ["loss_c4_en"]].to_numpy()[-1])[0]
        held = hold_out(of, 0.05, 99, 0)
        worst[name] = held["error"].abs().max()
    assert scatter["hellaswag_val"] == pytest.approx(0.007, abs=0.001)
    assert scatter["piqa_val"] == pytest.approx(0.006, abs=0.001)
    assert largest["hellaswag_val"] == pytest.approx(0.797, abs=0.002)
    assert worst["hellaswag_val"] < 0.02
    assert worst["piqa_val"] < 0.02
    assert min(worst[name] for name in ("winogrande_val", "boolq_val", "arc_challenge_test")) > 0.05


@pytest.mark.simulation
def test_level_of_the_test_of_size_and_coverage_of_forecasts() -> None:
    generator, draws = np.random.default_rng(5), 300
    rejected = plain = held = 0
    for _ in range(draws):
        table = made_suite(generator, sizes=[*np.logspace(7.85, 9.6, 6), 10**10.6], spread=0.01, noise=0.01)
        seen = table["n_params_nominal"] < 1e10
        of = rows_of(table[seen])
        effect = size_effect(of, 0.05, 0.05)
        assert not isinstance(effect, str)
        rejected += effect.p < 0.05
        x = spline(of.loss, knots_of(of.loss))
        with_size = np.column_stack([x, of.size, of.size * of.loss])
        left = [
            float(((of.value - one @ np.linalg.lstsq(one, of.value, rcond=None)[0]) ** 2).sum())
            for one in (x, with_size)
        ]
        f = (left[0] - left[1]) / 2 / (left[1] / (len(of.value) - with_size.shape[1]))
        plain += stats.f.sf(f, 2, len(of.value) - with_size.shape[1]) < 0.05
        fitted = fit_two_steps(places_of(table[seen]))
        assert not isinstance(fitted, str)
        new = table[~seen & (table["task"] == "fact")].iloc[-1]
        told = fitted.at(float(new["n_params_nominal"]), float(new["tokens"]), 0.05, 999, 0)
        held += told.low <= new["value"] <= told.high
    print(f"rejected {rejected / draws:.3f}, by F without clusters {plain / draws:.3f}; held {held / draws:.3f}")
    assert rejected / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert plain / draws > 0.3  # checkpoints of one size are not independent
    assert held / draws > 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws)
