"""Names that a path component or a key can have: what is plain is kept, anything else has a stand-in with a digest."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache


@lru_cache(maxsize=10_000)
def slug(name: str) -> str:
    """A name for one path component: itself if it is plain and at most 80 characters long."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        return name
    return stand_in(name)


def stand_in(name: str) -> str:
    """A readable name with a digest of the true one, so that no two names meet."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', name)[:60].strip('_') or 'name'}-{digest}"
