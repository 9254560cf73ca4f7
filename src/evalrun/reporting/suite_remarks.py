"""What a report says of where a suite's results come from: others' bundles, and tokenizers that change on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalrun.config.schema import model_dirname
from evalrun.core.text import counted
from evalrun.core.tokenizer_changes import tokenizer_changes

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.tracking.suite_table import SuiteTable


def came_in(whole: SuiteTable, rows: pd.DataFrame) -> dict[str, str]:
    """What a report says of results that are of another person's bundle; nothing where all are one's own."""
    if not whole.bundles:
        return {}
    counts = rows.drop_duplicates(["run_id", "task"])["run_id"].map(whole.bundles).dropna().value_counts(sort=False)
    said = "; ".join(f"{counted(int(n), 'result')} of {bundle}" for bundle, n in counts.items())
    return {"From bundles": said} if said else {}


def other_tokenizers(whole: SuiteTable, rows: pd.DataFrame) -> list[str]:
    """A sentence for each training run whose tokenizer changes."""
    if len(set(whole.tokenizers.values())) < 2:
        return []
    known = rows.sort_values("finished_ms").drop_duplicates("run_id")
    names = map(model_dirname, known["model"], known["seed"].astype(object).where(known["seed"].notna(), None))
    digests = [whole.tokenizers.get(run_id, "") for run_id in known["run_id"]]
    return tokenizer_changes(zip(names, known["step"], digests, strict=True))
