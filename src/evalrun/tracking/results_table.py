"""Reading back by MLflow's client: every metric of every task of every checkpoint run of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from mlflow.entities import ViewType

from evalrun.core import garbage
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.run_content import ITEMS_THERE, RunContent
from evalrun.tracking.suite_table import SuiteTable, suite_table

_PAGE = 1000


def suites(link: MlflowConnection) -> list[str]:
    """The suites that have checkpoint runs, sorted (`Store.suites`)."""
    wanted = f"tags.`{layout.KIND}` = 'checkpoints'"
    found = link.client.search_experiments(filter_string=wanted)
    if not found:
        for gone in link.client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=wanted):
            raise link.deleted(gone.name, gone.experiment_id)
    return sorted(
        experiment.name
        for experiment in found
        if link.client.search_runs(
            [experiment.experiment_id], filter_string=f"tags.`{layout.KIND}` = 'checkpoint'", max_results=1
        )
    )


def latest(link: MlflowConnection, suite: str) -> int:
    """When the newest result of a suite was computed, Unix time in milliseconds; 0 where there is none."""
    newest = link.client.search_runs(
        [link.experiment(suite).experiment_id],
        filter_string=f"tags.`{layout.KIND}` = 'checkpoint'",
        order_by=["attributes.end_time DESC"],
        max_results=1,
    )
    return int(newest[0].info.end_time or 0) if newest else 0


def read(link: MlflowConnection, suite: str) -> SuiteTable:
    """All results of a suite, by MLflow's client."""
    experiment = link.experiment(suite)
    runs = iter(()) if experiment is None else search(link, experiment.experiment_id, "checkpoint")
    return suite_table(iter(lambda: [_content(link, run) for run in islice(runs, _PAGE)], []))


def of_runs(link: MlflowConnection, run_ids: Iterable[str]) -> SuiteTable:
    """The results of some runs."""
    return suite_table([[_content(link, link.client.get_run(run_id)) for run_id in run_ids]])


def _content(link: MlflowConnection, run: Any) -> RunContent:
    is_bare = run.data.tags.get(ITEMS_THERE) == "none"
    (link.without_items.add if is_bare else link.without_items.discard)(run.info.run_id)
    return RunContent(run.info.run_id, run.data.tags, run.data.metrics)


def search(link: MlflowConnection, experiment_id: str, kind: str, run_key: str | None = None) -> Iterator[Any]:
    """All runs of a kind, or those of one key, page by page."""
    wanted = f"tags.`{layout.KIND}` = '{kind}'" + (f" AND tags.`{layout.KEY}` = '{run_key}'" if run_key else "")
    token: str | None = None
    while True:
        with garbage.without_search():  # MLflow makes an object of each metric and tag
            page = link.client.search_runs([experiment_id], filter_string=wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
