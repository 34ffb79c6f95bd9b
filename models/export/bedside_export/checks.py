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


CALIBRATING = {False: 1.7, True: 3.0}  # f32's graphs over again: int8 without, with sensitivity
SHARES = {"f32": 1.0, "f16": 0.5, "int8": 0.3}  # of the size of f32's graphs, at most


def sizes(precisions, side, sensitivity=False):
    """Bytes of v1's unpacked bundle, and the most that is on disk at a time while it is made.

    Packing has all of it twice; int8 has copies of f32's graphs for calibrating.
    """
    f32 = 1.15e9 + 0.14e9 * (side / 1024) ** 2  # weights, and codes of positions
    text = 0.27e9
    bundle = f32 * sum(SHARES[p] for p in precisions) + text
    making = f32 * (1 + sum(SHARES[p] for p in precisions if p == "f16")) + text
    if "int8" in precisions:
        making += CALIBRATING[sensitivity] * f32
    return bundle, max(2 * bundle, making)


def space(args):
    """Raise unless there is room for what ``args`` ask for."""
    bundle, most = sizes(args.precision, args.size, args.sensitivity)
    beside, wanted = args.out.absolute().parent, {}
    for folder, needed in ((beside, most), (args.keep, bundle)):
        if folder is not None:
            folder = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
            disk = wanted.setdefault(folder.stat().st_dev, [folder, 0])
            disk[1] += needed
    for folder, needed in wanted.values():
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise ExportError(
                f"{folder}: {free / 1e9:.1f} GB free, but {', '.join(args.precision)} at "
                f"{args.size} needs {needed / 1e9:.1f} GB while it is made; hint: free some, or "
                "name a folder on another disk"
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
