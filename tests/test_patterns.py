"""Steps in names: every published suite's pattern, folders of training runs, and names that say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun import patterns
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
    assert patterns.pattern_problem(pattern, "checkpoint.revision") is None


@given(st.sampled_from([p for p in PATTERNS if "tokens" not in p]), st.integers(0, 10**6), st.integers(0, 9))
def test_what_a_pattern_writes_it_reads(pattern: str, step: int, seed: int) -> None:
    (found,) = patterns.matching([pattern.format(step=step, seed=seed)], pattern, seed)
    assert found.step == step


@given(st.integers(0, 10**6), st.integers(0, 9999))
def test_tokens_are_read_from_the_name(step: int, billions: int) -> None:
    names = [f"step{step}-tokens{billions}B", f"stage2-ingredient1-step{step}-tokens{billions}B", "main"]
    (found,) = patterns.matching(names, "step{step}-tokens{tokens}")
    assert (found.step, found.tokens) == (step, billions * 10**9)


@given(st.lists(st.integers(0, 10**7), unique=True, max_size=20), st.lists(st.text(max_size=12), max_size=10))
def test_other_revisions_are_passed_over(steps: list[int], noise: list[str]) -> None:
    noise = [name for name in noise if not name.startswith("step")]
    names = [*(f"step{step}" for step in steps), *noise, "main", "step", "stepx", "step1-rc", "xstep1"]
    assert [found.step for found in patterns.matching(names, "step{step}")] == sorted(steps)


def test_another_seeds_revisions_are_passed_over() -> None:
    found = patterns.matching(["step1-seed-1", "step1-seed-2", "step2-seed-1"], "step{step}-seed-{seed}", 1)
    assert [one.name for one in found] == ["step1-seed-1", "step2-seed-1"]


def test_two_names_of_one_step() -> None:
    with pytest.raises(ConfigError, match=r"two checkpoints of step 1, 'step01' and 'step1'"):
        patterns.matching(["step1", "step01"], "step{step}")


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
    assert said in str(patterns.pattern_problem(pattern, "checkpoint.folder"))


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
    (found,) = patterns.numbered([name])
    assert (found.step, found.tokens) == (step, tokens)


@pytest.mark.parametrize("name", ["runs", "logs", "tmp-checkpoint-500", ".cache1", "v1.2", "2024-05-01", "_step1"])
def test_a_folder_that_says_none(name: str) -> None:
    assert patterns.numbered([name]) == []


@given(
    st.sampled_from(["checkpoint-{}", "step{}", "global_step{}", "{}", "iter_{:07d}"]), st.sets(st.integers(0, 10**6))
)
def test_one_runs_folders_are_one_family(shape: str, steps: set[int]) -> None:
    found = patterns.numbered([shape.format(step) for step in steps])
    assert [one.step for one in found] == sorted(steps)
    assert len({one.family for one in found}) <= 1


@pytest.mark.parametrize(("text", "tokens"), [("4B", 4 * 10**9), ("1.5T", 15 * 10**11), ("30m", 3 * 10**7), ("17", 17)])
def test_tokens_in_words(text: str, tokens: int) -> None:
    assert patterns.tokens_of(text) == tokens
