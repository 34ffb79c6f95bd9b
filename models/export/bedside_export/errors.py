"""The one exception that the command shows as a line: what is wrong, and what to do about it."""


class ExportError(Exception):
    """Bad input; the message names the cause and, after ``hint:``, the remedy."""
