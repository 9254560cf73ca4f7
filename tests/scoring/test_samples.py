"""Several answers to an item: what each is worth is lm-eval's, what they are worth together is the definition's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lm_eval.api.metrics import bleu
from lm_eval.evaluator import evaluate

from evalrun import scoring
from evalrun.commands.export.lm_eval_samples import samples_text
from evalrun.errors import ConfigError
from evalrun.scoring import several_samples as samples
from evalrun.scoring.generation.generated import Generated
from evalrun.tasks import builder, task_file
from helpers import write_rows
from made_tokenizers import pieces
from scoring.test_scorable import scorer
from test_asking import config_of

WORDS = ["4", "5", "4", "x", "6", "4", "5", "5"]
TASK = """task: sums
data: data/sums.jsonl
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], do_sample: true, temperature: 0.7}
repeats: REPEATS
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: first, filter: [{function: regex, regex_pattern: "is (\\\\S+)"}, {function: take_first}]}
  - {name: vote, filter: [{function: regex, regex_pattern: "is (\\\\S+)"}, {function: majority_vote}, {function: take_first}]}
  - {name: four, filter: [{function: take_first_k, k: 4}, {function: regex, regex_pattern: "is (\\\\S+)"}, {function: majority_vote}, {function: take_first}]}
"""  # noqa: E501


class Saying:
    """A scorer that says the words in turn, as lm-eval and as evalrun ask it; each item begins one word later."""

    keeps, rank, world_size, think_end_token = None, 0, 1, None

    def __init__(self) -> None:
        self.parted: set[Any] = set()
        self.lost_texts = 0

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        seen: dict[int, Any] = {}
        found = []
        for request in requests:
            turn = seen.setdefault(request.doc_id, itertools.count(request.doc_id))
            found.append(f"it is {WORDS[next(turn) % len(WORDS)]}")
        return found

    def generate(self, requests: Sequence[Any]) -> list[Generated]:
        return [Generated(text, text, None, "eos") for text in self.generate_until(requests)]


@pytest.fixture
def sums(workspace: Path) -> Path:
    write_rows(workspace / "data" / "sums.jsonl", [{"question": f"{i} + 4?", "answer": "45"[i % 2]} for i in range(6)])
    path = workspace / "conf" / "task" / "sums.yaml"
    path.write_text(TASK.replace("repeats: REPEATS\n", ""))
    return path


def built(samples: int | None) -> dict[str, Any]:
    return builder.build(task_file.resolve(["sums"]), None, {} if samples is None else {"samples": samples})


def test_repeats_of_a_task_file_give_lm_evals_numbers(sums: Path) -> None:
    sums.write_text(TASK.replace("REPEATS", "8"))
    lm: Any = Saying()
    ours = scoring.score(lm, built(None), None, 100)["sums"]
    theirs = evaluate(lm=lm, task_dict=built(None), bootstrap_iters=100, log_samples=False)["results"]["sums"]
    for name in ("first", "vote", "four"):
        assert ours.metrics[f"exact_match_{name}"] == theirs[f"exact_match,{name}"]
        assert ours.stderrs[f"exact_match_{name}"] == pytest.approx(theirs[f"exact_match_stderr,{name}"])
    assert set(ours.metrics) == {"exact_match_first", "exact_match_vote", "exact_match_four"}


def test_samples_are_judged_one_by_one_and_all_at_once_where_a_filter_votes(
    sums: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm: Any = Saying()
    score = scoring.score(lm, built(8), None, 100)["sums"]
    assert "No aggregation function" not in caplog.text
    sums.write_text(TASK.replace("REPEATS", "8"))
    voted = scoring.score(lm, built(None), None, 100)["sums"]
    for name in ("exact_match_vote", "exact_match_four"):
        assert score.metrics[name] == voted.metrics[name]
    said = [[WORDS[(item + turn) % 8] for turn in range(8)] for item in range(6)]
    right = np.array([[word == "45"[item % 2] for word in words] for item, words in enumerate(said)], dtype=float)
    items = score.items[score.items["filter"] == "first"]
    assert score.primary == "exact_match_first"
    assert np.stack(items["sample_exact_match"]).tolist() == right.tolist()
    assert items["exact_match"].tolist() == right.mean(1).tolist()
    assert score.metrics["exact_match_first"] == score.metrics["pass@1_first"] == pytest.approx(right.mean())
    assert score.stderrs["exact_match_first"] == pytest.approx(right.mean(1).std(ddof=1) / np.sqrt(6))
    for k in (1, 2, 4, 8):  # over all choices of k of the eight
        drawn = [np.mean([row[list(chosen)].max() for chosen in itertools.combinations(range(8), k)]) for row in right]
        assert items[f"pass@{k}"].tolist() == pytest.approx(drawn)
        assert score.metrics[f"pass@{k}_first"] == pytest.approx(np.mean(drawn))
        assert score.stderrs[f"pass@{k}_first"] == pytest.approx(np.std(drawn, ddof=1) / np.sqrt(6))
    # of eight words three are 4 and three are 5: whichever is right has half of the tie
    assert items["majority"].tolist() == [0.5] * 6
    assert json.loads(items["response"].iloc[0]) == said[0]
    assert items["finish"].map(len).tolist() == [8] * 6
    assert not score.lower
    words: Any = lambda task, items: SimpleNamespace(prompts=[], columns={}, choices=[])  # noqa: E731
    (line, *_) = [json.loads(text) for text in samples_text("sums", items, words)[0].splitlines()]
    assert line["resps"] == line["filtered_resps"] == [said[0]]
    assert set(line["metrics"]) == {"exact_match", "pass@1", "pass@2", "pass@4", "pass@8", "majority"}
    assert scoring.count_requests(built(8)["sums"], None) == 6 * 8


def test_more_must_be_asked_than_a_filter_takes(sums: Path) -> None:
    with pytest.raises(ConfigError, match="takes the first 4 answers to an item, and generation.samples=3"):
        task_file.resolve_for(config_of("task=sums", "samples=3"))


@pytest.mark.parametrize(("n", "ks"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_the_ks_that_n_samples_tell_of(n: int, ks: list[int]) -> None:
    assert samples.ks_of(n) == ks
    assert [samples.pass_at(k, n, 0) for k in ks] == [0.0] * len(ks)
    assert [samples.pass_at(k, n, n) for k in ks] == [1.0] * len(ks)


def test_the_majority_is_the_most_frequent_answer_and_ties_share() -> None:
    assert samples.majority(["a", "b", "a"], [1.0, 0.0, 1.0]) == 1.0
    assert samples.majority(["a", "b", "b"], [1.0, 0.0, 0.0]) == 0.0
    assert samples.majority(["a", "b", "c"], [1.0, 0.0, 0.0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["lm_eval", "shared_prefix"])
def test_a_seed_gives_the_same_answers_again_and_another_seed_others(sums: Path, name: str, tmp_path: Path) -> None:
    lm = scorer(tmp_path / "model", pieces(), name=name)
    lm._max_length = 64
    task = builder.build(task_file.resolve(["sums"]), None, {"samples": 8, "temperature": 5.0, "max_gen_toks": 4})
    found = []
    for seed in (0, 0, 1):
        lm.seed = seed
        items = scoring.score(lm, task, None, 0)["sums"].items
        found.append([[list(tokens) for tokens in one] for one in items["tokens"]])
    assert found[0] == found[1] != found[2]
    assert len({str(tokens) for tokens in found[0][0]}) > 4


def test_metrics_of_whole_corpora_are_means_over_samples(sums: Path) -> None:
    plain = "{metric: exact_match, aggregation: mean, higher_is_better: true}"
    sums.write_text(TASK.replace("repeats: REPEATS\n", "").replace(plain, f"{plain}, {{metric: bleu}}"))
    lm: Any = Saying()
    score = scoring.score(lm, built(4), None, 100)["sums"]
    each = []
    for sample in range(4):
        pairs = [("45"[item % 2], WORDS[(item + sample) % 8]) for item in range(6)]
        each.append(bleu(pairs))
    assert score.metrics["bleu_first"] == pytest.approx(np.mean(each))
    assert "bleu_first" not in score.stderrs
    assert "sample_bleu" not in score.items
