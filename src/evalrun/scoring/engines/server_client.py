"""Requests to a server: several at once, and again where one is lost, is too many or fails on its side."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests

from evalrun.config.engine_settings import API_KEY
from evalrun.config.schema import ScorerConf
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.secrets import masked

log = logging.getLogger(__name__)
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # statuses that another time may not have
_CONNECT_S = 10.0
_LONGEST_S = 60.0  # between two tries, where the server does not ask for more
_ASKED_S = 600.0  # at most, of what it asks for
_SAID = 300  # characters of what a server says that a sentence repeats
Answer = Mapping[str, Any]


class RefusedError(Exception):
    """A request that the server understood and does not do; the message is what it said."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        super().__init__(said)


class ServerClient:
    """A server, by its address."""

    def __init__(self, url: str, conf: ScorerConf, why_gone: Callable[[], str | None] = lambda: None) -> None:
        """Prepare to ask; nothing is asked yet.

        Args:
            url: With or without /v1 and what may follow it.
            conf: How often, how long, how many at once.
            why_gone: Says, of a server that was started here, why it will not answer any more.
        """
        self.why_gone = why_gone
        self.url = url.rstrip("/")
        for end in ("/completions", "/v1"):
            self.url = self.url.removesuffix(end)
        self._tries = 1 + (conf.retries or 0)
        self._backoff_s, self._timeout_s = conf.backoff_s or 0.0, conf.timeout_s
        self._at_once = conf.concurrency or 1
        self._end = threading.Event()
        self._mine = threading.local()

    def get(self, path: str) -> Any:
        """What is under a path, asked once; None where there is nothing, or no JSON."""
        try:
            answer = self._session().get(self.url + path, timeout=_CONNECT_S, allow_redirects=False)
            return answer.json() if answer.status_code == 200 else None
        except (requests.RequestException, ValueError):
            return None

    def models(self) -> list[dict[str, Any]]:
        """What the server lists as its models.

        Raises:
            CheckpointError: it does not answer, or not as such a server does.
        """
        try:
            found = self._asked("GET", "/v1/models", None)
        except RefusedError as error:
            wants_key = error.status in (401, 403)
            remedy = f"set {API_KEY} in the environment" if wants_key else "scorer.url is http://HOST:PORT of its API"
            raise CheckpointError(f"{self.url} lists no models under /v1/models ({error}): {remedy}.") from None
        data = found.get("data")
        models = [one for one in data if isinstance(one, dict) and "id" in one] if isinstance(data, list) else []
        if not models:
            raise CheckpointError(f"{self.url} lists no model under /v1/models: it is no OpenAI-compatible server.")
        return models

    def complete(self, payload: Answer) -> Answer:
        """One completion.

        Raises:
            RefusedError: the server does not do it.
            CheckpointError: it is not answered, however often it is asked.
        """
        return self._asked("POST", "/v1/completions", payload)

    def complete_all(self, payloads: Sequence[Answer], done: Callable[[int, Answer], None]) -> None:
        """Many completions, each told in this thread as soon as it is there.

        Args:
            payloads: What to ask.
            done: Told the place of one and its answer.

        Raises:
            RefusedError, CheckpointError: as `complete`, of the first that fails; the others are left.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        found: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()
        stop = threading.Event()
        for place in range(len(payloads)):
            waiting.put(place)

        def work() -> None:
            while not stop.is_set():
                try:
                    place = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    found.put((place, self.complete(payloads[place])))
                except Exception as error:  # raised where it is waited for
                    found.put((place, error))

        # Threads that nobody waits for: one that hangs in a lost connection must not hold a job that was stopped.
        for _ in range(min(self._at_once, len(payloads))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for _ in payloads:
                place, answer = found.get()
                if isinstance(answer, Exception):
                    raise answer
                done(place, answer)
        finally:
            stop.set()

    def close(self) -> None:
        """Try nothing again that is being asked."""
        self._end.set()

    def _asked(self, method: str, path: str, payload: Answer | None) -> Answer:
        """An answer, however often it has to be asked for.

        Raises:
            RefusedError, CheckpointError: as `complete` says.
        """
        why, after = "", 0.0
        for number in range(self._tries):
            if number and self._end.wait(max(after, self._pause(number))):
                break
            after = 0.0
            try:
                answer = self._session().request(
                    method, self.url + path, json=payload, timeout=(_CONNECT_S, self._timeout_s), allow_redirects=False
                )
                if answer.status_code == 200:
                    content = json.loads(answer.content)
                    if isinstance(content, dict):
                        return content
                    raise ValueError("no object")
                why = f"{answer.status_code} {_said(answer)}".strip()
                if answer.status_code not in _AGAIN:
                    raise RefusedError(answer.status_code, why)
                after = _retry_after(answer)
            except requests.Timeout:
                why = f"no answer within {self._timeout_s:g} seconds (scorer.timeout_s)"
            except requests.RequestException as error:
                why = "the connection is refused" if "refused" in str(error) else type(error).__name__
            except ValueError:  # cut short, or no JSON
                why = "an answer that is no JSON"
            if (gone := self.why_gone()) is not None:
                raise CheckpointError(f"{gone}; the same command goes on from what is kept.")
            log.debug("%s%s, try %d of %d: %s", self.url, path, number + 1, self._tries, why)
        raise CheckpointError(
            f"the server at {self.url} does not answer {path} after {self._tries} tries: {why}. Start it, or look at "
            "its log; the same command goes on from what is kept."
        )

    def _pause(self, number: int) -> float:
        """Seconds before a further try: twice those before it, and not the same for all."""
        return min(_LONGEST_S, self._backoff_s * 2.0 ** (number - 1)) * random.uniform(0.5, 1.0)

    def _session(self) -> requests.Session:
        """This thread's connections."""
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is None:
            session = self._mine.session = requests.Session()
            session.trust_env = not _is_here(self.url)  # no proxy leads to this machine
            session.auth = _with_key  # else a password that netrc has for the host would be sent
        return session


def _with_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
    if key := os.environ.get(API_KEY):
        request.headers["Authorization"] = f"Bearer {key}"
    return request


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after(answer: requests.Response) -> float:
    """The seconds that a server asks to wait; 0 where it asks for none."""
    try:
        return min(_ASKED_S, max(0.0, float(answer.headers.get("Retry-After", 0))))
    except ValueError:  # a date
        return 0.0


def _said(answer: requests.Response) -> str:
    """What a server says of a fault, in a line."""
    try:
        content = answer.json()
    except ValueError:
        content = None
    inner = content.get("error", content) if isinstance(content, dict) else content
    text = inner.get("message") if isinstance(inner, dict) else inner
    words = " ".join(str(text or answer.reason or "").split())
    return masked(first_line(ValueError(words))[:_SAID])
