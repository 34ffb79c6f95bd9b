"""What can be refused before torch is imported, which takes seconds: options, files, folders."""

import csv
import os
import pathlib
import shutil
import zipfile

from .errors import CheckpointError, ExportError

STRIDE = 32  # the input side has to be a multiple of this
REMEDY = "hint: give the published biomedparse_v1.pt or a fine-tuned copy with the same keys"


def check_side(side):
    """Raise where the network cannot take images of this side."""
    if side < STRIDE or side % STRIDE:
        raise ExportError(
            f"--size: an input side of {side} is not a multiple of {STRIDE}; hint: 256, 512 or 1024"
        )


SAVED = (".pt", ".pth", ".ckpt", ".bin")  # how PyTorch's files are called
CHECKPOINT = "biomedparse_v1.pt, a fine-tuned copy, or a folder with one of them"
TOKENIZER = "folder with CLIP's vocab.json and merges.txt; default: that of the checkpoint"


def located(checkpoint, tokenizer):
    """The checkpoint's file and the vocabulary's folder. One folder may hold all of them."""
    folder = checkpoint.parent
    if checkpoint.is_dir():
        folder = checkpoint
        found = sorted(p for p in folder.iterdir() if p.suffix in SAVED)
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "none"
            raise CheckpointError(
                f"{folder}: one checkpoint is wanted in it, there is {names}; hint: a folder with "
                "biomedparse_v1.pt, vocab.json and merges.txt, or the path of the file itself"
            )
        checkpoint = found[0]
    return checkpoint, tokenizer or folder


def checkpoint_file(path):
    """Raise unless the file looks like PyTorch's; -> whether it is a zip archive, not a pickle."""
    path = pathlib.Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; hint: give the path of biomedparse_v1.pt")
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not a file; hint: give the path of biomedparse_v1.pt itself"
        )
    with path.open("rb") as file:
        start = file.read(64)
    archive = start.startswith(b"PK\x03\x04")
    if start.startswith(b"version https://git-lfs"):
        message = "a Git LFS pointer in place of the weights; hint: fetch them with `git lfs pull`"
        raise CheckpointError(f"{path}: {message}")
    if not archive and not start.startswith(b"\x80"):
        raise CheckpointError(f"{path}: not a PyTorch checkpoint; {REMEDY}")
    if archive and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: truncated; hint: download or copy it again")
    return archive


def report_of(out):
    """The folder beside a bundle that its report is in."""
    return out.with_suffix(".report")


def writable(out):
    """Raise unless a bundle and its report can be written there."""
    parent, report = out.absolute().parent, report_of(out)
    if out.suffix != ".bedside" or not parent.is_dir():
        raise ExportError(f"--out {out}; hint: NAME.bedside in a folder that is there")
    if out.is_dir() or (report.exists() and not report.is_dir()):
        wrong = out if out.is_dir() else report
        raise ExportError(f"{wrong} is in the way; hint: move it, or name another --out")
    for folder in (parent, report):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise ExportError(
                f"{folder}: cannot be written to; hint: ask for the right, or name another --out"
            )


def space(folder, needed, what):
    """Raise unless so many bytes are free on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportError(
            f"{folder}: {free / 1e9:.1f} GB free, but {what} needs {needed / 1e9:.1f} GB; hint: "
            "free some, or name a folder on another disk"
        )


SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def pictures(path):
    """The picture files of a folder and those below it, sorted."""
    path = pathlib.Path(path)
    if not path.is_dir():
        raise ExportError(f"{path}: no such folder; hint: name a folder of pictures")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ExportError(
            f"{path}: no pictures in it; hint: put some tens of frames there, PNG or JPEG"
        )
    return files


COLUMNS = ("file", "mask", "split", "modality", "object")


def labels(path, split="train"):
    """Rows with a mask of a folder's manifest.csv, as ``bedside eval`` reads it."""
    name = pathlib.Path(path) / "manifest.csv"
    hint = f"hint: columns {', '.join(COLUMNS)}"
    try:
        with name.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise ExportError(f"{name}: {error}; {hint}") from error
    if any(row.get(column) is None for row in rows for column in COLUMNS):
        raise ExportError(f"{name}: a column is missing; {hint}")
    rows = [r for r in rows if r["split"] == split and r["mask"]]
    if not rows:
        raise ExportError(f"{name}: no masks in split '{split}'; hint: label some frames")
    return rows
