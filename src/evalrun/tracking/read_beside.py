"""The results of several suites, read in processes beside this one, where that may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from evalrun.config.schema import TrackingConf
from evalrun.core.second_process import Helper
from evalrun.core.stages import stage
from evalrun.tracking.store import Store

if TYPE_CHECKING:  # pandas takes a second to be imported
    from evalrun.tracking.suite_table import SuiteTable

_MOST = 4  # processes; suites beyond are read in turn


def read_suites(
    store: Store, suites: Sequence[str], meanwhile: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, SuiteTable]]:
    """Each suite with its results; what there is to do `meanwhile` is done before the first is waited for.

    Args:
        store: Only a SQLite file is read by another process: a server may keep one waiting, which is to be seen here.
        suites: Their names.
        meanwhile: Is called once.

    Raises:
        TrackingError: the store cannot be read.
    """
    with ExitStack() as open_now:
        helpers = [Helper(forks=store.file_state() is not None) for _ in suites[:_MOST]]
        for helper in helpers:
            open_now.callback(helper.close)
        if all(helper.is_beside for helper in helpers):
            asked = [
                helper.ask(_read, store.conf, suite) for suite, helper in zip(suites, cycle(helpers), strict=False)
            ]
        else:
            asked = [partial(store.read, suite) for suite in suites]
        meanwhile()
        for suite, read in zip(suites, asked, strict=True):
            with stage("reading results"):
                found = read()
            yield suite, found


def _read(conf: TrackingConf, suite: str) -> SuiteTable:
    return Store(conf).read(suite)
