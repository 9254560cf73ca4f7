"""What a folder holds after a sweep, read from its files and MLflow's database alone, and whether two hold the same.

Nothing of evalrun is used here, so that a fault in how it reads cannot hide a fault in what it wrote.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

TIMES = {"finished_ms", "seconds"}  # these differ between two runs of the same sweep, and nothing else may
UPLOADING = ".artifact.uploading."  # an MLflow server's temporary file; it is left if the server is killed just then
UNSTEADY = {".html", ".pdf", ".svg"}  # files of a report that name times, hosts or objects; they must only be whole


def journal(folder: Path) -> dict[str, dict[str, Any]]:
    """The whole results of all jobs: path of the record -> what it says."""
    found = {}
    for path in sorted(folder.glob("multirun/*/*/*/results/*.json")):
        record = _record(path)
        if record is not None:
            found[str(path.relative_to(folder))] = record
    return found


def torn(folder: Path) -> list[str]:
    """Files of the journal that would be counted, and are not whole."""
    return [str(path) for path in sorted(folder.glob("multirun/*/*/*/results/*.json")) if _record(path) is None]


def litter(folder: Path) -> list[str]:
    """What killed processes left and nobody will read."""
    patterns = (
        "multirun/*/*/*/results/.*.tmp",
        "multirun/*/*/*/state-*.json",
        "multirun/.cache/*.npz.*",
        "mlruns/.write-test-*",
        "**/*.damaged",
        f"server/served/**/{UPLOADING}*",
    )
    return sorted(str(path.relative_to(folder)) for pattern in patterns for path in folder.glob(pattern))


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        items = path.with_suffix(".parquet").read_bytes()
    except (OSError, ValueError):
        return None
    return record if hashlib.sha256(items).hexdigest() == record.get("items_sha256") else None


def delivered(database: Path) -> dict[str, dict[str, int]]:
    """Run key -> task -> when the result was computed, of every task that the store counts; empty without a store."""
    found: dict[str, dict[str, int]] = {}
    for run in _runs(database):
        key, tags = run["tags"].get("evalrun.run_key"), run["tags"]
        for tag in tags if key else ():
            if tag.startswith("evalrun.task."):
                about = json.loads(tags[tag.replace(".task.", ".about.")])
                found.setdefault(str(key), {})[about["task"]] = about["finished_ms"]
    return found


def complete(database: Path) -> int:
    """How many checkpoints' runs are closed."""
    return sum("evalrun.run_key" in run["tags"] and run["status"] == "FINISHED" for run in _runs(database))


def _query(database: Path, query: str) -> list[tuple[Any, ...]]:
    if not database.is_file():
        return []
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # killed while the tables were made
        return []


def _runs(database: Path) -> list[dict[str, Any]]:
    """Every run that is not deleted, with all that MLflow keeps of it."""
    runs: dict[str, dict[str, Any]] = {}
    for run_id, name, status, experiment, place, started, ended in _query(
        database,
        "SELECT run_uuid, runs.name, status, experiments.name, artifact_uri, start_time, end_time FROM runs "
        "JOIN experiments USING (experiment_id) WHERE runs.lifecycle_stage = 'active' ORDER BY start_time, run_uuid",
    ):
        runs[run_id] = {
            "id": run_id, "name": name, "status": status, "experiment": experiment, "artifacts": place,
            "started": started, "ended": ended, "tags": {}, "params": {}, "latest": {}, "metrics": {},
        }  # fmt: skip
    for table, columns in (("tags", "key, value"), ("params", "key, value"), ("latest_metrics", "key, value")):
        for run_id, key, value in _query(database, f"SELECT run_uuid, {columns} FROM {table}"):
            if run_id in runs:
                runs[run_id][table.removesuffix("_metrics")][key] = value
    for run_id, key, value, step in _query(
        database, "SELECT run_uuid, key, value, step FROM metrics ORDER BY step, timestamp"
    ):
        if run_id in runs:
            runs[run_id]["metrics"].setdefault(key, []).append([step, value])
    return list(runs.values())


def snapshot(folder: Path, database: Path, served: Path | None = None, address: str = "") -> dict[str, Any]:
    """All of a folder that two equal sweeps share, as plain data.

    Args:
        folder: Where the sweep ran.
        database: MLflow's SQLite file.
        served: Where a server keeps artifacts; None where they are beside the database.
        address: The server's, which is in the config and so in the sweep's name; both are left out.
    """
    runs = _runs(database)
    names = {run["id"]: f"<{run['experiment']}: {_name(run)}>" for run in runs}

    sweeps = {run["tags"].get("evalrun.sweep", "") for run in runs} - {""}
    if len(sweeps) == 1:  # more than one are a difference
        names[sweeps.pop()] = "<sweep>"
    if address:
        names[address] = "<server>"

    def plain(text: str) -> str:
        for found, name in names.items():
            text = text.replace(found, name)
        return text.replace(str(folder), ".")

    experiments: dict[str, Any] = {}
    for name, stage in _query(database, "SELECT name, lifecycle_stage FROM experiments"):
        experiments[name] = {"stage": stage, "tags": {}, "runs": {}}
    for name, key, value in _query(
        database, "SELECT experiments.name, key, value FROM experiment_tags JOIN experiments USING (experiment_id)"
    ):
        experiments[name]["tags"][key] = plain(value)
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        place = run["experiment"], _name(run)
        counts[place] += 1
        if counts[place] > 1 and place[1] == "report":  # a sweep that was killed after its report makes another
            continue
        name = place[1] if counts[place] == 1 else f"{place[1]} (number {counts[place]} of the same)"
        experiments[place[0]]["runs"][name] = _content(run, _artifacts(run, served), plain)
    records = {path: _steady(record, plain) for path, record in journal(folder).items()}
    made = {plain(name): plain(content) for name, content in _digests(folder / "multirun" / "analysis")}
    return {"journal": records, "torn": torn(folder), "store": experiments, "analysis": made}


def duplicates(found: dict[str, Any]) -> int:
    """Runs beyond the first of the same checkpoint or curve, in a snapshot."""
    return sum(" of the same)" in name for experiment in found["store"].values() for name in experiment["runs"])


def _name(run: dict[str, Any]) -> str:
    """What a run is of; two of one name are a duplicate, unless they are finished reports."""
    tags = run["tags"]
    if tags.get("evalrun.kind") != "report":
        return f"{run['name']} {tags.get('evalrun.run_key', '')[:12]}".strip()
    return "report" if tags.get("evalrun.state") == "complete" else f"unfinished report {run['id']}"


def _content(run: dict[str, Any], artifacts: dict[str, str], plain: Any) -> dict[str, Any]:
    tags = {key: plain(value) for key, value in run["tags"].items()}
    for key in [key for key in tags if key.startswith("evalrun.about.")]:
        tags[key] = {k: v for k, v in json.loads(tags[key]).items() if k not in TIMES}
    # Of the clock's time, and of a process' number.
    for key in ("mlflow.runName", "evalrun.points", "evalrun.points_of", "evalrun.writer"):
        tags.pop(key, None)
    known = {key: values for key, values in run["metrics"].items() if key not in TIMES}
    return {
        "status": run["status"],
        "ended": run["ended"] is not None and run["ended"] >= run["started"],
        "tags": tags,
        "params": {key: plain(value) for key, value in run["params"].items()},
        "metrics": known,  # every value ever logged: a second one would be a difference
        "latest": {key: value for key, value in run["latest"].items() if key not in TIMES},
        "timed": {key: len(values) for key, values in run["metrics"].items() if key in TIMES},
        "artifacts": {name: plain(value) for name, value in artifacts.items()},
    }


def _artifacts(run: dict[str, Any], served: Path | None) -> dict[str, str]:
    """The files of a run."""
    place = run["artifacts"]
    folder = Path(place.removeprefix("file://"))
    if served is not None:
        folder = served / place.partition(":")[2].lstrip("/")
    return dict(_digests(folder))


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Files by their path in a folder: their text where two sweeps may differ in parts of it, else their sha256."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith(UPLOADING):
            continue
        name, content = str(path.relative_to(folder)), path.read_bytes()
        if path.suffix in UNSTEADY:
            ends = {".html": b"</html>", ".pdf": b"%%EOF", ".svg": b"</svg>"}
            yield name, "whole" if content.rstrip().endswith(ends[path.suffix]) else "torn"
        elif path.name == "made.json":  # digests of those files, and of a store that names its runs
            yield name, "whole" if json.loads(content) else "torn"
        elif path.name == "results.csv":
            yield name, _without_columns(content.decode(), {"run_id", "finished_ms"})
        elif path.suffix == ".json":
            yield name, json.dumps(_steady(json.loads(content), str), sort_keys=True)
        elif path.suffix in (".yaml", ".csv", ".md", ".tex"):
            yield name, content.decode()
        else:
            yield name, hashlib.sha256(content).hexdigest()


def _without_columns(text: str, columns: set[str]) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    kept = [number for number, name in enumerate(lines[0]) if name not in columns]
    return "\n".join(sorted(",".join(line[number] for number in kept) for line in lines if len(line) == len(lines[0])))


def _steady(record: Any, plain: Any) -> Any:
    """A record without its times, paths from the folder on."""
    if isinstance(record, dict):
        return {key: _steady(value, plain) for key, value in record.items() if key not in TIMES}
    if isinstance(record, list):
        return [_steady(value, plain) for value in record]
    return plain(record) if isinstance(record, str) else record


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Every place where two snapshots differ, in words."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = []
        for key in sorted({*expected, *found}, key=str):
            place = f"{where}/{key}" if where else str(key)
            if key not in found:
                lines.append(f"{place} is missing")
            elif key not in expected:
                lines.append(f"{place} is there and should not be")
            else:
                lines += differences(expected[key], found[key], place)
        return lines
    return [] if expected == found else [f"{where} is {str(found)[:200]} and should be {str(expected)[:200]}"]
