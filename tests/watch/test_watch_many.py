"""Patterns of runs: what they stand for, and what is said of those that stand for nothing or for too much."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evalrun.commands.watch.backoff import Faults
from evalrun.commands.watch.evaluating import Here
from evalrun.commands.watch.loop import Watch
from evalrun.commands.watch.run_folders import find_folders
from evalrun.commands.watch.watch_request import WatchRequest
from evalrun.errors import ConfigError


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runs/a", "runs/b", "more/a", "runs/.hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_folders_alone_each_once_and_new_ones_later(runs: Path) -> None:
    assert find_folders(["runs/*", "runs/a"]).folders == ("runs/a", "runs/b")
    (runs / "latest").symlink_to(runs / "b")
    found = find_folders(["runs/*"])
    assert found.folders == ("runs/a", "runs/b")
    assert found.twins == ("'runs/latest' is 'runs/b' by another name: it is watched once.",)


def test_a_pattern_that_matches_nothing_says_what_is_near(runs: Path) -> None:
    (said,) = find_folders(["runz/*"]).problems
    assert said == "paths=runz/* matches nothing in '.': did you mean 'runs'?"
    (said,) = find_folders(["runs/x*"]).problems
    assert said == "paths=runs/x* matches nothing in 'runs': choose from: a, b."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("paths=runs/*", "path=runs/a"), "path= and paths= are both given"),
        (("paths=",), "paths has no value"),
        (("paths=runs/*", "paths=more/*"), "paths is given twice"),
        (("path=a,b",), "'paths=A,B'"),
        (("paths=runs/*", "watch.half_by=0"), "1 look or more"),
        (("paths=runs/*", "watch.retry_s=-1"), "0 or more seconds"),
    ],
)
def test_words_that_cannot_be_right(runs: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        WatchRequest([*words, "task=tiny_recall"])


def test_two_runs_of_one_name_and_no_run_at_all(runs: Path) -> None:
    watch = Watch(WatchRequest(["paths=runs/*,more/*", "task=tiny_recall"]), Here(), print, print)
    with pytest.raises(ConfigError, match="'more/a' and 'runs/a' would both be called 'a'|'runs/a' and 'more/a'"):
        watch.open(once=True)
    watch = Watch(WatchRequest(["paths=runz/*", "task=tiny_recall"]), Here(), print, print)
    watch.open(once=False)  # it may come
    with pytest.raises(ConfigError, match="did you mean 'runs'"):
        watch.open(once=True)


def test_waits_grow_are_bounded_and_outlive_the_watch(tmp_path: Path) -> None:
    faults = Faults(tmp_path, 10, 35)
    waits = []
    for _ in range(4):
        failed = faults.note("run step 4", frozenset({("model", 1, 2)}), "no memory.")
        waits.append(round(failed.until - time.time()))
    assert waits == [10, 20, 35, 35]
    again = Faults(tmp_path, 10, 35)
    known = again.of("run step 4", frozenset({("model", 1, 2)}))
    assert known is not None
    assert (known.tries, known.is_over) == (4, False)
    assert again.of("run step 4", frozenset({("model", 1, 3)})) is None  # its files changed: at once
    again.clear("run step 4")
    assert Faults(tmp_path, 10, 35).of("run step 4", frozenset({("model", 1, 2)})) is None
