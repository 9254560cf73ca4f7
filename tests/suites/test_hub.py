"""Steps of hub repositories: the list of revisions as kept on disk, its age, and what is said when there is none."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from evalrun import checkpoints
from evalrun.checkpoints.suites import checkpoint_of, known_steps, released, released_steps_of, step_called
from evalrun.config.schema import CheckpointConf, Config, ModelConf
from evalrun.errors import CheckpointError, ConfigError

STAGE1 = "stage1-step{step}-tokens{tokens}"
REVISIONS = {
    "main": "a",
    "stage1-step1000-tokens3B": "b",
    "stage1-step2000-tokens5B": "c",
    "stage2-step7-tokens1B": "d",
}


class Hub:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: str | None = None
        self.revisions = dict(REVISIONS)

    def list(self, repository: str) -> dict[str, str]:
        if self.fault:
            raise CheckpointError(f"the hub is {self.fault}.")
        self.asked += 1
        return self.revisions


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "revisions", found.list)
    monkeypatch.setattr(checkpoints, "hub_fault", lambda: found.fault)
    return found


def config(name: str, **checkpoint: object) -> Config:
    given = {"suite": "olmo2", "revision": STAGE1, **checkpoint}
    model = ModelConf(name="m", path=f"org/{name}", n_params=7, n_params_nonembedding=5)
    return Config(model=model, checkpoint=CheckpointConf(**given), step=2000)  # type: ignore[arg-type]


def age(repository: str, seconds: float) -> None:
    path = released.FOLDER / f"{repository.replace('/', '--')}.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"asked_s": time.time() - seconds}))


def test_the_hub_is_asked_once_a_day(there: Hub) -> None:
    for _ in range(2):
        assert list(released.find("org/m", STAGE1, None).by_step) == [1000, 2000]
    assert there.asked == 1
    age("org/m", 25 * 3600)
    assert "just now" in released.find("org/m", STAGE1, None).origin
    assert there.asked == 2
    released.find("org/m", STAGE1, None, refresh=True)
    assert there.asked == 3


def test_without_the_hub_an_old_list_serves(there: Hub, caplog: pytest.LogCaptureFixture) -> None:
    released.find("org/m", STAGE1, None)
    age("org/m", 3 * 86400)
    there.fault = "out of reach"
    assert released.find("org/m", STAGE1, None).origin == "hub, 3 days ago"
    assert "as the hub listed them 3 days ago" in caplog.text
    with pytest.raises(CheckpointError, match=r"steps org/other released is not known here, and the hub is out"):
        released.find("org/other", "step{step}", None)


@pytest.mark.parametrize("content", ["", "{}", '{"repository": "org/other", "asked_s": 1, "revisions": {}}'])
def test_a_damaged_list_is_asked_for_again(there: Hub, content: str) -> None:
    released.listing("org/m")
    (released.FOLDER / "org--m.json").write_text(content)
    assert released.listing("org/m").revisions == REVISIONS
    assert there.asked == 2


def test_tokens_of_the_config_before_those_of_the_name(there: Hub) -> None:
    named = config("one", revision=STAGE1)
    assert (checkpoint_of(named).tokens, checkpoint_of(named).revision) == (5 * 10**9, "stage1-step2000-tokens5B")
    exact = config("one", revision=STAGE1, tokens_per_step=2_097_152)
    assert checkpoint_of(exact).tokens == 2000 * 2_097_152


def test_tokens_that_nobody_knows(there: Hub) -> None:
    there.revisions = {"step1": "a"}
    unknown = config("two", revision="step{step}")
    unknown.step = 1
    with pytest.raises(ConfigError, match=r"is not known: say how many a step is with tokens_per_step="):
        checkpoint_of(unknown)
    unknown.model.tokens_per_step = 10
    assert checkpoint_of(unknown).tokens == 10


def test_a_pattern_that_no_revision_follows(there: Hub) -> None:
    with pytest.raises(ConfigError, match=r"no revision of the hub's org/m follows checkpoint.revision=step-\{step\}"):
        released.find("org/m", "step-{step}", None)


def test_a_step_that_is_not_there(there: Hub) -> None:
    absent = config("three", revision=STAGE1)
    absent.step = 3000
    with pytest.raises(ConfigError, match="step 3000 of m is not there: did you mean '2000'"):
        checkpoint_of(absent)


def test_what_is_known_without_asking(there: Hub) -> None:
    asking = config("four")
    assert known_steps(asking) is None
    assert there.asked == 0
    assert released_steps_of(asking).steps == [1000, 2000]
    assert known_steps(asking) == [1000, 2000]
    assert known_steps(config("five", revision="step{step}", steps=[1, 2])) == [1, 2]
    assert there.asked == 1


def test_listed_steps_among_those_with_tokens_in_their_name(there: Hub) -> None:
    some = config("six", revision=STAGE1, steps=[2000, 4000])
    assert released_steps_of(some).steps == [2000]


def test_a_mapping_of_steps_to_revisions(there: Hub) -> None:
    mapped = config("seven", revision="step{step}", steps={2000: "final", 10: "first"}, tokens_per_step=5)
    assert released_steps_of(mapped).steps == [10, 2000]
    assert (checkpoint_of(mapped).revision, checkpoint_of(mapped).tokens) == ("final", 10_000)
    assert step_called(mapped.model, mapped.checkpoint, "first") == 10
    assert there.asked == 0
