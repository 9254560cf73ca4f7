"""One comparison: the same requests through lm-eval's Hugging Face model and through evalrun's scorer, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from omegaconf import OmegaConf
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from counting import Request, Shape, count, padded_tokens, shareable_requests
from evalrun.config import compose, schema
from evalrun.scoring import trie_cache
from evalrun.scoring.shared_prefix import SharedPrefixLM
from machine import Measured, matmul_peak, measure
from workloads import Item

MAX_LENGTH = 2048
SHAPES = {
    "tiny": Shape(2, 64, 4, 256),
    "70m": Shape(6, 512, 8, 2048),
    "160m": Shape(12, 768, 12, 3072),
    "410m": Shape(24, 1024, 16, 4096),
    "1b": Shape(16, 2048, 8, 8192),
    "1.4b": Shape(24, 2048, 16, 8192),
    "2.8b": Shape(32, 2560, 32, 10240),
    "6.9b": Shape(32, 4096, 32, 16384),
}
SEARCH_TOKENS = {"cpu": 6_000, "cuda": 60_000}  # of the stretch on which batch sizes are timed

Answer = tuple[float, bool]  # log-likelihood in nats, and whether it is what the model would say greedily
Answers = list[Answer]
Turn = dict[str, Measured[Answers]]  # who -> its run


@dataclass(frozen=True)
class Setting:
    """What all comparisons of a run have in common."""

    device: str
    dtype: str
    repeats: int
    batch_sizes: list[int]


@dataclass(frozen=True)
class Agreement:
    """How the two differ: items whose best choice is another text, greedy flags, nats."""

    differing_answers: int
    differing_greedy: int
    largest_difference: float


def open_model(shape: Shape, setting: Setting) -> GPTNeoXForCausalLM:
    """A Pythia of random weights, the same at every call.

    They are larger than transformers draws them, so that attention looks at some tokens more than at others and the
    choices of an item differ by nats.
    """
    settings = GPTNeoXConfig(
        vocab_size=shape.vocabulary,
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=MAX_LENGTH,
        rotary_pct=0.25,
        use_parallel_residual=True,
        initializer_range=shape.width**-0.5,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(setting.device):
        model = GPTNeoXForCausalLM(settings)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(2)
    return model.to(getattr(torch, setting.dtype)).eval()


def compare(
    model: GPTNeoXForCausalLM, shape: Shape, tokenizer: PreTrainedTokenizerFast, items: Sequence[Item], setting: Setting
) -> dict[str, Any]:
    """Check that both give the same answers, then time them in turn.

    Timed from tokens on: lm-eval's `_loglikelihood_tokens` at its best batch size, and evalrun's `score_tokens` with
    its plan made. The first pass of each, which starts from text (tokenising, and evalrun's planning), is told apart.
    """
    reference = _lm_eval(model, tokenizer, logits_cache=False)
    texts = [(item.context, choice) for item in items for choice in item.choices]
    requests = [reference._encode_pair(*pair) for pair in texts]
    sizes = time_batch_sizes(reference, requests, setting)
    reference.batch_size_per_gpu = batch_size = min(sizes, key=sizes.__getitem__)
    scorer = SharedPrefixLM(model, tokenizer, scorer_conf(setting), lambda rows: None)
    first = _first_passes(reference, scorer, texts, setting)
    rivals: dict[str, Callable[[], Answers]] = {
        "lm_eval": lambda: _through_lm_eval(reference, requests),
        "evalrun": lambda: scorer.score_tokens(requests),
    }
    if shareable_requests(requests):
        default = _lm_eval(model, tokenizer, logits_cache=True)
        default.batch_size_per_gpu = batch_size
        rivals["lm_eval_default"] = lambda: _through_lm_eval(default, requests)
    rivals["evalrun"]()  # makes the plan for these tokens
    runs, peak = _in_turn(rivals, setting)
    work = count(requests, shape, MAX_LENGTH)
    found = [agreement(items, each["lm_eval"].result, each["evalrun"].result) for each in (first, *runs)]
    return {
        "items": len(items),
        "requests": len(requests),
        "batch_size": batch_size,
        "batch_size_seconds": sizes,
        **_speed(runs),
        "first_seconds": {name: one.seconds for name, one in first.items()},
        "memory": {name: _highest([each[name] for each in runs]) for name in rivals},
        **{name: max(getattr(each, name) for each in found) for name in Agreement.__dataclass_fields__},
        "default_largest_difference": _default_difference(items, runs[0]),
        "counted_limit": work.limit,
        "peak_gflops": peak / 1e9,
        "peak_share": work.flops_shared / statistics.median(each["evalrun"].seconds for each in runs) / peak,
        "flops": {"each": work.flops_each, "shared": work.flops_shared},
        "tokens": {
            "lm_eval": work.tokens,
            "lm_eval_padded": padded_tokens(requests, batch_size, MAX_LENGTH),
            "distinct": work.nodes,
            "distinct_scored": work.head_rows,
            "evalrun_nodes": scorer.counts.nodes,
            "evalrun_body": scorer.counts.body_tokens,
            "evalrun_head_rows": scorer.counts.head_rows,
        },
    }


def agreement(items: Sequence[Item], left: Answers, right: Answers) -> Agreement:
    """Compare two lists of answers, one answer for each choice of each item in order.

    An item's answer differs if the most likely choice is another *text*: some items list one choice twice.
    """
    start, differing = 0, 0
    for item in items:
        stop = start + len(item.choices)
        differing += _best(item, left[start:stop]) != _best(item, right[start:stop])
        start = stop
    pairs = list(zip(left, right, strict=True))
    return Agreement(
        differing_answers=differing,
        differing_greedy=sum(one[1] != other[1] for one, other in pairs),
        largest_difference=max(abs(one[0] - other[0]) for one, other in pairs),
    )


def _best(item: Item, answers: Answers) -> str:
    """The item's most likely choice."""
    return item.choices[max(range(len(answers)), key=lambda i: answers[i][0])]


def time_batch_sizes(lm: HFLM, requests: Sequence[Request], setting: Setting) -> dict[int, float]:
    """Seconds of lm-eval at each batch size, on a stretch from the middle of the requests in order of length.

    Sizes rise until two in a row are slower than the best; those beyond the number of requests are left out.
    """
    stretch = _stretch(requests, SEARCH_TOKENS[torch.device(setting.device).type], max(setting.batch_sizes))
    sizes = sorted(setting.batch_sizes)
    usable = [size for size in sizes if size <= len(stretch)] or sizes[:1]
    lm.batch_size_per_gpu = usable[0]
    _through_lm_eval(lm, stretch[: usable[0]])  # the first pass of a process is slower
    found: dict[int, float] = {}
    for size in usable:
        lm.batch_size_per_gpu = size
        found[size] = measure(lambda: _through_lm_eval(lm, stretch), setting.device).seconds
        if len(found) > 2 and min(list(found.values())[-2:]) > min(found.values()):
            break
    return found


def _stretch(requests: Sequence[Request], tokens: int, most: int) -> list[Request]:
    """As many requests of middling length as fit a number of tokens; `most` at the most, one at the least."""
    ordered = sorted(requests, key=lambda request: len(request[0]) + len(request[1]))
    middle = ordered[len(ordered) // 2]
    number = max(1, min(most, len(ordered), tokens // (len(middle[0]) + len(middle[1]))))
    start = (len(ordered) - number) // 2
    return ordered[start : start + number]


def _lm_eval(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast, logits_cache: bool) -> HFLM:
    """lm-eval's own model, with the log-softmax in float32 as evalrun has it."""
    return HFLM(pretrained=model, tokenizer=tokenizer, softmax_dtype="float32", logits_cache=logits_cache)


def _through_lm_eval(lm: HFLM, requests: Sequence[Request]) -> Answers:
    """lm-eval's path from tokens on; it wants a text with each request, which only its disk cache reads."""
    named = [(("", ""), *request) for request in requests]
    answers: Answers = lm._loglikelihood_tokens(named, disable_tqdm=True)
    return answers


def scorer_conf(setting: Setting) -> schema.ScorerConf:
    """conf/scorer/shared_prefix.yaml, on this run's device and without its folder of kept plans."""
    overrides = ["scorer=shared_prefix", f"scorer.device={setting.device}", "scorer.cache=null"]
    with compose.hydra_session():
        scorer = compose.compose(overrides, partial=True).scorer
    conf = OmegaConf.to_object(scorer)
    assert isinstance(conf, schema.ScorerConf)
    return conf


def _first_passes(reference: HFLM, scorer: SharedPrefixLM, texts: Sequence[tuple[str, str]], setting: Setting) -> Turn:
    """Both from text: tokenising, and for evalrun its plan too, which another model of this run may have left."""
    trie_cache.forget()
    instances = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(texts)]
    first = {
        name: measure(partial(lm.loglikelihood, instances, disable_tqdm=True), setting.device)
        for name, lm in (("lm_eval", reference), ("evalrun", scorer))
    }
    if scorer.used != "shared_prefix":
        raise SystemExit(f"evalrun did not use its shared-prefix scorer, so there is nothing to compare: {scorer.used}")
    return first


def _in_turn(rivals: dict[str, Callable[[], Answers]], setting: Setting) -> tuple[list[Turn], float]:
    """Run all in turn, as often as asked: what else the machine does then falls on all alike.

    Returns:
        The turns, and the best of the matrix products timed between them, in FLOPs a second.
    """
    dtype = getattr(torch, setting.dtype)
    turns, peak = [], matmul_peak(setting.device, dtype)
    for _ in range(setting.repeats):
        turns.append({name: measure(work, setting.device) for name, work in rivals.items()})
        peak = max(peak, matmul_peak(setting.device, dtype))
    return turns, peak


def _speed(turns: Sequence[Turn]) -> dict[str, Any]:
    """Seconds, and ratios within each turn."""
    seconds = {name: [turn[name].seconds for turn in turns] for name in turns[0]}
    ratios = [slow / fast for slow, fast in zip(seconds["lm_eval"], seconds["evalrun"], strict=True)]
    found: dict[str, Any] = {
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ratio_to_default": None,
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "runs": seconds,
    }
    if "lm_eval_default" in seconds:
        pairs = zip(seconds["lm_eval_default"], seconds["evalrun"], strict=True)
        found["ratio_to_default"] = statistics.median(slow / fast for slow, fast in pairs)
    return found


def _highest(runs: Sequence[Measured[Answers]]) -> int | None:
    """The largest rise of memory of some runs."""
    return max((run.memory for run in runs if run.memory is not None), default=None)


def _default_difference(items: Sequence[Item], turn: Turn) -> float | None:
    """How far lm-eval with its logits cache is from lm-eval without, in nats."""
    if "lm_eval_default" not in turn:
        return None
    return agreement(items, turn["lm_eval"].result, turn["lm_eval_default"].result).largest_difference
