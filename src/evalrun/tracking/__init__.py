"""MLflow: what a run, a curve and a report look like there, and how results are read back.

Nothing else in evalrun imports mlflow, and here it is imported only when a `Store` is first used: its import takes
longer than `python -m evalrun --help` may.

    experiment <suite>          one flat run per checkpoint and settings, a metric per task
    experiment <suite>-curves   one derived run per model, the same metrics over MLflow's step = training step
    experiment <suite>-report   one run per analysis, its files as artifacts
"""

from evalrun.tracking.layout import RunEntry
from evalrun.tracking.store import Store

__all__ = ["RunEntry", "Store"]
