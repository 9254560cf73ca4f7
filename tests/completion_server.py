"""A server that speaks OpenAI's protocol over a small model of transformers, and can be told to misbehave.

Run as a program it serves a folder: `python completion_server.py FOLDER --port N [NAME=JSON ...]`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOCK = threading.Lock()  # of the model


class CompletionServer(ThreadingHTTPServer):
    """Answers under /v1; what is set of it below is how it misbehaves."""

    daemon_threads = True  # and none outlives `serving`: one that the interpreter's end meets aborts the process
    request_queue_size = 64

    def __init__(self, folder: Path, port: int = 0) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.open: dict[threading.Thread, socket.socket] = {}  # who answers, and to whom
        self.folder = folder  # whose weights answer
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.name, self.owner, self.window = str(folder), "vllm", 512
        self.takes_tokens = True
        self.scores = True  # log-probabilities of prompts
        self.ignores_echo = False  # as llama.cpp's did: one log-probability, of what is written
        self.logprobs = True  # of what is written
        self.llama = False  # these as llama.cpp's server tells them
        self.faults: list[str] = []  # what happens to the next requests: 429, 500, broken, half, garbage, late
        self.key: str | None = None
        self.pause = 0.0  # seconds before a text
        self.tells = False  # of each text on its standard output
        self.said: list[dict[str, Any]] = []  # requests that were understood
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *args: object) -> None:
        """A client that went away is none of its business."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def load(self, folder: Path) -> None:
        """Take the weights of another checkpoint, as a server does that is told to."""
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    @property
    def texts(self) -> list[dict[str, Any]]:
        """What was asked to be written for a task, with stop strings."""
        return [one for one in self.said if "stop" in one]

    def complete(self, asked: dict[str, Any]) -> dict[str, Any]:
        import torch

        prompt = asked["prompt"]
        tokens = list(prompt) if isinstance(prompt, list) else self.tokenizer(prompt)["input_ids"]
        with LOCK, torch.inference_mode():
            written, reason = self._write(tokens, asked)
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            stopped = next((stop for stop in asked.get("stop", []) if stop in text), None)
            if stopped is not None:
                text, reason = text.split(stopped)[0], "stop"
            choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
            if self.owner == "vllm":
                choice["stop_reason"] = stopped
                if asked.get("return_token_ids"):
                    choice["token_ids"] = written
            if asked.get("logprobs") is not None:
                echo = bool(asked.get("echo")) and not self.ignores_echo and self.scores
                if echo or self.logprobs:
                    choice["logprobs"] = self._told(tokens, written, echo)
        usage = {"prompt_tokens": len(tokens), "completion_tokens": len(written)}
        return {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}

    def _write(self, tokens: list[int], asked: dict[str, Any]) -> tuple[list[int], str]:
        import torch

        heat = asked.get("temperature", 1.0)
        generator = torch.Generator().manual_seed(asked.get("seed", 0))
        written: list[int] = []
        while len(written) < asked["max_tokens"]:
            logits = self.model(torch.tensor([tokens + written])).logits[0, -1].float()
            chosen = (
                logits.argmax() if heat == 0 else torch.multinomial((logits / heat).softmax(-1), 1, generator=generator)
            )
            written.append(int(chosen))
            if written[-1] == self.tokenizer.eos_token_id:
                return written, "stop"
            text = self.tokenizer.decode(written)
            if any(stop in text for stop in asked.get("stop", [])):
                return written, "stop"
        return written, "length"

    def _told(self, tokens: list[int], written: list[int], echo: bool) -> dict[str, Any]:
        import torch

        whole = torch.tensor([tokens + written])
        logprobs = self.model(whole).logits[0, :-1].float().log_softmax(-1)
        each = [None, *logprobs.gather(1, whole[0, 1:, None])[:, 0].tolist()]
        spelt = self.tokenizer.convert_ids_to_tokens(whole[0].tolist())
        tops = [
            None,
            *({self.tokenizer.convert_ids_to_tokens(int(row.argmax())): float(row.max())} for row in logprobs),
        ]
        begin = 0 if echo else len(tokens)
        if self.llama:
            ids = whole[0].tolist()
            return {"content": [{"id": ids[i], "token": spelt[i], "logprob": each[i]} for i in range(begin, len(ids))]}
        return {"tokens": spelt[begin:], "token_logprobs": each[begin:], "top_logprobs": tops[begin:]}

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, whose client may keep it open."""
        self.open[threading.current_thread()] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.open.pop(threading.current_thread(), None)

    def hang_up(self) -> None:
        """Close what clients keep open, and wait until nobody answers any more."""
        for thread, connection in list(self.open.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(30)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CompletionServer

    def do_GET(self) -> None:
        if self._refused():
            return
        card = {"id": self.server.name, "owned_by": self.server.owner, "max_model_len": self.server.window}
        known = {"/v1/models": {"data": [card]}, "/version": {"version": "0.0.test"}}
        found = known.get(self.path)
        self._send(404 if found is None else 200, found or {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        server = self.server
        with LOCK:
            fault = server.faults.pop(0) if server.faults else None
        if fault in ("429", "500", "503"):
            self._send(int(fault), {"error": {"message": f"told to answer {fault}"}}, {"Retry-After": "0"})
        elif fault == "broken":
            self.close_connection = True
        elif fault == "garbage":
            self._bytes(200, b"<html>a proxy</html>")
        elif fault == "half":
            self._bytes(200, b'{"choices": [', length=100_000)
            self.close_connection = True
        elif asked["model"] != server.name:
            self._send(404, {"error": {"message": f"The model `{asked['model']}` does not exist."}})
        elif isinstance(asked["prompt"], list) and not server.takes_tokens:
            self._send(422, {"detail": "prompt must be a string"})
        elif asked.get("echo") and not server.scores and not server.ignores_echo:
            self._send(400, {"error": {"message": "Only no echo is supported"}})
        else:
            if fault == "late":
                time.sleep(4)
            if "stop" in asked:
                time.sleep(server.pause)
            answer = server.complete(asked)
            with LOCK:
                server.said.append(asked)
            if server.tells and "stop" in asked:
                print("a text", flush=True)
            self._send(200, answer)

    def _refused(self) -> bool:
        wanted = self.server.key
        if wanted is not None and self.headers.get("Authorization") != f"Bearer {wanted}":
            self._send(401, {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}})
            return True
        return False

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._bytes(status, json.dumps(content).encode(), headers=headers)

    def _bytes(
        self, status: int, body: bytes, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing is said."""


@contextlib.contextmanager
def serving(folder: Path, **how: Any) -> Iterator[CompletionServer]:
    """A server in a thread of this process."""
    server = CompletionServer(folder)
    for name, value in how.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.hang_up()
        server.server_close()


if __name__ == "__main__":
    where, port, told = sys.argv[1], int(sys.argv[sys.argv.index("--port") + 1]), sys.argv[4:]
    made = CompletionServer(Path(where), port)
    for setting in told:
        name, _, value = setting.partition("=")
        setattr(made, name, json.loads(value))
    print(f"serving {where}", flush=True)
    made.serve_forever()
