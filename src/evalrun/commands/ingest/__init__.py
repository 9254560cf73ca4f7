"""Results that others computed: lm-eval's files and tidy tables, filed in MLflow as if evalrun had run them.

    files -> found (readers) -> matched (our models, our task names) -> merged (once each, no contradictions) -> MLflow

What a file does not say is not guessed: a model, step or value that cannot be recognised is named and left out.
"""

from evalrun.commands.ingest.command import ingest

__all__ = ["ingest"]
