"""The errors a user can cause: what `evalrun.errors` is imported for (see `evalrun.core.errors`)."""

from evalrun.core.errors import (
    AnalysisError,
    CheckpointError,
    ConfigError,
    EvalrunError,
    StorageError,
    TaskError,
    TrackingError,
)

__all__ = [
    "AnalysisError",
    "CheckpointError",
    "ConfigError",
    "EvalrunError",
    "StorageError",
    "TaskError",
    "TrackingError",
]
