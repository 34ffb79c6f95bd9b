"""Frames as the runtime feeds them: padded to a square with black, resized, normalised."""

import csv
import pathlib

import numpy as np
from bedside_train.data import square
from PIL import Image, UnidentifiedImageError

from .errors import ExportError

# Red, green and blue on the scale 0 to 255: ImageNet's, which BiomedParse v1 was trained with.
MEAN = (123.675, 116.280, 103.530)
STD = (58.395, 57.120, 57.375)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def encoder_input(frame, side):
    """f32 [1, 3, side, side] from a square u8 frame, by Pillow's bicubic as upstream does."""
    small = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
    x = (np.asarray(small, np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1))[None]


def read(path, mode="RGB"):
    """A picture as a square u8 frame, RGB or gray (``L``)."""
    try:
        with Image.open(path) as image:
            return square(np.asarray(image.convert(mode)))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ExportError(f"{path}: {error}; hint: PNG, JPEG, BMP, TIFF or WebP") from error


def folder(path, most):
    """Up to ``most`` pictures of a folder, spread evenly over its sorted names."""
    path = pathlib.Path(path)
    if not path.is_dir():
        raise ExportError(f"{path}: no such folder; hint: name a folder of pictures")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ExportError(
            f"{path}: no pictures in it; hint: put some tens of frames there, PNG or JPEG"
        )
    step = max(1, len(files) / most)
    return [read(files[int(i * step)]) for i in range(min(most, len(files)))]


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


def labelled(path, split="train"):
    """(square frame, square truth, row) of each labelled frame."""
    path = pathlib.Path(path)
    for row in labels(path, split):
        truth = read(path / row["mask"], "L") > 127
        frame = read(path / row["file"])
        if truth.shape != frame.shape[:2]:
            raise ExportError(f"{path / row['mask']}: not the size of {row['file']}")
        yield frame, truth, row


def synthetic(seed, side=192):
    """A frame that is nobody's: soft blobs over a gradient. Self-tests must not carry patients."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    frame = np.stack([60 + 80 * x, 50 + 60 * y, 40 + 30 * (x + y)], -1)
    for _ in range(6):
        cy, cx, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.3)
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))
        frame += blob[..., None] * rng.uniform(-90, 120, 3)
    frame += rng.normal(0, 4, frame.shape)
    return np.clip(frame, 0, 255).astype(np.uint8)
