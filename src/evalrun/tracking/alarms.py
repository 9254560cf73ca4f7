"""An alarm on a checkpoint's run: that a task fell, as a tag for programs and in the run's note for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalrun.core.errors import TrackingError
from evalrun.core.plain_names import slug
from evalrun.tracking import layout
from evalrun.tracking.alarm_tags import LOOKS, Look, alarms_of, fitting, last_number, looks_of, section, to_tag
from evalrun.tracking.backends import Backend
from evalrun.tracking.connection import MlflowConnection


class Alarms:
    """The looks at the checkpoints of trainings, and what they found. Every method raises TrackingError on failure."""

    def __init__(self, link: MlflowConnection, backend: Backend) -> None:
        self._link = link
        self._backend = backend

    def take_look(self, suite: str, run_id: str, compared: str) -> int:
        """The number of a look at a checkpoint, over all looks of its training: the one that it has, or the next.

        Args:
            suite: The checkpoint's.
            run_id: Of its run.
            compared: Names what is compared, such as a digest of its results.

        Raises:
            TrackingError: there is no such run, or the store cannot be written.
        """
        with self._link.guard("taking a look"), self._link.lock(f"looks-{slug(suite)}"):
            runs = self._backend.looks(suite)
            run = next((run for run in runs if run.run_id == run_id), None)
            if run is None or run.checkpoint is None:
                raise TrackingError(f"the results to look at are not in {self._link.shown} yet.")
            looks = looks_of(run.tags)
            if compared not in looks:
                cell = run.checkpoint
                looks[compared] = Look(1 + last_number(runs, cell.model, cell.seed, cell.stage))
                self._link.client.set_tag(run.run_id, LOOKS, to_tag(looks))
            return looks[compared].number

    def conclude(self, run_id: str, compared: str, level: float, fallen: Sequence[str]) -> None:
        """Note that a look was made and told, or that there was nothing to compare with and no look was taken.

        Args:
            run_id: Of the checkpoint's run.
            compared: As `take_look` was given it.
            level: That it was made at; 0 where none was taken.
            fallen: Tasks that fell.
        """
        with self._link.guard("noting a look"):
            looks = looks_of(self._link.client.get_run(run_id).data.tags)
            looks[compared] = replace(looks.get(compared, Look(0)), level=level, fallen=tuple(fallen))
            self._link.client.set_tag(run_id, LOOKS, to_tag(looks))

    def flag(
        self, run_id: str, sentences: Sequence[str], details: Sequence[Mapping[str, Any]], about: Collection[str]
    ) -> None:
        """Put an alarm on a checkpoint's run, beside those of other tasks: the tag `evalrun.alarm`, a part of its note.

        Args:
            run_id: The run.
            sentences: What fell; none takes the alarm off.
            details: The same in plain values; each has a `task`.
            about: The tasks that were compared.
        """
        with self._link.guard("noting what fell"):
            tags = self._link.client.get_run(run_id).data.tags
            others = [pair for pair in alarms_of(tags) if pair[1].get("task") not in about]
            text = fitting([*others, *zip(sentences, details, strict=True)])
            if tags.get(layout.ALARM) == text:
                return
            note = tags.get(layout.NOTE, "").partition(layout.ALARM_NOTE)[0]
            if text is None:
                self._link.client.delete_tag(run_id, layout.ALARM)
            else:
                self._link.client.set_tag(run_id, layout.ALARM, text)
                note += section({layout.ALARM: text})
            self._link.client.set_tag(run_id, layout.NOTE, note[: layout.TAG_LIMIT])
