"""The version: this file's and pyproject's are one, which a test holds."""

__version__ = "0.1.0"
