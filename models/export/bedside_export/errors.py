"""The one exception that a command shows as a line: what is wrong, and what to do about it."""

from bedside_train.errors import BadInput as ExportError
from bedside_train.errors import run

__all__ = ["CheckpointError", "ExportError", "run"]


class CheckpointError(ExportError):
    """One line: what is wrong with a checkpoint and, after ``hint:``, what to do about it."""
