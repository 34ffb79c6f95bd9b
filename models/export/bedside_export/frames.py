"""Frames as the runtime feeds them: padded to a square with black, resized, normalised."""

import pathlib

import numpy as np
from bedside_train.data import square
from PIL import Image, UnidentifiedImageError

from .checks import labels, pictures
from .errors import ExportError

# Red, green and blue on the scale 0 to 255: ImageNet's, which BiomedParse v1 was trained with.
MEAN = (123.675, 116.280, 103.530)
STD = (58.395, 57.120, 57.375)


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
    files = pictures(path)
    step = max(1, len(files) / most)
    return [read(files[int(i * step)]) for i in range(min(most, len(files)))]


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
