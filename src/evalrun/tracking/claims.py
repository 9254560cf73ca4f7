"""One run for one key, whoever makes it: processes of one host, or of several hosts that share a server.

MLflow's tags are not unique and its servers choose run ids, so that two processes which both look, find nothing and
create make two runs. A local SQLite file is guarded by a file lock beside it, as far as SQLite itself can be shared.
Everywhere else a run is claimed: a parameter, once logged, never changes, so the first to log its new run's id under
the key on a run that all know owns the key; whoever comes second deletes the run it made and uses the owner's. That
run is alone in the experiment `evalrun-claims`, and is the same for all because experiments' names are unique. Where
SQL is spoken the same parameters are inserted for many runs at once.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from mlflow.entities import LifecycleStage, RunTag
from mlflow.exceptions import MlflowException

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.mlflow_tables import SqlParam, SqlRun, insert_missing

EXPERIMENT = "evalrun-claims"
CLAIM = "evalrun.claim"  # on a run that was made for a key; the owner has the key's own tag too
_ANCHOR = "evalrun.anchor"
_TIMES = 1000  # that a key can be claimed
_ABANDONED_MS = 5 * 60 * 1000  # a draft is in use for three requests
_NOTE = "evalrun's own: says which run holds which checkpoint, so that two machines never file one twice. Leave it be."


def create(link: MlflowConnection, experiment: Any, started: int, tags: Mapping[str, str], name: str) -> Any:
    """A new run for a key, or the one that another process made or is making for it.

    Args:
        link: The store; not a SQLite file, whose lock does for it.
        experiment: Where the run goes.
        started: Unix time in milliseconds.
        tags: The run's, with its key.
        name: The run's.

    Raises:
        TrackingError: the key stays claimed by runs that are deleted.
    """
    key = tags[layout.KEY]
    # Without its key and kind no reader takes it for a checkpoint's run, should this process end here.
    own = link.client.create_run(experiment.experiment_id, start_time=started, tags={CLAIM: key}, run_name=name)
    owner = _claim(link, anchor(link), key, str(own.info.run_id))
    _delete_others(link, experiment, key, owner)
    missing = {tag: value for tag, value in tags.items() if tag not in link.client.get_run(owner).data.tags}
    if missing:  # also when another process made the run: it may have ended before it got here
        link.client.log_batch(owner, tags=[RunTag(tag, value) for tag, value in missing.items()])
    return link.client.get_run(owner)


def claim_many(connection: sa.Connection, anchor_id: str, own: Mapping[str, str]) -> set[str]:
    """Claim the keys of many new runs, in the transaction that makes them: it ends the claims if it fails.

    Args:
        connection: To PostgreSQL. Where another transaction claims one of the keys, it waits for its end.
        anchor_id: What `anchor` says.
        own: Key -> the id that its run is to have.

    Returns:
        The keys that are owned now; the others are those of runs that others made, or are making.
    """
    ours: set[str] = set()
    asked, places = sorted(own), SqlParam.__table__.c  # in one order, so that no two wait for each other
    for count in range(1, _TIMES):  # as `_claim` does
        rows = [(anchor_id, f"{key}.{count}", own[key]) for key in asked]
        new = set(insert_missing(connection, SqlParam, rows, SqlParam.key))
        others = {f"{key}.{count}": key for key in asked if f"{key}.{count}" not in new}
        ours |= set(asked) - set(others.values())
        held = sa.select(places.key, places.value).where(places.run_uuid == anchor_id, places.key.in_(others))
        owners = {others[place]: owner for place, owner in connection.execute(held)}
        there = sa.select(SqlRun.run_uuid).where(
            SqlRun.run_uuid.in_(set(owners.values())), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE
        )
        active = set(connection.scalars(there))
        asked = [key for key in asked if key in owners and owners[key] not in active]
        if not asked:
            break
    return ours


def _claim(link: MlflowConnection, anchor_id: str, key: str, own: str) -> str:
    """The run that owns the key: this one, unless another was first and is not deleted."""
    for count in range(1, _TIMES):  # each time that somebody deletes the owner, the key can be claimed anew
        place = f"{key}.{count}"
        try:
            link.client.log_param(anchor_id, place, own)
            return own
        except MlflowException as error:
            owner: str | None = link.client.get_run(anchor_id).data.params.get(place)
            if owner is None:
                raise error
        if owner == own or _is_active(link, owner):  # its own: the reply to a first try was lost
            return owner
    raise TrackingError(f"the run of key {key} at {link.shown} was deleted too often; choose another suite name.")


def _is_active(link: MlflowConnection, run_id: str) -> bool:
    try:
        return bool(link.client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # deleted for good
            return False
        raise


def _delete_others(link: MlflowConnection, experiment: Any, key: str, owner: str) -> None:
    """Delete the empty runs of those who came second, and those left behind when a reply of the server was lost."""
    made = link.client.search_runs([experiment.experiment_id], filter_string=f"tags.`{CLAIM}` = '{key}'")
    for run in made:
        if run.info.run_id != owner and layout.KEY not in run.data.tags:
            with contextlib.suppress(MlflowException):  # another process was faster
                link.client.delete_run(run.info.run_id)


def anchor(link: MlflowConnection) -> str:
    """The run that all claims are logged on."""
    found = link.experiment(EXPERIMENT)
    if found is None:
        # Made under a name of its own, then renamed: whoever is first to have the name has made the anchor.
        draft = f"{EXPERIMENT}-{uuid.uuid4().hex}"
        number = link.client.create_experiment(draft, tags={layout.KIND: "claims", layout.NOTE: _NOTE})
        try:
            run = link.client.create_run(number, run_name="claims", tags={layout.KIND: "claims"})
            link.client.set_experiment_tag(number, _ANCHOR, run.info.run_id)
            link.client.rename_experiment(number, EXPERIMENT)
        except MlflowException:
            _delete_draft(link, number)
            found = link.experiment(EXPERIMENT)
            if found is None:
                raise
        else:
            found = link.experiment(EXPERIMENT)
            _delete_old_drafts(link, found.creation_time)
    return str(found.tags[_ANCHOR])


def _delete_old_drafts(link: MlflowConnection, now: int) -> None:
    """Those of processes that were killed over them.

    Not one that may be in use: a server answers the renaming of a deleted experiment with status 500, which MLflow's
    client takes for a passing fault and tries again for four minutes.

    Args:
        link: The store.
        now: Unix time in milliseconds by the clock that dates experiments.
    """
    for draft in link.client.search_experiments(filter_string=f"name LIKE '{EXPERIMENT}-%'"):
        if draft.creation_time < now - _ABANDONED_MS:
            _delete_draft(link, draft.experiment_id)


def _delete_draft(link: MlflowConnection, number: str) -> None:
    with contextlib.suppress(MlflowException):  # no harm is done by one that stays
        link.client.delete_experiment(number)
