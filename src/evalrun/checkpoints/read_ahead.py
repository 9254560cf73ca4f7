"""While one checkpoint is scored, the files of the next are fetched and read: at most one ahead, in the background.

The thread downloads into the hub's cache and reads files, so that the operating system has them in memory; it builds
no model. Whatever goes wrong in it is left to the job that the files are for, which does all of it again and says why
it fails. The thread ends with the process, even in the middle of a download.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from evalrun import checkpoints
from evalrun.core.errors import first_line
from evalrun.core.records import Checkpoint

log = logging.getLogger(__name__)
_BLOCK = 1 << 24


class Ahead:
    """The jobs of this process in their order, and the thread for the next of them."""

    def __init__(self) -> None:
        self._order: list[Checkpoint] = []
        self._thread: threading.Thread | None = None

    def expect(self, order: Sequence[Checkpoint]) -> None:
        """Say which checkpoints this process will score, one after the other; nothing is fetched yet."""
        self._order = list(order)

    def wait(self) -> None:
        """Let the thread end, before its files are used."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def start(
        self,
        cell: Checkpoint,
        folder: Path,
        trust_pickle: bool = False,
        claim: Callable[[Checkpoint, str], None] | None = None,
    ) -> None:
        """Begin with the checkpoint after this one, unless it is not known or might fill the disk.

        Args:
            cell: The checkpoint that has just been loaded.
            folder: Its files, which the next are taken to be as large as.
            trust_pickle: Fetch pickled weights too.
            claim: Called with what is about to be downloaded and its commit; raises where it must not be.
        """
        self.wait()
        if cell not in self._order:
            return
        del self._order[: self._order.index(cell) + 1]
        following = next((other for other in self._order if other != cell), None)
        if following is None:
            return
        size = sum(file.stat().st_size for file in checkpoints.weight_files(folder))
        arguments = (following, trust_pickle, size, claim)
        self._thread = threading.Thread(target=_get, args=arguments, name="read-ahead", daemon=True)
        self._thread.start()


def _get(cell: Checkpoint, trust_pickle: bool, size: int, claim: Callable[[Checkpoint, str], None] | None) -> None:
    """Download a checkpoint and read its weights once, so that they are in memory when its job begins; never raises.

    Args:
        cell: Which checkpoint.
        trust_pickle: Pickled weights will do.
        size: Bytes that its weights take, by the last one that was loaded.
        claim: Called before anything is downloaded; None where nobody keeps a budget.
    """
    try:
        if cell.revision is None:
            folder = Path(cell.location)
        elif shutil.disk_usage(checkpoints.hub_cache()).free < 2 * size:
            return  # the results of the job at work need some of it
        else:
            folder = checkpoints.download(cell, trust_pickle, *([partial(claim, cell)] if claim else []))
        if 2 * size < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):  # else it would not stay in memory
            for file in checkpoints.weight_files(folder):
                _read(file)
    except Exception as error:  # the job that needs these files meets the same, and says it
        log.debug("%s could not be read ahead: %s", cell.label, first_line(error))


def _read(file: Path) -> None:
    buffer = bytearray(_BLOCK)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
