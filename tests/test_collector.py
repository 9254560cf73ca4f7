"""What large libraries made is looked at once: what comes and goes afterwards is freed as ever."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from evalrun.core import collector


@pytest.fixture(autouse=True)
def _melted() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    ("for_good", "imports", "frozen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_only_an_import_for_good_freezes(
    monkeypatch: pytest.MonkeyPatch, for_good: bool, imports: bool, frozen: bool
) -> None:
    gc.unfreeze()
    with collector.importing(for_good):
        assert not gc.isenabled()
        if imports:
            monkeypatch.setitem(sys.modules, "a_module_of_this_test", sys)
    assert gc.isenabled()
    assert bool(gc.get_freeze_count()) is frozen
