"""Frames with masks, and the augmentation that stands for the frames we do not have.

A dataset is a folder with ``manifest.csv`` (columns file, mask, split, object, label, ...) as
bedside's own ``bedside eval`` and ``bedside phantom`` use it.
"""

import csv
import math
import pathlib
import random

import cv2
import numpy as np

MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)
CACHE_SIDE = 288  # frames are kept at this size; a margin over the input for zooming in


def square(image):
    """Pad to a square with black, equally on both sides of the shorter axis: [n,n,...]."""
    h, w = image.shape[:2]
    n = max(h, w)
    out = np.zeros((n, n) + image.shape[2:], image.dtype)
    top, left = (n - h) // 2, (n - w) // 2
    out[top : top + h, left : left + w] = image
    return out


def letterbox(image, side, interpolation):
    """The square of an image, resized to side x side."""
    return cv2.resize(square(image), (side, side), interpolation=interpolation)


def rows(folder, split):
    folder = pathlib.Path(folder)
    with open(folder / "manifest.csv", newline="") as f:
        for row in csv.DictReader(f):
            if split is None or row["split"] == split:
                yield folder, row


def load(folders, split, side=CACHE_SIDE):
    """List of (image u8 [side,side,3] RGB, mask u8 [side,side] 0/255, object, source name)."""
    items = []
    for folder in folders:
        for base, row in rows(folder, split):
            image = cv2.imread(str(base / row["file"]), cv2.IMREAD_COLOR)
            mask = (
                cv2.imread(str(base / row["mask"]), cv2.IMREAD_GRAYSCALE) if row["mask"] else None
            )
            if image is None:
                raise SystemExit(f"cannot read {base / row['file']}")
            if mask is None:
                mask = np.zeros(image.shape[:2], np.uint8)
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            name = base.name + (" normal" if row["label"] == "normal" else "")
            items.append(
                (
                    letterbox(image, side, cv2.INTER_AREA),
                    letterbox(mask, side, cv2.INTER_LINEAR),
                    row["object"],
                    name,
                )
            )
    return items


def warp_matrix(side_in, side_out, angle, scale, shift, flip_x, flip_y):
    """Affine map from output pixels to input pixels, for warpAffine with WARP_INVERSE_MAP."""
    c, s = math.cos(angle), math.sin(angle)
    k = side_in / side_out / scale
    a = np.array([[c * k, -s * k], [s * k, c * k]])
    a[:, 0] *= -1 if flip_x else 1
    a[:, 1] *= -1 if flip_y else 1
    centre_in = side_in / 2 + np.asarray(shift) * side_in
    centre_out = side_out / 2
    t = centre_in - a @ np.array([centre_out, centre_out])
    return np.hstack([a, t[:, None]])


def colour(image, rng, colourful):
    """Brightness, contrast, gamma, tint and saturation jitter on f32 RGB 0..255."""
    x = image
    if rng.random() < 0.3:
        x = 255 * (np.clip(x, 0, 255) / 255) ** math.exp(rng.uniform(-0.4, 0.4))
    mean = x.mean()
    x = (x - mean) * rng.uniform(0.65, 1.35) + mean + rng.uniform(-30, 30)
    if colourful:
        x = x * np.array([rng.uniform(0.85, 1.15) for _ in range(3)], np.float32)
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.4, 1.5)
    return x


def degrade(image, rng, np_rng, ultrasound):
    """What cameras and probes do: blur, compression, noise, speckle, gain ramps, occlusion."""
    x = image
    if rng.random() < 0.2:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(25, 80)]
        ok, buffer = cv2.imencode(".jpg", np.clip(x, 0, 255).astype(np.uint8), quality)
        x = cv2.imdecode(buffer, cv2.IMREAD_COLOR).astype(np.float32) if ok else x
    side = x.shape[0]
    if rng.random() < 0.25:
        noise = np_rng.standard_normal((side, side, 1), dtype=np.float32)
        x = (
            x * (1 + noise * rng.uniform(0.02, 0.15))
            if ultrasound
            else x + noise * rng.uniform(2, 12)
        )
    if rng.random() < 0.2:
        ramp = np.linspace(rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3), side, dtype=np.float32)
        x = x * (ramp[:, None, None] if rng.random() < 0.7 else ramp[None, :, None])
    if rng.random() < 0.15:
        w, h = rng.randint(side // 12, side // 4), rng.randint(side // 12, side // 4)
        i, j = rng.randint(0, side - h), rng.randint(0, side - w)
        x = x.copy()
        x[i : i + h, j : j + w] = rng.uniform(0, 255) if rng.random() < 0.5 else x.mean((0, 1))
    return x


def augment(image, mask, obj, side, rng, np_rng):
    """One training view: image f32 [side,side,3] 0..255 and mask f32 [side,side] 0/1."""
    endoscopy = obj == "polyp"
    wide = rng.random() < 0.5
    angle = rng.uniform(-math.pi, math.pi) if endoscopy and wide else rng.uniform(-0.35, 0.35)
    zoom_out = rng.random() < 0.08  # looks elsewhere: often the object is not in the picture
    scale = rng.uniform(1.6, 2.6) if zoom_out else math.exp(rng.uniform(-0.4, 0.4))
    reach = 0.32 if zoom_out else 0.15
    shift = (rng.uniform(-reach, reach), rng.uniform(-reach, reach))
    flip_y = rng.random() < (0.5 if endoscopy or obj == "fetal head" else 0.05)
    m = warp_matrix(image.shape[0], side, angle, scale, shift, rng.random() < 0.5, flip_y)
    if rng.random() < 0.4:  # stretch, as other aspect ratios and probes do
        m[:, 0] *= math.exp(rng.uniform(-0.15, 0.15))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    x = cv2.warpAffine(image, m, (side, side), flags=flags).astype(np.float32)
    y = cv2.warpAffine(mask, m, (side, side), flags=flags)
    x = degrade(colour(x, rng, endoscopy), rng, np_rng, not endoscopy)
    return np.clip(x, 0, 255), (y > 127).astype(np.float32)


def normalise(image):
    """f32 [H,W,3] 0..255 -> f32 [3,H,W] with the encoder's mean and deviation."""
    x = (image - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32)


def seeded(seed):
    return random.Random(seed), np.random.default_rng(seed)
