"""What is written on the way: on one disk, gone at the end, and never over what was there before."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile

from .errors import ExportError

FULL = 16 << 20  # bytes left where a library's own error is taken for that of a full disk

REMEDIES = {
    errno.ENOSPC: "free some space there, or name a folder on another disk",
    errno.EDQUOT: "free some space there, or name a folder on another disk",
    errno.EFBIG: "name a folder on a disk that takes larger files",
    errno.EROFS: "name a folder on a disk that can be written to",
    errno.EACCES: "ask for the right to write there, or name another folder",
    errno.EPERM: "ask for the right to write there, or name another folder",
}


def refusal(error, folder):
    """One line about an error of the operating system that has to do with ``folder``."""
    if isinstance(error, shutil.Error):  # of copying a folder: a list of (from, to, message)
        (_, name, said), *_ = error.args[0]
        number = next((n for n in REMEDIES if f"[Errno {n}]" in str(said)), None)
        said = os.strerror(number) if number else said
    else:
        name, number, said = error.filename2 or error.filename, error.errno, error.strerror
    hint = REMEDIES.get(number, "look at the path and its disk")
    return ExportError(f"{name or folder}: {said or error}; hint: {hint}")


@contextlib.contextmanager
def beside(out):
    """A folder beside ``out``, removed whatever happens; temporary files of libraries go there too.

    What can't be written ends as an ``ExportError``. Some libraries tell of a full disk with errors
    of their own, and some by files that they can't read back: the space that is left tells.
    """
    parent, before = out.absolute().parent, tempfile.tempdir
    try:
        made = tempfile.TemporaryDirectory(dir=parent, prefix=f".{out.stem}.")
    except OSError as error:
        raise refusal(error, parent) from error
    with made as folder:
        tempfile.tempdir = folder
        try:
            yield pathlib.Path(folder)
        except OSError as error:
            raise refusal(error, parent) from error
        except ExportError:
            raise
        except Exception as error:
            if shutil.disk_usage(folder).free > FULL:
                raise
            raise refusal(OSError(errno.ENOSPC, "No space left on device"), parent) from error
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def whole(path):
    """A path to write at: it becomes ``path`` when all is written, and is removed otherwise."""
    part = path.with_name(f".part.{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def copy(source, target):
    """A folder to a new or empty one; what was copied is removed where not all of it can be. -> target"""
    there = target.exists()
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        if there:
            target.mkdir()
        raise
    return target
