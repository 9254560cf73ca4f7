import pandas as pd
from made_study import summary
from shaping import conf_of, describe_shapes, shapes_over_size

from evalrun.reporting.highlights import examples
from evalrun.statistics.findings import analyze_table

FALL, RISE, FLAT = [0.9, 0.7, 0.5, 0.3, 0.1], [0.1, 0.3, 0.5, 0.7, 0.9], [0.5] * 5
TURN = [0.9, 0.5, 0.1, 0.5, 0.9]


def found(tidy, *curves):
    """Examples of curves: (values, task, model, more)."""
    made = [
        tidy.curve(values, task=task, title=task.title(), model=model, **{"role": "", "stderr": 0.01, **more})
        for values, task, model, more in curves
    ]
    table = pd.concat(made, ignore_index=True)
    return [(e.task, e.heading, e.sentence) for e in examples(table, describe_shapes(table))]


def test_the_task_that_falls_in_most_models_beside_the_one_that_rises_in_most(tidy):
    assert found(
        tidy,
        *((FALL, "a", "tiny-s", {}), (FLAT, "a", "tiny-l", {})),
        *((FALL, "b", "tiny-s", {}), (TURN, "b", "tiny-l", {})),
        *((RISE, "c", "tiny-s", {}), (FLAT, "c", "tiny-l", {})),
    ) == [
        ("b", "Worse with training", "It gets worse with training in both models, and comes back in tiny-l."),
        ("c", "Better with training", "It gets better with training in 1 of 2 models."),
    ]


def test_a_control_task_is_no_example_of_a_fall(tidy):
    shown = found(tidy, (FALL, "a", "tiny-s", {"role": "control"}), (FALL, "b", "tiny-s", {}))
    assert [task for task, *_ in shown] == ["b"]
    assert found(tidy, (FALL, "a", "tiny-s", {"role": "control"})) == []


def test_a_task_of_a_handful_of_items_opens_only_where_no_other_moves_so_and_says_it(tidy):
    few = {"n": 4, "stderr": 0.001}
    shown = found(
        tidy,
        *((FALL, "few", "tiny-s", few), (FALL, "few", "tiny-l", few)),
        *((FALL, "many", "tiny-s", {}), (FLAT, "many", "tiny-l", {})),
        *((RISE, "scarce", "tiny-s", {**few, "n": 1}), (FLAT, "scarce", "tiny-l", {**few, "n": 1})),
    )
    assert shown == [
        ("many", "Worse with training", "It gets worse with training in 1 of 2 models."),
        ("scarce", "Better with training", "It gets better with training in 1 of 2 models, on 1 item alone."),
    ]
    uncounted = found(tidy, (FALL, "a", "tiny-s", {"n": float("nan")}))
    assert uncounted == [("a", "Worse with training", "It gets worse with training in the only model.")]


def test_the_largest_fall_that_is_told_is_of_a_task_with_items_enough(tidy):
    def told(many: int) -> str:
        curves = [
            tidy.curve(values, task=task, title=task.title(), model="tiny-s", stderr=0.001, n=n)
            for values, task, n in (([0.9, 0.5, 0.1, 0.1, 0.1], "few", 4), ([0.9, 0.8, 0.6, 0.5, 0.5], "other", many))
        ]
        study = analyze_table(pd.concat(curves, ignore_index=True), conf_of(items=False, methods=["ols"]), "made")
        return next(sentence for sentence in summary(study) if "The largest such fall" in sentence)

    assert told(600).startswith("2 of 2 curves (1 of the 2 on fewer than 20 items) fall after a peak")
    assert "The largest such fall: Other in tiny-s" in told(600)
    assert "alone" not in told(600)
    assert told(12).startswith("2 of 2 curves fall after a peak")
    assert "The largest such fall: Few in tiny-s" in told(12)
    assert told(12).endswith(", on 4 items alone.")


def test_where_nothing_moves_there_is_no_opening(tidy):
    assert found(tidy, (FLAT, "a", "tiny-s", {}), (FLAT, "a", "tiny-l", {})) == []


def test_seeds_are_counted_as_training_runs(tidy):
    ((_, _, sentence),) = found(tidy, *((RISE, "a", "tiny-s", {"seed": seed}) for seed in (1, 2, 3)))
    assert sentence == "It gets better with training in all 3 training runs."


def test_a_shape_of_some_seeds_is_not_the_models(tidy):
    curves = [(TURN if seed == 1 else FALL, "a", "tiny-s", {"seed": seed}) for seed in (1, 2, 3)]
    ((_, _, sentence),) = found(tidy, *curves)
    assert sentence == "It gets worse with training in all 3 training runs, and comes back in tiny-s (1 of 3 seeds)."


def test_a_single_model(tidy):
    ((_, _, sentence),) = found(tidy, (RISE, "a", "tiny-s", {}))
    assert sentence == "It gets better with training in the only model."
    ((_, _, sentence),) = found(tidy, (TURN, "a", "tiny-s", {}))
    assert sentence == "It gets worse with training in the only model, and comes back."


def test_a_rise_with_a_dip_is_no_fall_and_an_inverted_u_is(tidy):
    """Labels and opening agree on what gets worse."""
    shown = found(
        tidy,
        ([0.02, 0.10, 0.50, 0.98, 0.72, 0.95, 1, 1], "a", "tiny-s", {}),
        ([0.3, 0.5, 0.8, 0.8, 0.5, 0.3, 0.2, 0.1], "b", "tiny-s", {}),
    )
    assert [(task, heading) for task, heading, _ in shown] == [
        ("b", "Worse with training"),
        ("a", "Better with training"),
    ]


def test_where_models_have_one_checkpoint_the_opening_is_over_size(tidy):
    falls, swings = [0.9, 0.8, 0.6, 0.4], [0.9, 0.1, 0.9, 0.85]
    rows = [
        {"task": task, "title": task.title(), "model": f"m{i}", "n_params_nominal": 10**i, "step": 8, "value": value}
        for task, values in (("falls", falls), ("swings", swings), ("rises", falls[::-1]))
        for i, value in enumerate(values)
    ]
    table = tidy.table(rows).assign(role="")
    shown = examples(table, shapes_over_size(table, "nominal"), "size")
    assert [(e.task, e.heading, e.sentence) for e in shown] == [
        (
            "falls",
            "Worse with size",
            "It gets worse with size: at step 8: falls from 0.90 (m0) to 0.40 (m3): inverse.",
        ),
        (
            "rises",
            "Better with size",
            "It gets better with size: at step 8: rises from 0.40 (m0) to 0.90 (m3): positive.",
        ),
    ]
