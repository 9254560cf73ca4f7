"""Steps in names: every published suite's pattern, folders of training runs, and names that say nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.config import step_names
from evalrun.errors import ConfigError

PATTERNS = [
    "step{step}",
    "step{step}-tokens{tokens}",
    "stage1-step{step}-tokens{tokens}",
    "step-{step}",
    "global_step{step}",
    "ckpt_{step:03d}",
    "stage1-step-{step}",
    "step{step}-seed-{seed}",
    "step{step}-seed-default",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_suites_pattern_can_name_steps(pattern: str) -> None:
    assert step_names.pattern_problem(pattern, "checkpoint.revision") is None


@given(st.sampled_from([p for p in PATTERNS if "tokens" not in p]), st.integers(0, 10**6), st.integers(0, 9))
def test_what_a_pattern_writes_it_reads(pattern: str, step: int, seed: int) -> None:
    (found,) = step_names.matching([pattern.format(step=step, seed=seed)], pattern, seed)
    assert found.step == step


@given(st.integers(0, 10**6), st.integers(0, 9999))
def test_tokens_are_read_from_the_name(step: int, billions: int) -> None:
    names = [f"step{step}-tokens{billions}B", f"stage2-ingredient1-step{step}-tokens{billions}B", "main"]
    (found,) = step_names.matching(names, "step{step}-tokens{tokens}")
    assert (found.step, found.tokens) == (step, billions * 10**9)


@given(st.lists(st.integers(0, 10**7), unique=True, max_size=20), st.lists(st.text(max_size=12), max_size=10))
def test_other_revisions_are_passed_over(steps: list[int], noise: list[str]) -> None:
    noise = [name for name in noise if not name.startswith("step")]
    names = [*(f"step{step}" for step in steps), *noise, "main", "step", "stepx", "step1-rc", "xstep1"]
    assert [found.step for found in step_names.matching(names, "step{step}")] == sorted(steps)


def test_another_seeds_revisions_are_passed_over() -> None:
    found = step_names.matching(["step1-seed-1", "step1-seed-2", "step2-seed-1"], "step{step}-seed-{seed}", 1)
    assert [one.name for one in found] == ["step1-seed-1", "step2-seed-1"]


def test_two_names_of_one_step() -> None:
    with pytest.raises(ConfigError, match=r"two checkpoints of step 1, 'step01' and 'step1'"):
        step_names.matching(["step1", "step01"], "step{step}")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("main", "must hold {step} once"),
        ("step{step}-{step}", "must hold {step} once"),
        ("step{stp}", "not {stp}"),
        ("step{step}-tokens{tokens}B", "leave that out"),
        ("step{step", "braces do not match"),
    ],
)
def test_a_pattern_that_names_no_steps(pattern: str, said: str) -> None:
    assert said in str(step_names.pattern_problem(pattern, "checkpoint.folder"))


@pytest.mark.parametrize(
    ("name", "step", "tokens"),
    [
        ("checkpoint-500", 500, None),
        ("step100", 100, None),
        ("step_100", 100, None),
        ("global_step100", 100, None),
        ("iter_0000100", 100, None),
        ("100", 100, None),
        ("epoch-3", 3, None),
        ("ckpt_012", 12, None),
        ("step1000-tokens4B", 1000, 4 * 10**9),
        ("pythia-70m-step100", 100, None),
        ("model_step_1000_loss_2.31", 1000, None),
    ],
)
def test_a_folder_says_its_step(name: str, step: int, tokens: int | None) -> None:
    (found,) = step_names.parse_numbered_names([name])
    assert (found.step, found.tokens) == (step, tokens)


@pytest.mark.parametrize("name", ["runs", "logs", "tmp-checkpoint-500", ".cache1", "v1.2", "2024-05-01", "_step1"])
def test_a_folder_that_says_none(name: str) -> None:
    assert step_names.parse_numbered_names([name]) == []


@given(
    st.sampled_from(["checkpoint-{}", "step{}", "global_step{}", "{}", "iter_{:07d}"]), st.sets(st.integers(0, 10**6))
)
def test_one_runs_folders_are_one_family(shape: str, steps: set[int]) -> None:
    found = step_names.parse_numbered_names([shape.format(step) for step in steps])
    assert [one.step for one in found] == sorted(steps)
    assert len({one.family for one in found}) <= 1


@pytest.mark.parametrize(("text", "tokens"), [("4B", 4 * 10**9), ("1.5T", 15 * 10**11), ("30m", 3 * 10**7), ("17", 17)])
def test_tokens_in_words(text: str, tokens: int) -> None:
    assert step_names.tokens_of(text) == tokens


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step-1k", "step-2k", "step-10k"], [1000, 2000, 10000]),
        (["step-500", "step-1k", "step-1.5k"], [500, 1000, 1500]),
        (["ckpt-500", "ckpt-1e3", "ckpt-2.5e4"], [500, 1000, 25000]),
        (["step900", "step1_000", "step12_000"], [900, 1000, 12000]),
        (["iter-900", "iter-1,000"], [900, 1000]),
        (["500steps", "1000steps"], [500, 1000]),
        (["epoch=3-step=500.ckpt", "epoch=7-step=1000.ckpt"], [500, 1000]),
        (["ep0-ba500", "ep1-ba1000"], [500, 1000]),
        (["run_1M", "run_5M", "run_20M"], [1, 5, 20]),
        (["run_900K", "run_1M", "run_2B"], [900_000, 1_000_000, 2_000_000_000]),
        (["0001B", "0010B"], [1, 10]),
        (["checkpoint-1M", "checkpoint-2M"], [1, 2]),
        (["2031-12-24-step10", "2031-12-25-step20"], [10, 20]),
        (["step0", "step3"], [0, 3]),
    ],
)
def test_a_unit_behind_a_number_keeps_the_order(names: list[str], steps: list[int]) -> None:
    found = step_names.parse_numbered_names(reversed(names))
    assert [(one.step, one.name) for one in found] == list(zip(steps, names, strict=True))
    assert len({one.family for one in found}) == 1
    assert {one.unit for one in found} == {"steps"}


@pytest.mark.parametrize(
    ("name", "step", "unit", "tokens"),
    [
        ("samples_500", 500, "samples", None),
        ("checkpoint-500-samples", 500, "samples", None),
        ("2k examples", 2000, "samples", None),
        ("tokens_5000", 5000, "tokens", 5000),
        ("500M tokens", 500, "tokens", 500 * 10**6),
        ("tok-2B", 2, "tokens", 2 * 10**9),
        ("epoch_4", 4, "epochs", None),
        ("epoch_4_step_80", 80, "steps", None),
        ("step80-tokens4B", 80, "steps", 4 * 10**9),
        ("20311224-step500", 500, "steps", None),
    ],
)
def test_a_name_says_what_it_counts(name: str, step: int, unit: str, tokens: int | None) -> None:
    (found,) = step_names.parse_numbered_names([name])
    assert (found.step, found.unit, found.tokens, found.whole) == (step, unit, tokens, True)


@pytest.mark.parametrize("name", ["step1.5", "epoch-0.5", "step-2.0005k"])
def test_a_fraction_is_no_step(name: str) -> None:
    (found,) = step_names.parse_numbered_names([name])
    assert not found.whole


_SPELT = {
    "plain": str,
    "thousands": lambda n: f"{Decimal(n) / 1000:f}k",
    "exponent": lambda n: f"{n}e0",
    "underscores": lambda n: f"{n:_}",
    "padded": "{:07d}".format,
}


@given(
    st.sampled_from(["step-{}", "iter_{}", "global_step{}", "checkpoint-{}", "run-7b-step{}-hf"]),
    st.dictionaries(st.integers(0, 10**6), st.sampled_from(sorted(_SPELT)), min_size=1, max_size=8),
)
def test_however_steps_are_spelt_their_order_is_right(shape: str, spelt: dict[int, str]) -> None:
    names = {step: shape.format(_SPELT[how](step)) for step, how in spelt.items()}
    found = step_names.parse_numbered_names(names.values())
    assert {one.step: one.name for one in found} == names or any(
        how == "{}k" and n >= 10**6 for n, how in spelt.items()
    )
    assert len({one.family for one in found}) == 1
