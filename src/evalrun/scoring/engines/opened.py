"""The scorer of a job, whatever holds the weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints.contents import config_of
from evalrun.checkpoints.ready import ReadyCheckpoint
from evalrun.config.engine_settings import ENGINES, SERVER, places_of, put_in
from evalrun.config.schema import Config, parse_size
from evalrun.core.errors import CheckpointError
from evalrun.scoring.engines.engine_model import EngineLM
from evalrun.scoring.engines.known_answers import AnswerBook
from evalrun.scoring.engines.served_checkpoint import served
from evalrun.scoring.engines.server_client import ServerClient
from evalrun.scoring.engines.server_model import ServerLM
from evalrun.scoring.engines.vllm_model import VllmEngine, VllmLM
from evalrun.scoring.engines.weights_check import CheckedCheckpoint, ReferenceAnswers, check, reference_of
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.scorer_cache import ScorerCache

log = logging.getLogger(__name__)
LOG = "served.log"  # in a job's folder: what its server said
_vllm = VllmEngine()


@contextlib.contextmanager
def opened(
    config: Config, ready: ReadyCheckpoint, local: ScorerCache, folder: Path, tick: Callable[[int], None]
) -> Iterator[CheckpointLM]:
    """Score one checkpoint.

    Args:
        config: The job's.
        ready: The checkpoint.
        local: The scorers of this process, for a checkpoint that is loaded in it.
        folder: The job's.
        tick: Called with a number of requests whenever so many more are done.

    Raises:
        CheckpointError: an engine that is not there, or in which other weights answer.
    """
    scorer, loaded = config.scorer, ready.loaded
    if scorer.name not in ENGINES:
        with local.scorer(loaded.model, loaded.tokenizer, scorer, tick) as lm:
            yield lm
        return
    if scorer.name == SERVER:
        places = _places(ready)
        named = None if scorer.served_model is None else put_in(scorer.served_model, places)
        with _server(config, ready, places, folder) as client:
            lm = ServerLM(loaded.model, loaded.tokenizer, scorer, client, named, tick)
            _see_weights(config, ready, lm)
            yield lm
    else:
        yield _in_vllm(config, ready, tick)


def _in_vllm(config: Config, ready: ReadyCheckpoint, tick: Callable[[int], None]) -> VllmLM:
    """A checkpoint in vLLM: where its engine went on with the weights before, in one that is started for it."""
    try:
        lm = _vllm.lm(ready, config.scorer, tick)
        _see_weights(config, ready, lm)
    except CheckpointError as error:
        if not _vllm.is_reloaded:
            raise
        log.warning("vLLM did not take over new weights, and is started anew: %s", error)
        lm = _vllm.lm(ready, config.scorer, tick, anew=True)
        _see_weights(config, ready, lm)
    return lm


@contextlib.contextmanager
def _server(
    config: Config, ready: ReadyCheckpoint, places: dict[str, str | None], folder: Path
) -> Iterator[ServerClient]:
    """The server that runs, or one that is started for this checkpoint."""
    if config.scorer.url is None:
        with served(config.scorer, places, ready.located.cell.label, folder / LOG) as client:
            yield client
        return
    client = ServerClient(config.scorer.url, config.scorer)
    try:
        yield client
    finally:
        client.close()


def _places(ready: ReadyCheckpoint) -> dict[str, str | None]:
    """What goes in the places of scorer.serve and scorer.served_model."""
    own, found = str(ready.folder.absolute()), places_of(ready.located.cell)
    found["repo"] = found["repo"] or own
    found["revision"] = found["revision"] or "main"
    return found | {"path": own, "dtype": ready.dtype}


def _see_weights(config: Config, ready: ReadyCheckpoint, lm: EngineLM) -> None:
    """See that this checkpoint answers, before anything is asked of it.

    Raises:
        CheckpointError: another does.
    """
    scorer, cell = config.scorer, ready.located.cell
    answers = lm.fixed_answers()
    model = [cell.suite, cell.model, cell.seed, scorer.name, scorer.quantization]

    def computed() -> ReferenceAnswers:
        trust = {"remote_code": config.trust_remote_code, "pickle": config.trust_pickle, "unused_weights": True}
        made = checkpoints.load(ready.located, ready.folder, "float32", "cpu", trust, scorer.tokens_by)
        return reference_of(made.model, made.tokenizer, answers, lm.text_prompts())

    why_not = _why_no_reference(config, ready.folder)
    checked = CheckedCheckpoint(cell.label, ready.weights, scorer.check_tolerance or 0.0, config.allow_shared_weights)
    said = check(answers, checked, AnswerBook(scorer.cache, model, answers), why_not or computed)
    log.info("%s: weights checked: %s", cell.label, said)
    lm.engine["weights_checked"] = said


def _why_no_reference(config: Config, folder: Path) -> str | None:
    """Why a checkpoint is not loaded here to be compared with what answers; None: it is."""
    if config.scorer.quantization is not None:
        return f"it is served as {config.scorer.quantization}"
    described: dict[str, Any] = config_of(folder)
    if "quantization_config" in described:
        return "its files are quantised"
    most = config.scorer.check_most or "0"
    size = sum(file.stat().st_size for file in checkpoints.weight_files(folder))
    if size > (parse_size(most) or 0):
        return f"its weights are {size / 1e9:.1f} GB, and scorer.check_most is {most}"
    return None
