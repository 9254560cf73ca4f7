"""The table at the end of a sweep: curves in characters."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from evalrun.commands.summary.curve_values import TaskCurve, _several
from evalrun.commands.summary.group_values import Value, group_values, outline
from evalrun.commands.summary.render import lines
from evalrun.commands.summary.sparkline import Scale, marks, scale_of
from evalrun.core.task_group import TaskGroup

NAN = math.nan
UNIT = Scale(0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.04, 0.98], Scale(0.0, 1.0)),
        ([0.5, 0.52, NAN], Scale(0.5, 0.7)),
        ([0.97, 1.0], Scale(0.8, 1.0)),
        ([0.3, 0.6], Scale(0.3, 0.6)),
        ([12.5, 480.0], Scale(12.5, 480.0)),
        ([-2.0, -1.0], Scale(-2.0, -1.0)),
    ],
)
def test_a_scale_holds_all_values_and_makes_no_mountains_of_noise(values: list[float], scale: Scale) -> None:
    found = scale_of(values)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(scale.low), pytest.approx(scale.high))


def test_marks() -> None:
    assert scale_of([NAN]) is None
    assert marks([0.0, 0.13, 0.26, 0.38, 0.51, 0.63, 0.76, 1.0], 20, UNIT, "utf-8") == "▁▂▃▄▅▆▇█"
    assert marks([0.0, NAN, 1.0], 20, UNIT, "utf-8") == "▁·█"
    assert marks([0.0, NAN, 1.0], 20, UNIT, "ascii") == "_ #"
    assert marks([5.0, 5.0], 20, Scale(5.0, 5.0), "utf-8") == "▅▅"
    sampled = marks([0.0, *[0.5] * 152, 1.0], 12, UNIT, "utf-8")
    assert (len(sampled), sampled[0], sampled[-1]) == (12, "▁", "█"), "the first and the last are among them"


def test_a_small_study_side_by_side() -> None:
    rise, fall = (0.1, 0.4, 0.8, 0.95), (0.9, 0.6, 0.3, 0.12)
    curves = [
        TaskCurve(task, model, "acc", values)
        for model in ("tiny-s", "tiny-m") for task, values in (("recall", rise), ("obey", fall))
    ]  # fmt: skip
    assert lines(curves, 80, "utf-8") == [
        "acc at the 4 steps, then its last value; each task on its own scale:",
        "",
        "task    scale         tiny-s     tiny-m",
        "recall  0.10 to 1.00  ▁▃▇█ 0.95  ▁▃▇█ 0.95",
        "obey    0.10 to 0.90  █▆▂▁ 0.12  █▆▂▁ 0.12",
    ]


def test_groups_stand_above_what_they_hold() -> None:
    groups = {
        "outer": TaskGroup("outer", "Outer", ("inner", "c", "lone"), {"acc": True}),
        "inner": TaskGroup("inner", "Inner", ("a", "b")),
        "lone": TaskGroup("lone", "Lone", ("d",)),
    }
    assert outline(["x", "a", "b", "c", "d", "y"], groups) == {
        "x": 0, "outer": 0, "inner": 1, "a": 2, "b": 2, "c": 1, "d": 1, "y": 0,
    }  # fmt: skip
    twice = {"one": TaskGroup("one", "One", ("a", "b")), "two": TaskGroup("two", "Two", ("b", "a"))}
    assert outline(["a", "b"], twice) == {"one": 0, "a": 1, "b": 1, "two": 0}  # its tasks are above, its mean is not
    assert outline(["a", "b"], {"more": TaskGroup("more", "More", ("two", "c")), **twice}).keys() >= {"one", "two"}
    results = {"a": Value("acc", 0.2, 10), "b": Value("acc", 0.6, 30), "c": Value("acc", 1.0, 10)}
    assert group_values(results, groups) == {"inner": Value("acc", pytest.approx(0.4), 40)}  # d has no result
    results["d"] = Value("acc", 0.0, 50)
    assert group_values(results, groups)["outer"] == Value("acc", pytest.approx(0.3), 100)
    assert group_values(results | {"b": Value("mc2", 0.6, 30)}, groups) == {}
    curves = [
        TaskCurve("outer", "m", "acc", (0.3, 0.5), depth=0, tasks=4),
        TaskCurve("inner", "m", "acc", (0.4, 0.6), depth=1, tasks=2),
        TaskCurve("a", "m", "acc", (0.2, 0.4), depth=2),
    ]
    assert lines(curves, 80, "utf-8") == [
        "acc at the 2 steps, then its last value; each task on its own scale; groups have",
        "the mean of their tasks:",
        "",
        "task                 scale         m",
        "outer (mean of 4)    0.30 to 0.50  ▁█ 0.50",
        "  inner (mean of 2)  0.40 to 0.60  ▁█ 0.60",
        "    a                0.20 to 0.40  ▁█ 0.40",
    ]


def test_the_papers_grid_fits_120_columns_and_60() -> None:
    sizes = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
    tasks = [f"a_task_with_a_name_of_{i:02d}" for i in range(12)]
    curves = [
        TaskCurve(task, f"pythia-{size}", "acc", tuple(0.5 + 0.4 * math.sin(k / 20 + len(size)) for k in range(154)))
        for size in sizes for task in tasks
    ]  # fmt: skip
    for width, parts in ((120, 2), (60, 8), (240, 1)):
        told = lines(curves, width, "utf-8")
        assert all(len(line) <= width for line in told), width
        assert sum(line.startswith("task ") for line in told) == parts
        assert " ".join(told).count("pythia-12b") == 1
        assert "of 154 steps" in " ".join(told)


def test_long_names_fit_too() -> None:
    task, model = "a_task_with_a_very_long_name_that_goes_on_and_on_by_gpt_4", "a-run-of-many-words-" * 4
    curves = [TaskCurve(f"{task}_{i}", f"{model}{i}", "acc", (0.1, 0.9)) for i in range(2)]
    for width in (60, 80):
        told = lines(curves, width, "utf-8")
        assert max(map(len, told)) <= width
        assert all(any(f"{end}_{i}  " in line for line in told) for i, end in enumerate(["gpt_4"] * 2))


def test_gaps_other_metrics_and_absent_models() -> None:
    curves = [
        TaskCurve("alpha", "s", "acc", (0.5, NAN, 0.7)),
        TaskCurve("lambada", "s", "perplexity", (480.0, 90.0, 12.5)),
        TaskCurve("alpha", "m", "acc", (NAN, NAN, NAN)),
    ]
    told = lines(curves, 100, "utf-8")
    assert (
        told[0] == "the primary metric at the 3 steps, then its last value; each task on its own scale; · = no result:"
    )
    assert told[3:] == [
        "alpha (acc)             0.50 to 0.70  ▁·█ 0.70  ···",
        "lambada (perplexity ↓)  12.5 to 480   █▂▁ 12.5",
    ]
    assert lines([], 100, "utf-8") == []
    assert lines(curves[:1], 100, "ascii")[0].endswith("blank = no result:")


def test_several_training_seeds_are_said() -> None:
    curves = [TaskCurve("alpha", "s", "acc", (0.5, 0.6), seeds=3)]
    assert lines(curves, 80, "utf-8")[0].startswith(
        "acc (mean of 3 training seeds) at the 2 steps, then its last value"
    )


def test_a_model_is_told_by_its_name_and_by_what_its_own_jobs_differ_in() -> None:
    def job(model: str, *overrides: str) -> SimpleNamespace:
        return SimpleNamespace(cell=SimpleNamespace(model=model), overrides=("model=local", *overrides))

    def told(jobs: list[SimpleNamespace]) -> list[list[str]]:
        return [_several(jobs)(one) for one in jobs]  # type: ignore[arg-type]

    runs = [job(name, f"model.path=runs/{name}", step) for name in "ab" for step in ("step=1", "step=2")]
    assert told(runs) == [[]] * 4
    shots = [job(name, f"model.path=runs/{name}", f"num_fewshot={n}") for name in "ab" for n in (0, 5)]
    assert told(shots) == [["num_fewshot=0"], ["num_fewshot=5"]] * 2


def test_one_step_is_a_number() -> None:
    curves = [TaskCurve("alpha", "s", "acc", (0.5,)), TaskCurve("beta", "s", "acc", (0.25,))]
    assert lines(curves, 80, "utf-8") == ["acc:", "", "task   s", "alpha  0.50", "beta   0.25"]


def test_a_terminal_without_arrows_says_it_in_words() -> None:
    told = lines([TaskCurve("text", "s", "bits_per_byte", (2.0, 1.5))], 100, "ascii")
    assert told[0].startswith("bits_per_byte, less is better at the 2 steps")
