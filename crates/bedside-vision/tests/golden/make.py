"""Golden values for tests/golden.rs from OpenCV, Pillow, PyTorch and pycocotools.

    pip install numpy opencv-python-headless pillow torch pycocotools
    python make.py

Writes colour.json, resize.json, masks.json and rle.json beside itself.
Bytes are written as hexadecimal digits.
"""

import json
import pathlib

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(20)


def write(name, value):
    """One case a line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in value)
    (HERE / name).write_text(f"[\n{lines}\n]\n")


def itu(yuv, kr, kb, full):
    """YUV to RGB as ITU-R states it, in float; yuv is [h, w, 3]."""
    y, u, v = (yuv[..., i].astype(np.float64) for i in range(3))
    if full:
        u, v = u - 128, v - 128
    else:
        y, u, v = (y - 16) / 219 * 255, (u - 128) / 224 * 255, (v - 128) / 224 * 255
    r = y + 2 * (1 - kr) * v
    b = y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.rint(np.stack([r, g, b], -1)), 0, 255).astype(np.uint8)


def colour():
    """Random bytes in every format, in the range that limited video has."""
    w, h = 10, 6
    y = rng.integers(16, 236, (h, w), dtype=np.uint8)
    u, v = rng.integers(16, 241, (2, h // 2, w // 2), dtype=np.uint8)
    nv12 = np.concatenate([y, np.stack([u, v], -1).reshape(h // 2, w)])
    i420 = np.concatenate([y.ravel(), u.ravel(), v.ravel()])
    yuyv = np.stack([y, rng.integers(16, 241, (h, w), dtype=np.uint8)], -1)
    yuv = np.stack([y, *(a.repeat(2, 0).repeat(2, 1) for a in (u, v))], -1)
    # Odd sizes are beyond OpenCV: ITU's formula on chroma repeated by hand.
    odd_i420 = np.concatenate([y[:3, :5].ravel(), u[:2, :3].ravel(), v[:2, :3].ravel()])
    limited, i420_rows = "Bt601Limited", i420.reshape(h * 3 // 2, w)
    cases = [
        ("Nv12", limited, w, h, nv12, cv2.cvtColor(nv12, cv2.COLOR_YUV2RGB_NV12)),
        ("I420", limited, w, h, i420, cv2.cvtColor(i420_rows, cv2.COLOR_YUV2RGB_I420)),
        ("Yuyv", limited, w, h, yuyv, cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV)),
        ("Nv12", "Bt601Full", w, h, nv12, itu(yuv, 0.299, 0.114, True)),
        ("Nv12", "Bt709Limited", w, h, nv12, itu(yuv, 0.2126, 0.0722, False)),
        ("Nv12", "Bt709Full", w, h, nv12, itu(yuv, 0.2126, 0.0722, True)),
        ("I420", limited, 5, 3, odd_i420, itu(yuv[:3, :5], 0.299, 0.114, False)),
    ]
    write("colour.json", [
        {"format": f, "space": s, "width": w, "height": h,
         "data": d.tobytes().hex(), "rgb": rgb.tobytes().hex()}
        for f, s, w, h, d, rgb in cases
    ])


def picture(w, h):
    """Smooth waves with noise and a hard edge."""
    y, x = np.mgrid[0:h, 0:w]
    waves = [110 + 90 * np.sin(x / 5 + c) * np.cos(y / 7 - c) for c in range(3)]
    rgb = np.stack(waves, -1) + rng.normal(0, 12, (h, w, 3))
    rgb[h // 3 : h // 2, w // 3 : w // 2] = (250, 5, 120)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def padded(picture):
    h, w = picture.shape[:2]
    n = max(h, w)
    square = np.zeros((n, n) + picture.shape[2:], np.uint8)
    top, left = (n - h) // 2, (n - w) // 2
    square[top : top + h, left : left + w] = picture
    return square


def resize():
    """Pad with black and resize with Pillow; gray pictures too."""
    cases = []
    for w, h, side, gray in [
        (29, 20, 12, False), (20, 29, 12, False), (24, 24, 10, False), (13, 8, 18, False),
        (29, 20, 12, True), (20, 29, 12, True),
    ]:
        pixels = picture(w, h)
        pixels = pixels[..., 0] if gray else pixels
        case = {"width": w, "height": h, "side": side, "gray": gray, "pixels": pixels.tobytes().hex()}
        for name, kernel in [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)]:
            small = Image.fromarray(padded(pixels)).resize((side, side), kernel)
            case[name] = np.asarray(small).tobytes().hex()
        cases.append(case)
    write("resize.json", cases)


def compressed(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def masks():
    """PyTorch's interpolate in float64, cropped, above the threshold; with its statistics."""
    bilinear = dict(mode="bilinear", align_corners=False)
    cases = []
    for w, h, rows, columns, transpose, threshold in [
        (27, 18, 8, 8, False, 0.0), (18, 27, 8, 8, False, 0.0), (27, 18, 8, 8, True, 0.0),
        (18, 27, 8, 8, True, 0.5), (20, 20, 6, 6, False, -1.0), (25, 21, 5, 8, False, 0.0),
        (25, 21, 5, 8, True, 0.0), (1, 19, 8, 8, False, 0.0), (19, 1, 8, 8, True, 0.0),
        (9, 7, 12, 12, False, 0.0), (1, 1, 4, 4, False, 0.0), (8, 6, 1, 1, False, 0.0),
    ]:
        while True:
            coarse = torch.from_numpy(rng.normal(0, 6, (1, 1, 4, 4)))
            logits = F.interpolate(coarse, (rows, columns), **bilinear)[0, 0]
            logits = (logits * 64).round() / 64
            n = max(w, h)
            square = F.interpolate(logits[None, None], (n, n), **bilinear)[0, 0]
            square = (square.T if transpose else square).numpy()
            top, left = (n - h) // 2, (n - w) // 2
            at_frame = square[top : top + h, left : left + w]
            mask = at_frame > threshold
            # No pixel so near the threshold that rounding decides.
            if np.abs(at_frame - threshold).min() > 1e-4 and mask.any():
                break
        rgb = picture(w, h)
        probability = 1 / (1 + np.exp(-at_frame))
        ys, xs = np.nonzero(mask)
        cases.append({
            "width": w, "height": h, "rows": rows, "columns": columns, "transpose": transpose,
            "threshold": threshold, "logits": logits.flatten().tolist(),
            "rgb": rgb.tobytes().hex(), "mask": compressed(mask), "area": int(mask.sum()),
            "box": [int(xs.min()), int(ys.min()), int(np.ptp(xs) + 1), int(np.ptp(ys) + 1)],
            "mean_probability": float(probability[mask].mean()),
            "mean_rgb": [float(rgb[..., c][mask].mean() / 256) for c in range(3)],
            "corners": [float(at_frame[i, j]) for i in (0, -1) for j in (0, -1)],
        })
    write("masks.json", cases)


def blobs(w, h, threshold):
    noise = cv2.GaussianBlur(rng.normal(0, 1, (h, w)), (0, 0), 1.5)
    return noise > threshold * noise.std()


def rle():
    out = []
    for mask in [
        np.zeros((5, 7), bool), np.ones((5, 7), bool), rng.random((13, 9)) > 0.5,
        blobs(60, 45, 0.5), np.pad(np.ones((200, 300), bool), 100), np.eye(9, dtype=bool),
        np.ones((1, 1), bool),
    ]:
        h, w = mask.shape
        columns = mask.T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[False], columns]))).tolist()
        counts = np.diff([0, *edges, columns.size]).tolist()
        out.append({"width": w, "height": h, "counts": counts, "text": compressed(mask)})
    write("rle.json", out)


for make in [colour, resize, masks, rle]:
    make()
