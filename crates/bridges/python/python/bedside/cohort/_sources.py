"""Which files are meant."""

import csv
import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from .. import ConfigError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
CLIPS = {".y4m", ".avi", ".mjpeg", ".mjpg", ".mp4", ".m4v", ".mov"}
KNOWN = PICTURES | CLIPS | {".dcm"}
TABLES = {".csv", ".parquet"}


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def files(sources: str | PathLike[str] | Iterable[str | PathLike[str]]) -> Iterator[Path]:
    """Every file that the sources name, in their order; those of folders by name."""
    several = [sources] if isinstance(sources, (str, PathLike)) else sources
    for source in (Path(source).absolute() for source in several):
        if source.is_dir():
            yield from _folder(source)
        elif source.suffix.lower() in TABLES:
            yield from _table(source)
        else:
            yield source


def _folder(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            ending = path.suffix.lower()
            if ending in KNOWN or is_dicom(path):
                yield path


def _table(table: Path) -> Iterator[Path]:
    try:
        if table.suffix.lower() == ".csv":
            with table.open(newline="", encoding="utf-8-sig") as file:
                paths = [row["path"] for row in csv.DictReader(file)]
        else:
            from pyarrow import parquet

            paths = parquet.read_table(table, columns=["path"])["path"].to_pylist()
    except OSError as error:
        raise ConfigError(f"{table}: {error}; hint: check the path") from error
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{table}: no column 'path' can be read; hint: give it one") from error
    for path in paths:
        if not path:
            raise ConfigError(f"{table}: a row has no path; hint: take it out")
        yield table.parent / path
