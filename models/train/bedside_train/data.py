"""Frames with masks, and the augmentation that stands for the frames we do not have.

A dataset is a folder with ``manifest.csv`` (columns file, mask, split, modality, object, label,
...) as bedside's own ``bedside eval`` and ``bedside phantom`` use it. A frame has one row for each
object that was looked for in it; an empty mask says that it was not found.
"""

import csv
import math
import pathlib
import random
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import forms

MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)


@dataclass(frozen=True)
class Policy:
    """What may be done to the frames of a dataset, and how far its negatives are believed."""

    mirror: float = (
        0.0  # probability of left for right; forms.SIDES tells what that renames
    )
    flip: float = 0.0  # probability of upside down
    turn: float = 0.0  # probability of any angle; else up to `tilt` radians
    tilt: float = 0.25
    stretch: float = 0.12  # largest log ratio of the sides
    closer: float = 0.0  # probability of a zoom of 1.3 to 2.8
    away: float = 0.0  # probability of a view beside all that is marked
    colour: bool = False
    contrast: bool = (
        False  # grey values stand for a window that others choose otherwise
    )
    negative: float = 1.0  # weight of "not found"
    doubtful: tuple[str, ...] = ()  # labels whose "not found" counts a third


ANY_WAY_UP = dict(mirror=0.5, flip=0.5, turn=0.5, colour=True)
COLON = dict(
    ANY_WAY_UP, away=0.15, closer=0.1, doubtful=("normal, dyed or resection site",)
)
FUNDUS = dict(mirror=0.5, flip=0.3, tilt=0.5, colour=True)
POLICIES = {
    "acdc": Policy(turn=0.3, tilt=0.4, negative=0.3, contrast=True),
    "busi": Policy(mirror=0.5, stretch=0.2, away=0.1, closer=0.1),
    "camus": Policy(),
    "chase": Policy(**FUNDUS, closer=0.6),
    "chn_mc": Policy(mirror=0.3, tilt=0.12, stretch=0.25),
    "consep": Policy(**ANY_WAY_UP, negative=0.7),
    "covidqu": Policy(mirror=0.3, tilt=0.12, stretch=0.25, negative=0.7),
    "drishti": Policy(**FUNDUS, closer=0.3),
    "drive": Policy(**FUNDUS, closer=0.6),
    "glas": Policy(**ANY_WAY_UP),
    "hc18": Policy(mirror=0.5, flip=0.5, turn=0.3),
    "isic2018": Policy(**ANY_WAY_UP, away=0.05),
    "jsrt": Policy(mirror=0.3, tilt=0.12),
    "kvasir_seg": Policy(**COLON, stretch=0.3),
    "liver": Policy(contrast=True),
    "nerve": Policy(mirror=0.5, away=0.1, closer=0.1),
    "polypgen": Policy(**COLON),
}


@dataclass
class Frame:
    file: pathlib.Path
    source: str  # name of the dataset
    modality: str
    site: str
    policy: Policy
    masks: dict = field(
        default_factory=dict
    )  # trained form -> file of its mask, None if absent
    doubt: float = 1.0  # weight of the absent ones

    def read(self):
        """Image u8 RGB [h,w,3] and the masks of ``self.masks`` in order, u8 0/255 [h,w,n]."""
        image = cv2.imread(str(self.file), cv2.IMREAD_COLOR)
        if image is None:
            raise SystemExit(f"cannot read {self.file}")
        masks = np.zeros((*image.shape[:2], len(self.masks)), np.uint8)
        for i, file in enumerate(self.masks.values()):
            if file is None:
                continue
            mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            if mask is None or mask.shape != image.shape[:2]:
                raise SystemExit(f"{file} is no mask of {self.file}")
            masks[..., i] = (mask > 127) * np.uint8(255)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), masks

    def whole(self, side):
        """The frame as an encoder takes it: normalised f32 [1,3,side,side]."""
        return normalise(WHOLE.render(self.read()[0], side).astype(np.float32))[None]


def rows(folder):
    """The rows of a dataset's manifest."""
    with open(folder / "manifest.csv", newline="") as f:
        return list(csv.DictReader(f))


def load(folders, split):
    """The frames of a split, with one entry in ``masks`` for each form that was looked for."""
    frames = {}
    for folder in map(pathlib.Path, folders):
        policy = POLICIES.get(folder.name, Policy())
        for row in (r for r in rows(folder) if r["split"] == split):
            path = folder / row["file"]
            i = forms.index(row["object"], row["modality"])
            form = forms.trained()[i].form
            frame = frames.get(path)
            if frame is None:
                frame = Frame(path, folder.name, form.modality, form.site, policy)
                frames[path] = frame
            empty = not row["mask"] or row.get("mask_frac") in ("0.0", "0")
            frame.masks[i] = None if empty else folder / row["mask"]
            if empty:
                frame.doubt = policy.negative
                if row["label"] in policy.doubtful:
                    frame.doubt /= 3
            # A breast tumor that is named benign is not malignant.
            if form.name == "breast tumor":
                for kind in ("benign", "malignant"):
                    other = forms.index(f"{kind} breast tumor", form.modality)
                    frame.masks[other] = (
                        frame.masks[i] if row["label"] == kind else None
                    )
    return list(frames.values())


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


def shrink(image, factor):
    """Smaller by averaging, so that a later warp need not skip pixels."""
    if factor <= 1.25:
        return image
    h, w = image.shape[:2]
    size = max(1, round(w / factor)), max(1, round(h / factor))
    out = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return out.reshape(size[1], size[0], *image.shape[2:])


def rotation(angle, scale=1.0):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]]) * scale


@dataclass
class View:
    """Where a training view looks: an affine map of its square, -1..1, into the frame's.

    Both squares are those that the letterboxed frame fills; x goes right, y goes down.
    """

    linear: np.ndarray
    shift: np.ndarray
    mirror: bool = False

    def beside(self, linear, shift):
        """The view whose own square is mapped into this one's by another affine map."""
        return View(self.linear @ linear, self.linear @ shift + self.shift, self.mirror)

    def render(self, image, side):
        """The view of an image [h,w,...] u8, side x side; black outside of it."""
        zoom = math.sqrt(abs(np.linalg.det(self.linear)))
        image = shrink(image, zoom * max(image.shape[:2]) / side)
        h, w = image.shape[:2]
        k = max(h, w) / 2
        a = self.linear * (2 * k / side)
        centre = self.shift * k + np.array([w - 1, h - 1]) / 2
        t = centre - a @ np.array([side - 1, side - 1]) / 2
        out = cv2.warpAffine(
            image,
            np.hstack([a, t[:, None]]),
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return out.reshape(side, side, *image.shape[2:])


WHOLE = View(np.eye(2), np.zeros(2))


def view(policy, fine, rng):
    """A random view of a frame, within what its policy allows."""
    mirror, flip = rng.random() < policy.mirror, rng.random() < policy.flip
    turned = rng.random() < policy.turn
    angle = (
        rng.uniform(-math.pi, math.pi)
        if turned
        else rng.uniform(-policy.tilt, policy.tilt)
    )
    far = not fine and rng.random() < 0.06
    scale, reach = math.exp(rng.uniform(-0.35, 0.35)), 0.2
    if rng.random() < policy.closer:
        scale, reach = 1 / rng.uniform(1.3, 2.8), 0.6
    elif far:
        scale, reach = rng.uniform(1.5, 2.4), 0.6
    stretch = math.exp(rng.uniform(-policy.stretch, policy.stretch) / 2)
    linear = rotation(angle, scale) @ np.diag([stretch, 1 / stretch])
    linear = np.diag([-1.0 if mirror else 1.0, -1.0 if flip else 1.0]) @ linear
    shift = np.array([rng.uniform(-reach, reach), rng.uniform(-reach, reach)])
    return View(linear, shift, mirror)


def view_beside(policy, masks, rng):
    """A close view that shows nothing of the masks [h,w,n], or None if none was found."""
    for _ in range(8):
        v = view(policy, False, rng)
        v.linear *= rng.uniform(0.3, 0.6) / math.sqrt(abs(np.linalg.det(v.linear)))
        v.shift = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.75, 0.75)])
        if not v.render(masks, 48).any():
            return v
    return None


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
        ramp = np.linspace(
            rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3), side, dtype=np.float32
        )
        x = x * (ramp[:, None, None] if rng.random() < 0.7 else ramp[None, :, None])
    if rng.random() < 0.15:
        w, h = rng.randint(side // 12, side // 4), rng.randint(side // 12, side // 4)
        i, j = rng.randint(0, side - h), rng.randint(0, side - w)
        x = x.copy()
        x[i : i + h, j : j + w] = (
            rng.uniform(0, 255) if rng.random() < 0.5 else x.mean((0, 1))
        )
    return x


def contrast(image, rng):
    """Another window over the same grey values."""
    low, high = rng.uniform(-60, 60), rng.uniform(170, 320)
    return np.clip((image - low) * (255 / (high - low)), 0, 255)


def photograph(image, policy, ultrasound, rng, np_rng):
    """Colours and flaws of one exposure: u8 RGB -> f32 0..255."""
    x = image.astype(np.float32)
    if policy.contrast and rng.random() < 0.5:
        x = contrast(x, rng)
    x = degrade(colour(x, rng, policy.colour), rng, np_rng, ultrasound)
    return np.clip(x, 0, 255)


def nothing(side, rng, np_rng):
    """A picture of no modality: blots, shapes and letters; f32 RGB [side,side,3]."""
    coarse = np_rng.uniform(0, 255, (rng.randint(2, 12), rng.randint(2, 12), 3))
    x = cv2.resize(coarse, (side, side), interpolation=rng.choice([cv2.INTER_CUBIC, 0]))
    if rng.random() < 0.4:
        x = np.repeat(x.mean(2, keepdims=True), 3, 2)
    x = np.ascontiguousarray(np.clip(x, 0, 255).astype(np.uint8))
    for _ in range(rng.randint(0, 12)):
        ink = [rng.uniform(0, 255) for _ in range(3)]
        a, b = ((rng.randrange(side), rng.randrange(side)) for _ in range(2))
        kind, width = rng.randrange(4), rng.choice([-1, 1, 3])
        if kind == 0:
            cv2.rectangle(x, a, b, ink, width)
        elif kind == 1:
            cv2.circle(x, a, rng.randint(2, side // 3), ink, width)
        elif kind == 2:
            cv2.line(x, a, b, ink, rng.randint(1, 6))
        else:
            words = "".join(
                rng.choices("abcdefgh ABCDEF 0123456789", k=rng.randint(2, 14))
            )
            cv2.putText(x, words, a, rng.randrange(4), rng.uniform(0.4, 1.5), ink, 1)
    return np.clip(degrade(x.astype(np.float32), rng, np_rng, False), 0, 255)


def normalise(image):
    """f32 [H,W,3] 0..255 -> f32 [3,H,W] with the encoder's mean and deviation."""
    x = (image - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32)


def seeded(seed):
    return random.Random(seed), np.random.default_rng(seed)
