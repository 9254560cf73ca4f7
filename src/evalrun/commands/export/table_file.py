"""The tidy table in one file: Parquet with its types and what each column means, or CSV."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.commands.export.request import ExportRequest, ExportSummary
from evalrun.core.atomic import write_file
from evalrun.core.columns import STAGE_COLUMNS, TABLE_COLUMNS
from evalrun.core.errors import ConfigError, StorageError
from evalrun.core.text import counted

if TYPE_CHECKING:
    import pyarrow as pa

_MARK = b"evalrun"  # in the schema of a Parquet file that is ours
_HEAD = ",".join(TABLE_COLUMNS)  # how a CSV file that is ours begins


def write_csv(asked: ExportRequest) -> ExportSummary:
    """The rows as CSV, in UTF-8; what is missing is empty, numbers have all their digits.

    Args:
        asked: What and where.

    Raises:
        ConfigError: the file holds something else.
        StorageError: it cannot be read or written.
    """
    from evalrun.reporting.csv_text import as_csv

    _check_place(asked.target)
    before = _bytes(asked.target)
    if before and not before.startswith(_HEAD.encode()):
        raise _foreign(asked.target, "it does not begin with the columns of one")
    text = as_csv(asked.table).encode()
    return _summary(asked, before == text, text)


def write_parquet(asked: ExportRequest) -> ExportSummary:
    """The rows as Parquet: whole numbers are whole where some are missing, each column says its meaning and unit.

    Args:
        asked: What and where.

    Raises:
        ConfigError: the file holds something else.
        StorageError: it cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_place(asked.target)
    before = _bytes(asked.target)
    table = _arrow(asked)
    is_same = False
    if before:
        try:
            there = pq.read_table(io.BytesIO(before))
        except (pa.ArrowException, OSError):
            raise _foreign(asked.target, "it is no whole Parquet file") from None
        if _MARK not in (there.schema.metadata or {}):
            raise _foreign(asked.target, "its schema has no mark of one")
        is_same = _same(there, table)
    if is_same:
        return _summary(asked, True, b"")
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return _summary(asked, False, buffer.getvalue())


def _arrow(asked: ExportRequest) -> pa.Table:
    """The rows as Arrow, with what is known of each column in its metadata."""
    import pyarrow as pa

    plain = pa.Table.from_pandas(asked.table, preserve_index=False)
    known = TABLE_COLUMNS | STAGE_COLUMNS
    fields = []
    for one in plain.schema:
        column = known[one.name]
        kind = pa.string() if column.dtype == "str" else one.type  # not large strings, which some readers lack
        fields.append(pa.field(one.name, kind, metadata={"meaning": column.meaning, "unit": column.unit}))
    told = {key: value for key, value in (plain.schema.metadata or {}).items() if key == b"pandas"}
    return plain.cast(pa.schema(fields, metadata={**told, _MARK: json.dumps(dict(asked.about)).encode()}))


def _same(there: pa.Table, table: pa.Table) -> bool:
    """Whether two tables hold the same, missing numbers being equal."""
    if there.schema.names != table.schema.names or there.num_rows != table.num_rows:
        return False
    return bool(there.to_pandas().equals(table.to_pandas()) and there.schema.metadata == table.schema.metadata)


def _summary(asked: ExportRequest, is_same: bool, content: bytes) -> ExportSummary:
    done = ExportSummary(counted(len(asked.table), "row"), kept=int(is_same))
    if not is_same:
        done.written.append(write_file(asked.target, content))
    return done


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, and this export is one file: name it, such as {path / 'results'}.")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _foreign(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is there already and is no export of evalrun ({why}): name another file.")
