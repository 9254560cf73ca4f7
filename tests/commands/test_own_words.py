"""Words that a command reads itself: once each, with a value; all others are handed on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from evalrun.commands.own_words import take_own_words
from evalrun.errors import ConfigError

KNOWN = {"suite": "name a suite"}


def test_the_others_are_handed_on_in_their_order() -> None:
    words = ["b=1", "suite= mine ", "name", "suites=2", "suite"]
    assert take_own_words(words, KNOWN) == ({"suite": "mine"}, ["b=1", "name", "suites=2", "suite"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("suite=a", "suite=b"), "suite= is given twice, 'a' and 'b': give it once."),
        (("suite= ",), "suite= has no value: name a suite."),
    ],
)
def test_a_word_twice_and_one_without_a_value(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        take_own_words(words, KNOWN)
    assert str(error.value) == said


@pytest.mark.parametrize(
    "command", [("compare", "a@1", "b@2"), ("compare", "a", "b"), ("analyze",), ("bundle", "x.zip"), ("gate", "a@1"),
                ("items", "task=alpha"), ("export", "csv")],
)  # fmt: skip
def test_commands_take_a_suite_once(
    inside: Callable[..., subprocess.CompletedProcess[str]], command: tuple[str, ...]
) -> None:
    done = inside(*command, "suite=one", "suite=two")
    assert (done.returncode, done.stderr) == (2, "evalrun: suite= is given twice, 'one' and 'two': give it once.\n")
