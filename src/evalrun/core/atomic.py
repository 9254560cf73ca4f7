"""Writing whole files or none."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from evalrun.core.errors import StorageError


def write_file(path: Path, content: str | bytes) -> Path:
    """Write beside the file, then rename: a reader sees the old file or the whole new one.

    Args:
        path: The file; its folder is made if need be.
        content: Text, written as UTF-8, or bytes.

    Returns:
        The path.

    Raises:
        StorageError: When the disk is full, the folder not writable or another system error in the way.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes files private; a report is read by others, as far as the user's umask lets them.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"No space left for {path} ({len(data):,} bytes); free some and run it again."
            ) from error
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
