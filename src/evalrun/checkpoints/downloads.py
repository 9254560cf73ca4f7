"""Which checkpoints a sweep downloaded or converted itself, so that with `keep_checkpoints=false` it deletes those and
no others.

`multirun/.cache/downloads.jsonl` gains a line, on disk before the step it speaks of: `claim` before a download, `used`
after a job, `deleting` and `gone` around a deletion. A claim is a line with a token and a file of that token in the
revision's folder of the hub's cache, made only where that folder was absent or empty. Either alone proves nothing: a
folder without the token is the user's, or another sweep's, and stays. So a kill between any two steps can cost a
deletion, never somebody else's files. Of a checkpoint that is converted the same is noted of what is made.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints import ResolvedCheckpoint, cached_revisions, conversions, download_log
from evalrun.checkpoints.conversions import Conversion
from evalrun.checkpoints.download_log import MARK, ClaimedPlace, LedgerState
from evalrun.config.schema import Config, parse_size
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.process import is_alive
from evalrun.core.records import Checkpoint
from evalrun.journal import result_files

log = logging.getLogger(__name__)
_POLL_S = 2.0
_CONVERTED = "converted"  # in a claim: its folder is that of a conversion


class Ledger:
    """The downloads of one sweep; one for each process at work on it, all on the same file."""

    def __init__(self, config: Config) -> None:
        self.active = not config.keep_checkpoints
        self.sweep = config.sweep or f"run-{job_id(config)}"
        self.budget = parse_size(config.disk_budget) if config.disk_budget else None
        self.trust_pickle = config.trust_pickle

    def expect(self, cells: Sequence[Checkpoint]) -> None:
        """Begin a sweep: say how many jobs need each checkpoint, and delete what an earlier, killed one left unneeded.

        Args:
            cells: One for each job that will run.
        """
        if not self.active:
            return
        wanted: dict[str, int] = defaultdict(int)
        for cell in cells:
            wanted[_name(cell)] += 1
        with download_log.locked():
            self._finish_deletions()
            download_log.append({"event": "expect", "sweep": self.sweep, "wanted": dict(wanted)})
            self._delete_unneeded()

    def claim(self, cell: Checkpoint, commit: str, wait: bool = True) -> None:
        """Say that a checkpoint is about to be downloaded, unless it is there; keeps within the disk budget.

        Args:
            cell: Which checkpoint.
            commit: What its revision stands for.
            wait: Wait for room; else raise.

        Raises:
            CheckpointError: no room within the budget, or the hub's cache or the ledger cannot be written.
        """
        if not self.active or cell.revision is None:
            return
        snapshot = _snapshot(cell, commit)
        what = {"repository": cell.location, "commit": commit}
        place = ClaimedPlace(cell, snapshot, partial(_is_there, snapshot), partial(self._size, cell, commit), what)
        try:
            self._claim(place, wait)
        except OSError as error:
            raise CheckpointError(f"{cell.label} cannot be downloaded: {first_line(error)}; check the disk.") from None

    def claim_conversion(self, wanted: Conversion) -> None:
        """Say that a checkpoint is about to be converted, unless it is there; waits for room within the disk budget.

        What will be made is taken to be as large as what is converted, and no larger than the budget.

        Raises:
            CheckpointError: the ledger or the folder cannot be written.
        """
        if not self.active:
            return
        size = partial(min, conversions.bytes_of(Path(wanted.cell.location)))
        try:
            self._claim(
                ClaimedPlace(wanted.cell, wanted.folder, wanted.model.is_dir, size, {_CONVERTED: True}), wait=True
            )
        except OSError as error:
            label = wanted.cell.label
            raise CheckpointError(f"{label} cannot be converted: {first_line(error)}; check the disk.") from None

    def weigh(self, wanted: Conversion) -> None:
        """Count what was made as large as it is.

        Raises:
            CheckpointError: it is larger than the whole budget.
        """
        if not self.active:
            return
        size = conversions.bytes_of(wanted.model)
        with download_log.locked():
            for claim in self._mine(download_log.read()).values():
                if claim["snapshot"] == str(wanted.folder.absolute()):
                    download_log.append({**claim, "size": size})
        if self.budget is not None:
            _refuse_larger(wanted.cell, size, self.budget)

    def _claim(self, place: ClaimedPlace, wait: bool) -> None:
        size, said = 0, False
        if self.budget is not None and not place.is_there():
            size = place.size(self.budget)
        while not self._try_to_claim(place, size):
            if not wait:
                raise CheckpointError(f"no room for {place.cell.label} within disk_budget.")
            if not said:
                log.info("%s: waiting for room within disk_budget", place.cell.label)
                said = True
            time.sleep(_POLL_S)

    def used(self, cell: Checkpoint, job: str) -> None:
        """End a job: after the last one that needs a checkpoint, delete it if this sweep downloaded it."""
        if not self.active:
            return
        with download_log.locked():
            download_log.append({"event": "used", "sweep": self.sweep, "name": _name(cell), "job": job})
            self._delete_unneeded()

    def finish(self) -> None:
        """End a sweep: nothing that it downloaded is needed any more."""
        if self.active:
            self.expect([])

    def _size(self, cell: Checkpoint, commit: str, budget: int) -> int:
        """Bytes that a checkpoint takes on the disk, by the hub's list of its files.

        Raises:
            CheckpointError: the hub cannot be asked, or it is more than the whole budget (bytes).
        """
        try:
            size = sum(checkpoints.sizes(cell.location, commit, self.trust_pickle).values())
        except Exception as error:  # no network comes in many classes
            raise CheckpointError(
                f"the size of {cell.label} is not known, which disk_budget needs: the hub is failing "
                f"({first_line(error)}); connect, or set disk_budget=null."
            ) from None
        _refuse_larger(cell, size, budget)
        return size

    def _try_to_claim(self, place: ClaimedPlace, size: int) -> bool:
        """Claim a checkpoint's folder before anything is put there; False: the budget has no room for it now.

        Args:
            place: Of which checkpoint.
            size: Bytes that it will take.
        """
        folder = place.folder.absolute()
        with download_log.locked():
            if place.is_there():  # the user's, or claimed already: then this process needs it too
                for claim in self._mine(download_log.read()).values():
                    if claim["snapshot"] == str(folder) and os.getpid() not in claim.get("pids", ()):
                        download_log.append({**claim, "pids": [*claim.get("pids", ()), os.getpid()]})
                return True
            if self.budget is not None and self._held() + size > self.budget:
                self._delete_unneeded()
                if self._held() + size > self.budget:
                    self._delete_of_the_dead()
                if self._held() + size > self.budget:
                    return False
            token = uuid.uuid4().hex
            who = {"sweep": self.sweep, "host": platform.node(), "pids": [os.getpid()]}
            what = {**place.what, "name": _name(place.cell), "size": size}
            download_log.append({"event": "claim", "token": token, "snapshot": str(folder), **what, **who})
            folder.mkdir(parents=True, exist_ok=True)
            download_log.write(folder / MARK, token)
        return True

    def _mine(self, book: LedgerState) -> dict[str, dict[str, Any]]:
        """Claims of this sweep whose folder still carries their token."""
        return {
            t: claim
            for t, claim in book.claims.items()
            if claim["sweep"] == self.sweep and download_log.is_marked(t, claim)
        }

    def _held(self) -> int:
        return sum(claim["size"] for claim in self._mine(download_log.read()).values())

    def _delete_unneeded(self) -> None:
        book = download_log.read()
        wanted = book.wanted.get(self.sweep, {})
        for token, claim in self._mine(book).items():
            name = claim["name"]
            if len(book.used[self.sweep, name]) >= wanted.get(name, 0):
                self._delete(token, claim)

    def _delete_of_the_dead(self) -> None:
        """What a killed process of this machine had claimed; its job fetches it again."""
        for token, claim in self._mine(download_log.read()).items():
            if claim["host"] == platform.node() and not any(map(is_alive, claim.get("pids", ()))):
                self._delete(token, claim)

    def _delete(self, token: str, claim: Mapping[str, Any]) -> None:
        """Take one revision out of the hub's cache; what others share stays.

        Or what was made of a checkpoint, of which the notes stay.
        """
        folder = Path(claim["snapshot"])
        if claim.get(_CONVERTED):
            conversions.delete(folder)
            (folder / MARK).unlink(missing_ok=True)
            download_log.append({"event": "gone", "token": token})
            return
        weights, blobs = (sorted(map(str, cached_revisions.blobs_of(folder, only))) for only in (True, False))
        download_log.append({"event": "deleting", "token": token, "blobs": blobs, "weights": weights})
        cached_revisions.delete_snapshot(folder)
        self._finish_deletions()
        log.debug("deleted %s of %s: its last use is over", claim["commit"], claim["repository"])

    def _finish_deletions(self) -> None:
        """Delete blobs of deleted revisions that no other links to; what a kill in the middle left, too.

        Configs and tokenizers are one blob for all steps of a model, and a download at work takes one that is there as
        its own: they stay until no claim of the repository is left.
        """
        book = download_log.read()
        for token, line in book.deleting.items():
            folder = Path(book.claims[token]["snapshot"])
            if (folder / MARK).exists():  # the kill came before the deletion, or it is fetched again
                continue
            repository = folder.parents[1]
            others = any((repository / "snapshots").glob(f"*/{MARK}"))
            cached_revisions.delete_blobs(repository, map(Path, line["weights"] if others else line["blobs"]))
            if not others:
                download_log.append({"event": "gone", "token": token})


@contextmanager
def at_work(config: Config, located: ResolvedCheckpoint) -> Iterator[None]:
    """A job on a checkpoint: claimed before its download, given up after its last use, whatever happens between."""
    ledger = Ledger(config)
    try:
        yield
    finally:
        try:
            if located.conversion is not None or located.cell.revision is not None:
                ledger.used(located.cell, job_id(config))
        except OSError as error:  # a deletion that fails is not worth a result
            log.warning("%s stays on the disk: %s", located.cell.label, first_line(error))


def job_id(config: Config) -> str:
    """One job of a sweep, the same in every process."""
    return result_files.digest(asdict(replace(config, sweep=None)))[:16]


def claimer(config: Config) -> Callable[[Checkpoint, str], None]:
    """What reading ahead asks before it downloads; raises where there is no room."""
    ledger = Ledger(config)
    return lambda cell, commit: ledger.claim(cell, commit, wait=False)


def _refuse_larger(cell: Checkpoint, size: int, budget: int) -> None:
    if size > budget:
        raise CheckpointError(
            f"{cell.label} takes {size / 1e9:.3g} GB, more than disk_budget={budget / 1e9:.3g}GB allows: raise it."
        )


def _snapshot(cell: Checkpoint, commit: str) -> Path:
    return checkpoints.repository_cache(cell.location) / "snapshots" / commit


def _is_there(snapshot: Path) -> bool:
    return snapshot.is_dir() and any(snapshot.iterdir())


def _name(cell: Checkpoint) -> str:
    return f"{cell.location}@{cell.revision}"
