from __future__ import annotations

import pytest

pytest.register_assert_rewrite("launchers.contract")

from .workspaces import reference, reference_folder  # noqa: E402

__all__ = ["reference", "reference_folder"]
