"""What is said where nothing can be drawn from what a checkpoint predicts."""

from evalrun.core.errors import CheckpointError


def undrawable() -> CheckpointError:
    """A prediction is no number."""
    return CheckpointError(
        "no text can be drawn from this checkpoint, because what it predicts is NaN or infinite: the "
        "training diverged, "
        "a file is damaged, or its precision overflows (scorer.dtype=float32)."
    )
