from __future__ import annotations

from .workspaces import reference, reference_folder

__all__ = ["reference", "reference_folder"]
