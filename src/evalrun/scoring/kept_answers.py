"""Texts that were written, kept until their task has a result: a job that is killed writes no text again.

Each is a line of a file in the job's folder, one file a task, appended as soon as the text has ended. A line is found
by what determines the text: the key of the task's result, the prompt, how it is continued, and which sample it is.
What a kill left of a last line is passed over.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalrun.core.errors import first_line
from evalrun.core.text import counted
from evalrun.journal import result_files
from evalrun.scoring.generation.generated import Generated

log = logging.getLogger(__name__)
FOLDER = "answers"


class KeptAnswers:
    """The texts of one job's unfinished tasks."""

    def __init__(self, folder: Path, keys: Mapping[str, str], anew: bool = False) -> None:
        """Look for what an earlier start kept.

        Args:
            folder: The job's.
            keys: Task -> key of its result.
            anew: Keep nothing of it: results are to be computed again.
        """
        self._folder, self._keys = folder / FOLDER, keys
        self._begun: set[str] = set()  # tasks whose file was seen to end with a whole line
        if anew:
            for task in keys:
                self.forget(task)

    def generate(self, lm: Any, requests: Sequence[Any]) -> list[Generated]:
        """What a scorer writes after each prompt; what is kept is not written again.

        Args:
            lm: A scorer, with `generate`.
            requests: lm-eval's instances; one that is there again is another sample.
        """
        names = self._names(requests)
        known = {name: text for task in {request.task_name for request in requests} for name, text in self._read(task)}
        found = {place: known[name] for place, name in enumerate(names) if name in known}
        if found:
            log.info("%s of %d kept from an earlier start", counted(len(found), "text"), len(requests))
        # Of a request with one that is not there all samples are asked for: each is told by its place among them.
        again = {id(requests[place]) for place in range(len(requests)) if place not in found}
        asked = [place for place, request in enumerate(requests) if id(request) in again]

        def keep(at: int, text: Generated) -> None:
            if asked[at] not in found and not lm.lost_texts:
                self._append(requests[asked[at]].task_name, names[asked[at]], text)

        written = lm.generate([requests[place] for place in asked], keep) if asked else []
        found.update(zip(asked, written, strict=True))
        return [found[place] for place in range(len(requests))]

    def forget(self, task: str) -> None:
        """A task has its result: nothing of it needs to be kept."""
        try:
            self._path(task).unlink(missing_ok=True)
            self._folder.rmdir()
        except OSError:  # others are there still, or it never was
            return

    def _names(self, requests: Sequence[Any]) -> list[str]:
        """What determines each text, as a digest."""
        times: Counter[int] = Counter()
        names = []
        for request in requests:
            times[id(request)] += 1
            content = [self._keys[request.task_name], *request.args, request.doc_id, times[id(request)]]
            names.append(result_files.digest_of_text(json.dumps(content, sort_keys=True, default=str)))
        return names

    def _path(self, task: str) -> Path:
        return self._folder / f"{result_files.record_name(task, self._keys[task])}l"

    def _read(self, task: str) -> list[tuple[str, Generated]]:
        """Name and text of each line that is whole."""
        try:
            lines = self._path(task).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return []
        found = []
        for line in lines[:-1]:  # what stands after the last line's end was cut short
            try:
                name, text, whole, tokens, finish = json.loads(line)
            except (ValueError, TypeError):
                continue
            found.append((name, Generated(text, whole, None if tokens is None else tuple(tokens), finish)))
        return found

    def _append(self, task: str, name: str, text: Generated) -> None:
        line = json.dumps([name, text.text, text.whole, text.tokens, text.finish]) + "\n"
        path = self._path(task)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                cut_short = task not in self._begun and file.tell() > 0 and path.read_bytes()[-1:] != b"\n"
                file.write(b"\n" * cut_short + line.encode())
            self._begun.add(task)
        except OSError as error:  # what cannot be kept is written again, which costs time alone
            log.debug("a text cannot be kept in '%s' (%s)", path, first_line(error))
