"""Results of the store in the forms that other programs read; asked again, an export writes only what is new.

    words -> the selected rows of the store's table -> one module a format -> files that are whole or not there

MLflow has them all already: this is for people who look elsewhere.
"""

from evalrun.commands.export.command import export

__all__ = ["export"]
