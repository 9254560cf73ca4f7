"""Many checkpoints at once into PostgreSQL: what `runs.deliver` does for one, in a transaction for some hundred runs.

No lock keeps apart those who write there, as the one beside a file does (`bulk`). So new runs are claimed as in
`claims`, in the transaction that writes them: whoever wants one of them meanwhile waits, then finds it whole. What is
killed leaves neither claims nor rows; its artifacts are written anew by the next, whose runs have the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evalrun.tracking import bulk_rows, claims, delivery_groups, layout, mlflow_tables, new_runs, runs, sql_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.new_runs import RunPlace

_RUNS_A_TRANSACTION = 500  # bounds memory, and how long others wait who file the same: some 65,000 rows, seconds
_NO_ORIGIN = layout.Origin()


def deliver_one(link: MlflowConnection, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File the results of one checkpoint; a run that is not there yet takes one transaction, not a dozen."""
    if delivery_groups.is_one_run(results):
        first = results[0][0]
        if not sql_reader.runs(link, first.cell.suite, first.run_key):
            origin = layout.Origin(sweep, config_yaml)
            place = bulk_rows.place_of(link, first.cell.suite)
            if is_here(place) and (ids := _write(link, place, [results], {first.run_key: origin})):
                return ids[first.run_key]
    return runs.deliver(link, results, sweep, config_yaml, claims.create)


def deliver(link: MlflowConnection, results: layout.Delivery, origins: Mapping[str, layout.Origin]) -> None:
    """File results of any number of checkpoints; what it leaves is what `deliver_one` leaves."""
    for suite, groups in delivery_groups.grouped(results).items():
        place = bulk_rows.place_of(link, suite)
        place = replace(place, sizes=place.sizes | {group[0][0].cell.n_params for group in groups.values()})
        todo = delivery_groups.in_order(groups)
        for start in range(0, len(todo), _RUNS_A_TRANSACTION):
            keys = todo[start : start + _RUNS_A_TRANSACTION]
            there = layout.by_key(sql_reader.runs_of_keys(link, suite, keys))
            fresh = [groups[key] for key in keys if key not in there]
            made = _write(link, place, fresh, origins) if is_here(place) else {}
            lost = [key for key in keys if key not in there and key not in made]  # others have them, or are at it
            there |= layout.by_key(sql_reader.runs_of_keys(link, suite, lost))
            for key in keys:
                if key in made or (key in there and there[key].holds(result for result, _ in groups[key])):
                    continue
                origin = origins.get(key, _NO_ORIGIN)
                runs.deliver(link, groups[key], origin.sweep, origin.config_yaml, claims.create)


def is_here(place: RunPlace) -> bool:
    """Whether artifacts are files: what takes long to be sent is not waited for in a transaction."""
    return place.artifacts.startswith("file:")


def _write(
    link: MlflowConnection, place: RunPlace, groups: Sequence[layout.Delivery], origins: Mapping[str, layout.Origin]
) -> dict[str, str]:
    """New runs in one transaction, those that nobody else has claimed: run key -> id."""
    if not groups:
        return {}
    ids = delivery_groups.new_ids(groups, lambda some: bulk_rows.taken(link, some))
    own = {group[0][0].run_key: run_id for run_id, group in zip(ids, groups, strict=True)}
    anchor = claims.anchor(link)
    with mlflow_tables.transaction(link.client) as connection:
        ours = claims.claim_many(connection, anchor, own)
        made = []
        for group in groups:
            key = group[0][0].run_key
            if key in ours:  # else its artifacts are those of the run that another process writes
                origin, newest = origins.get(key), delivery_groups.newest(group)
                run = new_runs.make(place, own[key], [result for result, _ in newest], origin)
                new_runs.upload(run.artifacts, newest, origin)
                made.append(replace(run, tags={claims.CLAIM: key, **run.tags}))
        bulk_rows.insert_runs(connection, place, made)
    return {key: own[key] for key in ours}
