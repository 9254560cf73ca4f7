"""Settings of scorers whose weights are held by an engine: what cannot be right, and what goes in their places."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from evalrun.config.schema import ScorerConf, parse_size
from evalrun.core.records import Checkpoint

SERVER, VLLM = "server", "vllm"
ENGINES = (SERVER, VLLM)
API_KEY = "EVALRUN_API_KEY"  # the environment variable of a server's key
_BOTH = ("quantization", "check_most", "check_tolerance")
_OWN = {  # scorer -> the settings that it alone has
    SERVER: (
        "url", "serve", "served_model", "concurrency", "retries", "backoff_s", "timeout_s", "start_s", *_BOTH,
    ),
    VLLM: ("engine", *_BOTH),
}  # fmt: skip
_PLACES = ("path", "port", "repo", "revision", "model", "step", "dtype")
_PLACE = re.compile("|".join(r"\{" + place + r"\}" for place in _PLACES))
_POSITIVE = ("concurrency", "timeout_s", "start_s")  # above 0
_SET_ELSEWHERE = {"model": "model=", "dtype": "scorer.dtype=", "quantization": "scorer.quantization="}


def lacking(scorer: ScorerConf) -> str | None:
    """What a scorer needs and is not installed here, in a sentence; None: nothing."""
    if scorer.name != VLLM or find_spec("vllm") is not None:
        return None
    return (
        "scorer=vllm needs vLLM, which is not installed here: pip install vllm into this environment (Linux with a "
        "GPU), or serve with it from another, scorer=server scorer.serve='vllm serve {path} --port {port}'."
    )


def no_server(scorer: ScorerConf) -> str | None:
    """A sentence about scorer=server where none is named; None: there is one, or none is needed."""
    if scorer.name != SERVER or scorer.url is not None or scorer.serve is not None:
        return None
    return (
        "scorer=server needs scorer.url of a server that runs, or scorer.serve, the command that serves a checkpoint: "
        "for example scorer.serve='vllm serve {path} --port {port}'."
    )


def put_in(template: str, places: Mapping[str, str | None]) -> str:
    """A text with what goes in its places, whatever that holds; a place that is not known stays."""
    return _PLACE.sub(lambda match: places.get(match[0][1:-1]) or match[0], template)


def places_of(cell: Checkpoint) -> dict[str, str | None]:
    """What goes in the places of scorer.served_model and scorer.serve, as far as the checkpoint alone says."""
    is_here = cell.revision is None
    return {
        "path": cell.location if is_here else None,
        "repo": None if is_here else cell.location,
        "revision": cell.revision,
        "model": cell.model,
        "step": str(cell.step),
    }


def command_words(command: str, places: Mapping[str, str | None]) -> list[str]:
    """The words of scorer.serve with what goes in its places: no shell reads it."""
    return [put_in(word, places) for word in shlex.split(command)]


def engine_problems(scorer: ScorerConf) -> Iterator[str]:
    """Sentences about settings of an engine that cannot be right, or that no scorer would heed."""
    own = _OWN.get(scorer.name, ())
    for name in dict.fromkeys(name for names in _OWN.values() for name in names):
        value = getattr(scorer, name)
        if value not in (None, {}) and name not in own:
            of = " or ".join(f"scorer={which}" for which, names in _OWN.items() if name in names)
            yield f"scorer.{name} is '{value}', and the scorer is {scorer.name}: it is a setting of {of}."
    if scorer.name not in ENGINES:
        return
    yield from _not_theirs(scorer)
    if parse_size(scorer.check_most or "") is None:
        yield f"scorer.check_most is '{scorer.check_most}': write a size such as 4GB, or 0 to load no weights here."
    if not 0 < (scorer.check_tolerance or 0) < math.inf:
        yield f"scorer.check_tolerance is {scorer.check_tolerance}: it must be more than 0 nats a token."
    if scorer.name == SERVER:
        yield from _server_problems(scorer)
    else:
        yield from _vllm_problems(scorer.engine)


def _not_theirs(scorer: ScorerConf) -> Iterator[str]:
    """What the scorers of this process have and an engine has not."""
    if scorer.device != "auto":
        yield (
            f"scorer.device is '{scorer.device}', and scorer={scorer.name} does not choose one: set "
            "CUDA_VISIBLE_DEVICES where it runs, and leave auto here."
        )
    for name, plain in (("softmax_dtype", None), ("logits_cache", False), ("verify", 0)):
        if (value := getattr(scorer, name)) != plain:
            yield f"scorer.{name} is {value}, which scorer={scorer.name} has not: leave it out."


def _server_problems(scorer: ScorerConf) -> Iterator[str]:
    """Sentences about scorer=server alone."""
    for name in _POSITIVE:
        if not 0 < (value := getattr(scorer, name) or 0) < math.inf:
            yield f"scorer.{name} is {value}: it must be more than 0."
    for name in ("retries", "backoff_s"):
        if not 0 <= (-1 if (value := getattr(scorer, name)) is None else value) < math.inf:
            yield f"scorer.{name} is {value}: it must be 0 or more."
    if scorer.url is not None and scorer.serve is not None:
        yield f"scorer.url is '{scorer.url}', and scorer.serve would start a server of its own: leave one out."
    elif scorer.url is not None:
        yield from _url_problems(scorer.url)
    elif scorer.serve is not None:
        yield from _command_problems(scorer.serve)
    if scorer.dtype != "auto" and "{dtype}" not in (scorer.serve or ""):
        yield (
            f"scorer.dtype is {scorer.dtype}, and the server would not hear of it: write {{dtype}} into scorer.serve, "
            "or leave auto, which is whatever it serves."
        )


def _url_problems(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"scorer.url is '{url}': write http://HOST:PORT, or https://."
    elif parts.username is not None or parts.password is not None or parts.query:
        yield f"scorer.url holds a password or query, which would be kept: set the key as {API_KEY} in the environment."


def _command_problems(command: str) -> Iterator[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    has_model = any("{path}" in word or "{repo}" in word for word in words[1:])
    if not has_model or not any("{port}" in word for word in words[1:]):
        yield (
            f"scorer.serve is '{command}': it must be a command with {{port}} and with {{path}} or {{repo}}, such as "
            "'vllm serve {path} --port {port}'."
        )


def _vllm_problems(engine: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(set(engine) & set(_SET_ELSEWHERE)):
        yield f"scorer.engine has '{name}', which is set elsewhere: use {_SET_ELSEWHERE[name]} for it."
