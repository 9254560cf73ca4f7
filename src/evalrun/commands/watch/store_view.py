"""What the store holds, read once a look: by many runs the same suite is asked about."""

from __future__ import annotations

from collections.abc import Iterable

from evalrun.core.records import Checkpoint
from evalrun.tracking import Store
from evalrun.tracking.layout import RunEntry


class StoreView:
    """The runs of suites as they were when a look began, and those that changed since, as this process changed them.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._filed: dict[str, dict[str, RunEntry]] = {}
        self._stamp: str | None = None

    def begin(self) -> None:
        """A new look: what was read before is read again when it is asked for, unless nobody has written since."""
        state = self._store.file_state()
        stamp = None if state is None else state.stamp()
        if stamp is None or stamp != self._stamp:
            self._filed.clear()
        self._stamp = stamp

    def filed(self, suite: str) -> dict[str, RunEntry]:
        """A suite's checkpoint runs by their keys.

        Raises:
            TrackingError: the store cannot be read.
        """
        if suite not in self._filed:
            self._filed[suite] = self._store.filed(suite)
        return self._filed[suite]

    def settle_tokens(self, cells: Iterable[Checkpoint]) -> None:
        """Put right what runs of these checkpoints say of their tokens.

        Raises:
            TrackingError: the store fails.
        """
        if self._store.tokens.settle(cells, self._filed):
            self._filed.clear()

    def again(self, suite: str, run_key: str) -> RunEntry | None:
        """A run as it is now; None where there is none.

        Raises:
            TrackingError: the store cannot be read.
        """
        runs = self.filed(suite)
        entry = self._store.entry(suite, run_key)
        if entry is not None:
            runs[run_key] = entry
        return entry
