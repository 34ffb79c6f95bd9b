"""Make ``source/``, a bundle whose graphs serve two sides, with onnxruntime's answers:
``python make.py`` (needs ``models/train``).

A network of random weights with all that depends on the side in the edge student: a learnt map
at the size of another, memory of as many places as there are, masks of the side's size.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from bedside_train import export
from bedside_train.bundle import enlarge, rle, session, tensor
from torch import nn

SIDES = (32, 64)
WIDTH, DIM = 8, 4
OUT = pathlib.Path(__file__).parent / "source"


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * WIDTH, 4, 4)
        self.narrow = nn.Conv2d(2 * WIDTH, WIDTH, 1)
        self.place = nn.Parameter(torch.randn(1, WIDTH, 8, 8))

    def forward(self, image):
        pixels = self.narrow(F.relu6(self.stem(image)))
        place = F.interpolate(
            self.place, size=pixels.shape[2:], mode="bilinear", align_corners=False
        )
        keys = (pixels + place).reshape(1, WIDTH, -1)
        # Bright frames look like endoscopy, dark ones like ultrasound, gray ones like neither.
        bright = image.mean((1, 2, 3)).reshape(1, 1)
        modality = bright @ torch.tensor([[20.0, -20.0, 0.0]]) + torch.tensor([[0.0, 0.0, 4.0]])
        distance = (bright - torch.tensor([[0.3, 0.5, -0.4, -0.6]])).abs()
        return pixels, keys, modality, distance


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(DIM, WIDTH)

    def forward(self, pixels, keys, tokens, token_mask):
        keep = token_mask.unsqueeze(-1)
        x = self.query((tokens * keep).sum(1) / keep.sum(1))
        x = x + (x @ keys[0]).softmax(-1) @ keys[0].t()
        h, w = pixels.shape[2:]
        logits = x @ pixels.reshape(WIDTH, -1)
        return logits.reshape(x.shape[0], h, w), logits.amax(1)


def main():
    torch.manual_seed(6)
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "selftest").mkdir(parents=True)
    encoder, decoder = Encoder().eval(), Decoder().eval()
    image = torch.randn(1, 3, SIDES[0], SIDES[0])
    free = {"pixels": {2: "h", 3: "w"}, "keys": {2: "n"}}
    export.export(
        encoder, (image,), OUT / "encoder.f32.onnx", ["image"],
        ["pixels", "keys", "modality", "distance"],
        {"image": {2: "side", 3: "side"}, **free},
    )  # fmt: skip
    prompt = {"tokens": {0: "P", 1: "T"}, "token_mask": {0: "P", 1: "T"}}
    with torch.no_grad():
        features = encoder(image)[:2]
    export.export(
        decoder, (*features, torch.randn(2, 3, DIM), torch.ones(2, 3)), OUT / "decoder.f32.onnx",
        ["pixels", "keys", "tokens", "token_mask"], ["logits", "score"],
        {**free, **prompt, "logits": {0: "P", 1: "H", 2: "W"}, "score": {0: "P"}},
    )  # fmt: skip
    rng = np.random.default_rng(9)
    calibration = [
        rng.normal(size=(1, 3, s, s)).astype(np.float32) for s in SIDES for _ in range(4)
    ]
    export.quantise(OUT, calibration)
    tokens = rng.normal(size=(3, DIM)).astype(np.float32)
    objects = [
        ("colon polyp", "polyp", "endoscopy", "colon"),
        ("colon ulcer", "ulcer", "endoscopy", "colon"),
        ("breast tumor", "tumor", "ultrasound", "breast"),
    ]
    entries = [
        {"object": o, "target": t, "modality": m, "site": s, "acquisition": "", "trained": True,
         "tokens": [row.tolist()]}
        for (o, t, m, s), row in zip(objects, tokens)
    ]  # fmt: skip
    (OUT / "prompts.json").write_text(json.dumps({"token_dim": DIM, "entries": entries}))

    tests = []
    for side in SIDES:
        y, x = np.mgrid[:side, :side] / side
        frame = np.stack([x, y, 1 - x * y], -1) * 130 + 100 + rng.normal(0, 9, (side, side, 3))
        frame = np.clip(frame, 0, 255).astype(np.uint8)
        part = f"selftest/{side}.rgb"
        (OUT / part).write_bytes(frame.tobytes())
        image = ((frame.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        features = session(OUT / "encoder.f32.onnx").run(None, {"image": image})[:2]
        feed = dict(zip(["pixels", "keys"], features))
        feed |= {"tokens": tokens[:1, None], "token_mask": np.ones((1, 1), np.float32)}
        logits, score = session(OUT / "decoder.f32.onnx").run(None, feed)
        mask = enlarge(logits[0], side) > 0
        assert 0.1 < mask.mean() < 0.9 and score[0] > 0, "tells nothing"
        tests.append({
            "part": part, "width": side, "height": side, "prompt": "polyp", "mask": rle(mask),
            "min_iou": 0.9, **({"side": side} if side != SIDES[0] else {}),
        })  # fmt: skip
    pixels = tensor("pixels", "f32", 1, WIDTH, "side/4", "side/4")
    keys = tensor("keys", "f32", 1, WIDTH, "side/4*side/4")
    whole = [tensor("modality", "f32", 1, 3), tensor("distance", "f32", 1, 4)]
    image = [tensor("image", "f32", 1, 3, "side", "side")]
    prompt = [tensor("tokens", "f32", "P", "T", DIM), tensor("token_mask", "f32", "P", "T")]
    answer = [tensor("logits", "f32", "P", "side/4", "side/4"), tensor("score", "f32", "P")]
    manifest = {
        "format": 3,
        "name": "sides",
        "version": "0.1.0",
        "description": "Two sides, for tests",
        "licence": "Apache-2.0",
        "lineage": "make.py",
        "input": {
            "side": SIDES[0], "other_sides": list(SIDES[1:]), "mean": [127.0] * 3,
            "std": [128.0] * 3, "resize": "bilinear",
        },
        "graphs": [
            *({"part": f"encoder.{p}.onnx", "inputs": image, "outputs": [pixels, keys, *whole]}
              for p in ("f32", "int8")),
            {"part": "decoder.f32.onnx", "inputs": [pixels, keys, *prompt], "outputs": answer},
        ],
        "variants": [
            {"precision": p, "encoder": f"encoder.{p}.onnx", "decoder": "decoder.f32.onnx"}
            for p in ("f32", "int8")
        ],
        "default_precision": "f32",
        "thresholds": {"mask_logit": 0.0, "presence": 0.5},
        "forms": [
            {"object": "colon ulcer", "modality": "endoscopy", "site": "colon", "side": SIDES[1],
             "presence": {"slope": 0.5, "offset": -1.0, "threshold": 0.75}},
        ],
        "modalities": ["endoscopy", "ultrasound"],
        "familiarity": {
            "least": 0.01,
            "domains": [
                {"modality": m, "site": s, "first": first, "count": 2, "mean": -2.0, "std": 0.5}
                for m, s, first in (("endoscopy", "colon", 0), ("ultrasound", "breast", 2))
            ],
        },
        "self_tests": tests,
    }  # fmt: skip
    (OUT / "bundle.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main()
