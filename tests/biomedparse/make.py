"""Graphs of the exporter and onnxruntime's answers, for tests/tests/biomedparse.rs.

    python tests/biomedparse/make.py                                    # what stands here
    python tests/biomedparse/make.py --checkpoint biomedparse_v1.pt --side 512 --out FOLDER

The first makes a small network whose weights come from a hash of their names; for the second,
BEDSIDE_BIOMEDPARSE=FOLDER makes the test compare the full-size graphs.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np
import onnxruntime
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models/export/tests"))
from bedside_export import checkpoint, graphs  # noqa: E402
from bedside_export.model import BiomedParse, Config  # noqa: E402
from bedside_export.split import Decoder, Encoder, pad_tokens  # noqa: E402
from helpers import PROMPTS, assert_alive, fill, image, noise  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--checkpoint")
parser.add_argument("--side", type=int, default=64)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
args = parser.parse_args()
args.out.mkdir(exist_ok=True)

if args.checkpoint:
    model = checkpoint.open_model(args.checkpoint)
else:
    small = dict(embed_dim=8, dim=32, ffn=64, encoder_layers=1, decoder_layers=4)
    model = BiomedParse(dataclasses.replace(Config.tiny(), **small)).eval()
    with torch.no_grad():
        fill(model)
assert_alive(model)
encoder, decoder = Encoder(model, args.side), Decoder(model)
described = {
    "encoder": graphs.export_encoder(encoder, args.out / "encoder.onnx"),
    "decoder": graphs.export_decoder(decoder, encoder, args.out / "decoder.onnx"),
}
dim = model.config.dim
rows = [torch.from_numpy(noise(f"tokens {i}", len(p) * dim).reshape(-1, dim).copy())
        for i, p in enumerate(PROMPTS[:5])]
tokens, mask = (t.numpy() for t in pad_tokens(rows))
frame = image(args.side).numpy()
run = lambda name: onnxruntime.InferenceSession(str(args.out / f"{name}.onnx"))  # noqa: E731
features = run("encoder").run(None, {"image": frame})
feed = dict(zip(encoder.names, features), tokens=tokens, token_mask=mask)
logits, score = run("decoder").run(["logits", "score"], feed)
arrays = dict(image=frame, tokens=tokens, token_mask=mask, logits=logits, score=score)
for name, array in arrays.items():
    assert np.isfinite(array).all() and array.std() > 0, f"{name} is dead"
    (args.out / f"{name}.f32").write_bytes(array.astype("<f4").tobytes())
described["shapes"] = {name: list(array.shape) for name, array in arrays.items()}
(args.out / "graphs.json").write_text(json.dumps(described, indent=1) + "\n")
