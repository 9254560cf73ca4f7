"""The numbers of a task of whole texts: what each text costs, and the ratios of the corpus with their errors.

The corpus' numbers are lm-eval's: sums over texts of nats and of bytes, tokens or words, and their ratio. Bytes are
UTF-8's; words are counted as lm-eval counts them. Errors are those of a ratio over texts (`core.ratios`), where lm-eval
draws texts anew, tens of thousands of times. A text that is there again counts once.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from evalrun.core.columns import TOKEN_LISTS
from evalrun.core.errors import TaskError
from evalrun.core.ratios import RATIOS
from evalrun.core.text import counted
from evalrun.scoring.asked_items import AskedItem
from evalrun.scoring.human_numbers import human_metrics
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.trie import Ints
from evalrun.scoring.whole_texts import ReadText
from evalrun.statistics.items.sums import Sums
from evalrun.tasks.text_rule import ROLLING, TextRule

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
METRICS = ("bits_per_byte", "nats_per_token", "word_perplexity", "byte_perplexity")
_COUNTED = {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}
_corpora: WeakKeyDictionary[Any, dict[int, TextCorpus]] = WeakKeyDictionary()
_PLAIN = (None, "weighted_perplexity", "bits_per_byte")  # aggregations of lm-eval's own


@dataclass(frozen=True)
class TextScores:
    """What a task's texts make.

    Attributes:
        metrics: Of the corpus.
        stderrs: Of those; none of a single text.
        items: The texts that count, each once.
        columns: One value a text: nats, bytes, tokens, words, each metric of it alone; its tokens where these are kept.
        said: What a result says of its texts.
    """

    metrics: dict[str, float]
    stderrs: dict[str, float]
    items: list[AskedItem]
    columns: dict[str, pa.Array]
    said: dict[str, Any]

    @property
    def table(self) -> pa.Table:
        """One row a text: the columns that items of other tasks have, without the text itself, and `columns`."""
        import pyarrow as pa

        n = len(self.items)
        ids = {"doc_id": pa.array([item.doc_id for item in self.items]), "filter": pa.array(["none"] * n)}
        nothing = {"target": pa.array([""] * n), "prediction": pa.array([-1] * n), "response": pa.array([""] * n)}
        lists = {"logprobs": pa.float64(), "greedy": pa.bool_(), "choice_chars": pa.int64(), "choice_bytes": pa.int64()}
        empty = {name: pa.array([[]] * n, pa.list_(kind)) for name, kind in lists.items()}
        keys = ("doc_hash", "prompt_hash", "target_hash")
        digests = {key: pa.array([getattr(item, key) for item in self.items]) for key in keys}
        return pa.table({**ids, **nothing, **empty, **self.columns, **digests})


def is_of_texts(task: Any) -> bool:
    """Whether a task's numbers are the ones of this module, and not those of code or aggregations of its own.

    Code of its own that counts words or bytes in its own way, as that of lm-eval's wikitext does, is taken for that.
    """
    if task.OUTPUT_TYPE != ROLLING:
        return False
    if not all(entry.get("aggregation") in _PLAIN for entry in task.config.metric_list or ()):
        return False
    return not callable(task.config.process_results) or set(_counts(task, task.eval_docs[0])) <= _COUNTED.keys()


def _counts(task: Any, doc: Any) -> dict[str, int]:
    """Metric -> what a task divides a row's log-likelihood by; what is no such pair stands under no name of ours.

    Args:
        task: lm-eval's task object.
        doc: The row, of which its code gets a copy.
    """
    found: dict[str, int] = {}
    for name, pair in task.process_results(deepcopy(doc), [-1.0]).items():
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        found[name if is_pair else f"{name} alone"] = int(pair[1]) if is_pair else 0
    return found


@dataclass(frozen=True)
class TextCorpus:
    """The texts of a task that count, each once; the same for every checkpoint."""

    items: list[AskedItem]
    texts: list[str]
    sizes: dict[str, Ints]  # bytes and words -> (texts,)
    repeated: int  # texts that are left out


def corpus_of(name: str, task: Any, items: Sequence[AskedItem]) -> TextCorpus:
    """The texts of a task, counted when first asked for; that some are left out is said then.

    Args:
        name: Of the task.
        task: lm-eval's object of it.
        items: Its first so many texts.
    """
    known = _corpora.setdefault(task, {})
    if len(items) not in known:
        first: dict[str, AskedItem] = {}
        for item in items:
            first.setdefault(str(item.requests[0].args[0]), item)
        counts = [_counts(task, item.doc) for item in first.values()]
        usual = {"bytes": task.count_bytes, "words": task.count_words}
        sizes = {
            column: np.array([_size(own, column, count, text) for own, text in zip(counts, first, strict=True)])
            for column, count in usual.items()
        }
        known[len(items)] = TextCorpus([*first.values()], [*first], sizes, len(items) - len(first))
        if repeated := known[len(items)].repeated:
            left_out = counted(repeated, "repeated text")
            log.warning("%s: %s left out: a text counts once, where lm-eval counts it each time", name, left_out)
    return known[len(items)]


def _size(counts: Mapping[str, int], column: str, usual: Callable[[str], int], text: str) -> int:
    """A text's bytes or words as its task counts them, else as usual."""
    said = next((counts[name] for name, of in _COUNTED.items() if of == column and name in counts), None)
    return usual(text) if said is None else said


def read_tasks(lm: CheckpointLM, tasks: Mapping[str, Any]) -> dict[str, dict[str, ReadText]]:
    """What a checkpoint says of the texts of tasks; those with the same windows are read together, each text once.

    Args:
        lm: The checkpoint.
        tasks: Name -> lm-eval's task object.

    Returns:
        Task -> text -> what was found.
    """
    alike: dict[TextRule, list[str]] = defaultdict(list)
    for name, task in tasks.items():
        alike[rule_of(task).windows_alone].append(name)
    found: dict[str, dict[str, ReadText]] = {}
    for names in alike.values():
        rule = TextRule.together(rule_of(tasks[name]) for name in names)
        read = lm.read_texts([request for name in names for request in tasks[name].instances], rule)
        found |= dict.fromkeys(names, read)
    return found


def rule_of(task: Any) -> TextRule:
    """How a task's texts are read."""
    return getattr(task, "text_rule", TextRule())  # a task of another class has none


def text_scores(name: str, task: Any, items: Sequence[AskedItem], read: Mapping[str, ReadText]) -> TextScores:
    """A task's numbers.

    Args:
        name: Of the task.
        task: lm-eval's object of it.
        items: Its texts.
        read: Text -> what the checkpoint says of it.

    Raises:
        TaskError: no text has a token.
    """
    corpus = corpus_of(name, task, items)
    found = [read[text] for text in corpus.texts]
    nats, tokens = np.array([one.nats for one in found]), np.array([one.count for one in found])
    columns = {"nats": nats, "tokens": tokens, **corpus.sizes}
    there = (columns["tokens"] > 0) & np.isfinite(columns["nats"])  # how many are no number a result says
    if not (columns["tokens"] > 0).any():
        raise TaskError(f"task '{name}': none of its texts has a token: look at its doc_to_target, which is the text.")
    metrics, stderrs, own = {}, {}, {}
    for metric in METRICS:
        ratio = RATIOS[metric]
        full = Sums(ratio, columns[ratio.numerator][there], columns[ratio.denominator][there].astype(np.float64))
        metrics[metric], own[metric] = math.nan, np.full(len(found), math.nan)
        if not there.any():
            continue
        metrics[metric] = full.value
        own[metric][there] = full.each
        if len(full.linear) > 1 and np.isfinite(full.linear).all():
            stderrs[metric] = float(full.linear.std(ddof=1) / math.sqrt(len(full.linear)))
    people = human_metrics(task, corpus.items, [[-one.nats] for one in found])
    arrays = _arrays({**columns, **own}, found, rule_of(task))
    said = {"texts_repeated": corpus.repeated}
    return TextScores(metrics | people[0], stderrs | people[1], corpus.items, arrays, said)


def primary_of(task: Any) -> str:
    """The metric that the analysis uses: bits per byte, unless the task's list has others alone."""
    listed = [str(entry["metric"]) for entry in task.config.metric_list or ()]
    known = [metric for metric in listed if metric in METRICS]
    return METRICS[0] if METRICS[0] in known or not known else known[0]


def _arrays(columns: Mapping[str, Any], found: Sequence[ReadText], rule: TextRule) -> dict[str, pa.Array]:
    import pyarrow as pa

    tokens = _tokens(found, rule.corrected) if rule.surprisal else ()
    return {name: pa.array(values) for name, values in [*columns.items(), *tokens]}


def _tokens(found: Sequence[ReadText], corrected: bool) -> Iterator[tuple[str, pa.Array]]:
    """The lists of `TOKEN_LISTS`, one a text.

    Args:
        found: Texts with their tokens.
        corrected: With boundaries, which another task with these texts may have asked for alone.
    """
    import pyarrow as pa

    begins, ends = ([np.asarray(one.places)[:, side] for one in found] for side in (0, 1))
    parts: list[list[Any]] = [[one.tokens for one in found], begins, ends, [one.each for one in found]]
    parts += [[one.boundary for one in found]] if corrected else []
    more = [one.count + corrected for one in found]  # the entry for the end goes with boundaries
    offsets = np.concatenate([[0], np.cumsum(more)]).astype(np.int32)
    for (name, (_, kind)), lists in zip(TOKEN_LISTS.items(), parts, strict=False):
        values = np.concatenate([one[:length] for one, length in zip(lists, more, strict=True)])
        flat = pa.array(values, pa.type_for_alias(kind), from_pandas=False, safe=False)
        yield name, pa.ListArray.from_arrays(offsets, flat)
