"""A small bundle with the student's graphs and random weights, for what begins from bundles."""

import json
import struct
import zipfile

import numpy as np
import torch

from bedside_train import base, export, familiar, forms, text
from bedside_train.bundle import rle
from bedside_train.model import TOKEN_DIM, Student

TRAINED = ("colon polyp", "fetal head")
ALSO = ("breast tumor", "skin lesion")


def student():
    torch.manual_seed(2)
    net = Student().eval()
    with torch.no_grad():
        net.encoder.place.normal_()
        net.encoder.position.normal_()
        for module in net.modules():  # alive: statistics of no data are too even
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def postcard(entries):
    """``prompts.postcard`` of layout 2."""
    out = bytes([2]) + varint(TOKEN_DIM) + varint(len(entries))
    lengthy = lambda b: varint(len(b)) + b  # noqa: E731
    for e in entries:
        out += lengthy(e["object"].encode()) + lengthy(e["target"].encode())
        out += varint(base.NUMBERED.index(e["modality"]))
        out += lengthy(e["site"].encode()) + lengthy(b"") + bytes([e["trained"]])
        rows = e["tokens"]
        out += varint(len(rows)) + lengthy(
            struct.pack(f"<{rows.size}f", *rows.reshape(-1))
        )
    return out


def entry(form):
    target = form.text.split(" in ")[0]
    kept = {
        "object": form.name,
        "target": target,
        "modality": form.modality,
        "site": form.site,
    }
    trained = form.name in TRAINED
    return {**kept, "trained": trained, "tokens": text.tokens(form.text)}


def write(folder):
    """-> the bundle's path. Domains: colon endoscopy and transperineal ultrasound."""
    rng = np.random.default_rng(4)
    parts = folder / "parts"
    (parts / "selftest").mkdir(parents=True)
    channels = 320
    places = {("endoscopy", "colon"): (0, 3), ("ultrasound", "transperineal"): (3, 2)}
    known = familiar.Familiar(
        np.eye(channels) * 2, rng.normal(size=(5, channels)).astype(np.float32), places
    )
    export.export_graphs(student(), parts, known=known)
    images = [
        {"image": rng.normal(size=(1, 3, 64, 64)).astype(np.float32)} for _ in range(2)
    ]
    export.quantise(parts, images)
    (parts / "selftest/0.rgb").write_bytes(bytes(160 * 160 * 3))
    (parts / "model-card.md").write_text("# What it was\n")
    graphs, variants = export.described(distances=5)
    found = [t for t in forms.trained() if t.form.name in (*TRAINED, *ALSO)]
    said = {
        "format": 3,
        "name": "edge",
        "version": "9.9.9",
        "description": "Small",
        "licence": "Apache-2.0",
        "lineage": "random",
        "input": {
            "side": 256,
            "other_sides": [192],
            "mean": [127.0] * 3,
            "std": [128.0] * 3,
        },
        "graphs": graphs,
        "variants": variants,
        "default_precision": "f32",
        "validity": [],
        "forms": [
            {
                **export.named(t.form),
                "presence": {"slope": 1.0, "offset": 0.0, "threshold": 0.5},
            }
            for t in found
            if t.form.name in TRAINED
        ],
        "modalities": list(forms.MODALITIES),
        "familiarity": familiar.stated(places, {p: [20.0, 21.0, 22.0] for p in places}),
        "self_tests": [
            {
                "part": "selftest/0.rgb",
                "width": 160,
                "height": 160,
                "prompt": "polyp in colon endoscope",
                "mask": rle(np.eye(160, dtype=bool)),
                "min_iou": 0.9,
            }
        ],
        "parts": [],
    }
    path = folder / "edge.bedside"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps(said))
        file.writestr("prompts.postcard", postcard([entry(t.form) for t in found]))
        for part in sorted(p for p in parts.rglob("*") if p.is_file()):
            file.write(part, part.relative_to(parts))
    return path
