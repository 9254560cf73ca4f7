"""The version and the name to pip: what pyproject says, which a test holds."""

DISTRIBUTION = "evalrun-checkpoints"  # to pip; `evalrun` is another project's name there
__version__ = "0.1.0"
