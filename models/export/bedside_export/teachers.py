"""What the student learns from: a checkpoint or a bundle, and their answers, made once."""

import hashlib
import json
import sys
import zipfile

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from bedside_train.model import SUB
from bedside_train.text import pad
from tokenizers import Tokenizer

from . import checkpoint, frames, prompts
from .errors import ExportError
from .runner import Graphs, session
from .scratch import whole
from .split import Decoder, Encoder


class CheckpointTeacher:
    """A checkpoint, run by PyTorch."""

    def __init__(self, path, words, side, config):
        model = checkpoint.open_model(path, config)
        self.encoder, self.decoder, self.side = Encoder(model, side), Decoder(model), side
        self.dim = config.dim
        self.encode = prompts.encoder(model.text_encoder, words)

    def __call__(self, frame, rows):
        """Square frame -> map of features [C,h,w] and logits [P,h,w]."""
        tokens, mask = (torch.from_numpy(a) for a in pad(rows, None))
        with torch.no_grad():
            features = self.encoder(torch.from_numpy(frames.encoder_input(frame, self.side)))
            logits = self.decoder(*features, tokens, mask)[0]
        return features[0].numpy(), logits.numpy()


class BundleTeacher:
    """An exported bundle with a text graph, run by onnxruntime in its best precision."""

    def __init__(self, path, scratch):
        try:
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(scratch)
            said = json.loads((scratch / "manifest.json").read_text())
            text = said["text"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ExportError(
                f"{path}: {error!r}; hint: a bundle made by bedside_export, which has a text graph"
            ) from error
        best = min(said["variants"], key=lambda v: ["f32", "f16", "int8"].index(v["precision"]))
        side = said["input"]["side"]
        self.graphs = Graphs(scratch / best["encoder"], scratch / best["decoder"], side)
        self.words = Tokenizer.from_file(str(scratch / text["tokenizer"]))
        self.text = session(scratch / text["graph"])
        self.dim = self.text.get_outputs()[0].shape[-1]

    def encode(self, prompt):
        ids = np.array([self.words.encode(prompt.lower()).ids], np.int64)
        return self.text.run(None, {self.text.get_inputs()[0].name: ids})[0][0]

    def __call__(self, frame, rows):
        features = self.graphs.encode(frame)
        return features["pixels"], self.graphs.decode(features, rows)["logits"]


def resized(maps, side):
    """[C,h,w] by area to [C,side,side], f16."""
    maps = torch.from_numpy(np.ascontiguousarray(maps, np.float32))[None]
    if maps.shape[-1] < side:
        maps = F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(maps, side)[0].numpy().astype(np.float16)


def remember(teacher, shown, rows, side, folder):
    """The teacher's answers, made once a frame: [(frame u8 [side,side,3], features, logits)]."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for i, frame in enumerate(shown):
        path = folder / f"{hashlib.sha256(frame.tobytes()).hexdigest()[:24]}.npz"
        if not path.exists():
            features, logits = teacher(frame, rows)
            arrays = {
                "features": resized(features, side // 16),
                "logits": resized(logits, SUB * side // 4),
            }
            if not all(np.isfinite(a).all() for a in arrays.values()):
                raise ExportError("the teacher answers with numbers that are none")
            with whole(path) as part:
                np.savez(part, **arrays)
            print(f"teacher: {i + 1} of {len(shown)} frames", file=sys.stderr)
        with np.load(path) as stored:
            small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
            kept.append((small, stored["features"], stored["logits"]))
    return kept
