"""The annotation tools' own code for masks, and masks to try it on.

    python3 -m venv venv && venv/bin/pip install numpy pillow pycocotools
    venv/bin/pip install --no-deps label-studio-sdk cvat-sdk
"""

import importlib.util

import numpy as np
from pycocotools import mask as coco


def module(package, path):
    """A module of a package without the package's own imports, which want a server's client."""
    folder = importlib.util.find_spec(package).submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), f"{folder}/{path}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


cvat = module("cvat_sdk", "masks")
brush = module("label_studio_sdk", "converter/brush")


def masks():
    """Of odd sizes: single pixels, full, striped, noisy, with holes, with long runs."""
    random = np.random.default_rng(19)
    sizes = [(1, 1), (1, 33), (33, 1), (2, 3), (3, 2), (5, 7), (16, 16), (17, 31), (33, 33)]
    for height, width in sizes:
        rows, columns = np.indices((height, width))
        corner = np.zeros((height, width), bool)
        corner[-1, -1] = True
        ring = np.hypot(rows - height / 2, columns - width / 2) / max(height, width)
        yield from (
            np.ones((height, width), bool),
            corner,
            corner[::-1, ::-1],
            rows % 2 == 0,
            columns % 2 == 1,
            random.random((height, width)) < 0.3,
            (ring > 0.2) & (ring < 0.4),
        )
    wide = np.zeros((40, 500), bool)  # runs of more than 2**16 RGBA bytes
    wide[1, 3] = wide[5:, :] = True
    yield wide


def rows(mask):
    return ["".join(map(str, row)) for row in mask.astype(int)]


def compressed(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def columns(mask):
    """COCO's run lengths as numbers, which pycocotools itself only reads."""
    flat = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist() + [flat.size]
    counts = np.diff(ends, prepend=0).tolist()
    rle = coco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)
    assert (coco.decode(rle) == mask).all()
    return {"size": list(mask.shape), "counts": counts}


def boxed(mask):
    """As CVAT dumps a mask of its API."""
    *counts, left, top, right, bottom = cvat.encode_mask(mask)
    return {
        "rle": ", ".join(map(str, counts)),
        "left": left,
        "top": top,
        "width": right - left + 1,
        "height": bottom - top + 1,
    }


def brushed(mask):
    return brush.mask2rle(mask.astype(np.uint8) * 255)
