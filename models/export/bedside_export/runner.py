"""Exported graphs run by onnxruntime, as the runtime runs them."""

import numpy as np
import onnxruntime
from bedside_train.text import pad

from .frames import encoder_input


def session(path, threads=2, fused=True):
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # it keeps gigabytes that the next step needs
    options.log_severity_level = 3  # errors: that CPUs have no f16 kernels is no news
    return onnxruntime.InferenceSession(str(path), options)


class Graphs:
    """Encoder and decoder of one precision. ``prepare(frame, side)`` makes the encoder's input.

    Unless ``fused``, every node computes as the graph says. Fused, int8 operators round otherwise.
    """

    def __init__(self, encoder, decoder, side, prepare=encoder_input, threads=2, fused=True):
        self.files = encoder, decoder
        self.prepare = prepare
        self.encoder = session(encoder, threads, fused)
        self.decoder = session(decoder, threads, fused)
        self.side = side
        self.features = [o.name for o in self.encoder.get_outputs()]
        self.outputs = [o.name for o in self.decoder.get_outputs()]

    def unfused(self):
        return Graphs(*self.files, self.side, self.prepare, fused=False)

    def encode(self, frame):
        """Features by name of a square u8 frame."""
        image = self.prepare(frame, self.side)
        return dict(zip(self.features, self.encoder.run(None, {"image": image})))

    def decode(self, features, rows):
        """Outputs by name for prompts given as token rows [T, D], rounded as the table rounds."""
        tokens, mask = pad([r.astype(np.float16).astype(np.float32) for r in rows], None)
        feed = {**features, "tokens": tokens, "token_mask": mask}
        return dict(zip(self.outputs, self.decoder.run(None, feed)))

    def __call__(self, frame, rows):
        return self.decode(self.encode(frame), rows)
