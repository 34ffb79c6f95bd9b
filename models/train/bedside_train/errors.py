"""The one exception that a command shows as a line: what is wrong, and what to do about it."""

import sys


class BadInput(Exception):
    """The message names the cause and, after ``hint:``, the remedy."""


def run(command):
    """Call a command's work; -> its exit code. Bad input, and files that can't be read or written,
    end in one line on standard error."""
    try:
        return command() or 0
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; hint: look at the path and its disk", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
