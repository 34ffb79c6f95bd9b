"""What goes wrong. The text of every error names the cause and, where there is one, the remedy."""

from typing import ClassVar


class Error(Exception):
    """Why nothing was segmented.

    Each kind is a class of its own, so that ``except bedside.PromptError`` catches one of them and
    ``except bedside.Error`` all.
    """

    kind: ClassVar[str] = "error"
    """Where the failure lies, and so who can fix it."""

    @property
    def hint(self) -> str | None:
        """The remedy, where the text has one."""
        return str(self).partition("hint: ")[2] or None


class BundleError(Error):
    """The bundle is missing, damaged, of another format, or without that precision."""

    kind = "bundle"


class SelfTestError(Error):
    """The bundle's own test frames got other masks here: show no mask of it on this machine."""

    kind = "self-test"


class PromptError(Error):
    """A prompt is unknown, ambiguous, or of an object that the weights were not trained on."""

    kind = "prompt"


class FrameError(Error, ValueError):
    """An image can't be segmented: wrong type of values, wrong shape, too small, unreadable."""

    kind = "frame"


class EngineError(Error):
    """The engine failed, or answered with NaN, infinite or absurd values."""

    kind = "engine"


class MismatchError(Error):
    """What belongs to another bundle or precision was used: a mistake in the program."""

    kind = "mismatch"


class ConfigError(Error, ValueError):
    """An option is out of its range."""

    kind = "config"


class CacheError(Error):
    """What was learned of this machine could not be kept or read; run without it."""

    kind = "cache"
