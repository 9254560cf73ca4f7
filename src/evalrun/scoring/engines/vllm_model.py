"""vLLM in this process: one engine, into which the weights of each checkpoint of a model are loaded.

vLLM is not among what evalrun is installed with. Its engine is used directly, because lm-eval's model of it keeps
neither tokens nor why a text ended, and tells of nothing before all is done.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalrun.checkpoints.ready import ReadyCheckpoint
from evalrun.config.engine_settings import lacking
from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, first_line
from evalrun.scoring.engines import engine_processes
from evalrun.scoring.engines.engine_model import EngineLM, TextOrder
from evalrun.scoring.engines.known_answers import PROMPT, PROMPT_TOKENS, TEXTS, FixedAnswers
from evalrun.scoring.engines.protocol import PromptScores
from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.generation.prompt_tokens import Tokens, prompt_tokens

log = logging.getLogger(__name__)
# Where vLLM's own way to load other weights into a running engine says what it takes.
_RUNNER = ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner")


class VllmLM(EngineLM):
    """lm-eval's Hugging Face model on vLLM's offline engine."""

    def __init__(self, ready: ReadyCheckpoint, conf: ScorerConf, llm: Any, tick: Callable[[int], None]) -> None:
        """Score what an engine has loaded.

        Args:
            ready: The checkpoint.
            conf: The scorer's settings.
            llm: A `vllm.LLM` with its weights.
            tick: Told of requests that are answered.
        """
        window = int(llm.llm_engine.model_config.max_model_len)
        super().__init__(ready.loaded.model, ready.loaded.tokenizer, conf, tick, window)
        self._llm = llm
        self.engine = {"server": f"vllm {importlib.import_module('vllm').__version__}"}

    def why_no_scores(self) -> str | None:
        """`EngineLM.why_no_scores` of vLLM: it has them."""
        return None

    def score_prompts(self, prompts: Sequence[Tokens], done: Callable[[int, PromptScores], None]) -> None:
        """`EngineLM.score_prompts` of vLLM."""
        params = _params(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)

        def take(place: int, output: Any) -> None:
            done(place, prompt_scores_of(prompts[place], output.prompt_logprobs))

        self._run([(prompt, params) for prompt in prompts], take)

    def write_texts(self, orders: Sequence[TextOrder], done: Callable[[int, Generated], None]) -> None:
        """`EngineLM.write_texts` of vLLM."""
        eos = self.tok_decode(self.eot_token_id, False)
        asked = [
            (
                order.prompt,
                _params(
                    max_tokens=order.ending.limit,
                    stop=[stop for stop in order.ending.stops if stop and stop != eos and not self.think_end_token],
                    stop_token_ids=sorted(order.ending.ends),
                    seed=order.seed,
                    spaces_between_special_tokens=False,
                    **order.sampling,
                ),
            )
            for order in orders
        ]

        def take(place: int, output: Any) -> None:
            written = output.outputs[0]
            ended = {"length": "length", "stop": "stop" if isinstance(written.stop_reason, str) else "eos"}
            if written.finish_reason not in ended:
                raise CheckpointError(f"vLLM broke a text off ({written.finish_reason}): look at what it logged.")
            done(place, orders[place].ending.generated(list(written.token_ids), ended[written.finish_reason]))

        self._run(asked, take)

    def fixed_answers(self) -> FixedAnswers:
        """`EngineLM.fixed_answers` of vLLM."""
        text = ". ".join(TEXTS)
        tokens = prompt_tokens(self, [text])[text][: min(PROMPT_TOKENS, self.window - 1)]
        found: list[PromptScores] = []
        self.score_prompts([tokens], lambda place, scores: found.append(scores))
        return FixedAnswers(PROMPT, tokens, None, tuple(found[0].logprobs))

    def _run(self, asked: Sequence[tuple[Tokens, Any]], take: Callable[[int, Any], None]) -> None:
        """Hand requests to the engine, and tell of each as it is done.

        Args:
            asked: Tokens of each prompt, and its sampling parameters.
            take: Told the place of one and vLLM's output.
        """
        engine = self._llm.llm_engine
        for place, (prompt, params) in enumerate(asked):
            engine.add_request(str(place), {"prompt_token_ids": list(prompt)}, params)
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        take(int(output.request_id), output)
        except BaseException:
            engine.abort_request([str(place) for place in range(len(asked))])
            raise


class VllmEngine:
    """The engine of this process, from one checkpoint to the next."""

    def __init__(self) -> None:
        self._llm: Any = None
        self._key = ""
        self._ended_with_this: subprocess.Popen[bytes] | None = None  # sees to it that vLLM's processes are
        self.is_reloaded = False  # its weights are not those that it was started with

    def lm(self, ready: ReadyCheckpoint, conf: ScorerConf, tick: Callable[[int], None], anew: bool = False) -> VllmLM:
        """A scorer with a checkpoint's weights.

        Args:
            ready: The checkpoint.
            conf: The scorer's settings.
            tick: Told of requests that are answered.
            anew: In an engine of its own, whatever runs.

        Raises:
            CheckpointError: vLLM is not installed, or does not take the checkpoint.
        """
        if (lack := lacking(conf)) is not None:
            raise CheckpointError(lack)
        key = _form(ready, conf)
        self.is_reloaded = False
        if self._llm is not None and (anew or key != self._key or not self._reload(ready)):
            self._end()
        if self._llm is None:
            before = engine_processes.below(os.getpid())
            self._llm, self._key = _start(ready, conf), key
            own = engine_processes.below(os.getpid()) - before
            self._ended_with_this = engine_processes.ended_with_this(own)
        return VllmLM(ready, conf, self._llm, tick)

    def _reload(self, ready: ReadyCheckpoint) -> bool:
        """Load a checkpoint's weights into the engine that runs; whether that was done."""
        if not _can_reload():
            return False
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(ready.folder)})
            self._llm.reset_prefix_cache()  # which holds keys and values of the weights before
        except Exception as error:  # of a worker, in whichever class
            log.warning("vLLM cannot load other weights into its engine, and starts anew: %s", first_line(error))
            return False
        self.is_reloaded = True
        return True

    def _end(self) -> None:
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm = None
        gc.collect()
        cleanup_dist_env_and_memory()
        if self._ended_with_this is not None:
            self._ended_with_this.communicate()


def _start(ready: ReadyCheckpoint, conf: ScorerConf) -> Any:
    """An engine with a checkpoint's weights, in the checkpoint's own precision unless another is asked for.

    Raises:
        CheckpointError: vLLM does not take it.
    """
    from vllm import LLM

    tokenizer = ready.located.cell.tokenizer or str(ready.folder)
    more: dict[str, Any] = {} if conf.quantization is None else {"quantization": conf.quantization}
    try:
        return LLM(str(ready.folder), tokenizer=tokenizer, dtype=ready.dtype, **more, **conf.engine)
    except Exception as error:  # vLLM, its workers and CUDA each raise their own
        raise CheckpointError(
            f"vLLM cannot load {ready.located.cell.label} in '{ready.folder}': {first_line(error)} "
            f"({type(error).__name__}); see what it logged above, and scorer.engine."
        ) from error


def _can_reload() -> bool:
    """Whether this version's engine can be given the weights of another folder."""
    module, name = _RUNNER
    try:
        method = getattr(importlib.import_module(module), name).reload_weights
    except (ImportError, AttributeError):
        return False
    return "weights_path" in inspect.signature(method).parameters


def _form(ready: ReadyCheckpoint, conf: ScorerConf) -> str:
    """What two checkpoints that one engine can hold have in common."""
    config = {key: value for key, value in ready.loaded.model.config.to_dict().items() if key != "_name_or_path"}
    return json.dumps([config, ready.dtype, id(ready.loaded.tokenizer), conf.quantization, conf.engine], default=str)


def _params(**settings: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(**settings)


def prompt_scores_of(prompt: Tokens, told: Sequence[Mapping[int, Any] | None]) -> PromptScores:
    """What vLLM says of a prompt's tokens, of which the first has no log-probability."""
    logprobs, greedy = [], []
    for token, place in zip(prompt[1:], told[1:], strict=True):
        assert place is not None
        value = float(place[token].logprob)
        logprobs.append(value)
        greedy.append(value >= max(float(one.logprob) for one in place.values()))
    return PromptScores(logprobs, greedy)
