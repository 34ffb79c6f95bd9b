"""Exported graphs run by onnxruntime, as the runtime runs them."""

import onnx
import onnxruntime
from bedside_train.text import pad

from .frames import encoder_input


def session(graph, threads=2, fused=True):
    """A session of a file, or of the bytes of a graph."""
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # it keeps gigabytes that the next step needs
    options.log_severity_level = 3  # errors: that CPUs have no f16 kernels is no news
    return onnxruntime.InferenceSession(graph if isinstance(graph, bytes) else str(graph), options)


def telling(path):
    """A decoder with the matched queries as one more output ``query`` [P]: its only ArgMax."""
    model = onnx.load(str(path))
    found = [n for n in model.graph.node if n.op_type == "ArgMax"]
    if len(found) == 1:
        flat = onnx.helper.make_tensor("query.shape", onnx.TensorProto.INT64, [1], [-1])
        model.graph.initializer.append(flat)
        names = [found[0].output[0], flat.name]
        model.graph.node.append(onnx.helper.make_node("Reshape", names, ["query"]))
        model.graph.output.append(
            onnx.helper.make_tensor_value_info("query", onnx.TensorProto.INT64, ["P"])
        )
    return model.SerializeToString()


class Graphs:
    """Encoder and decoder of one precision. ``prepare(frame, side)`` makes the encoder's input.

    A decoder that chooses among queries also answers which it took, as ``query``.

    Unless ``fused``, every node computes as the graph says. Fused, int8 operators round otherwise.
    """

    def __init__(self, encoder, decoder, side, prepare=encoder_input, threads=2, fused=True):
        self.files = encoder, decoder
        self.prepare = prepare
        self.encoder = session(encoder, threads, fused)
        self.decoder = session(telling(decoder), threads, fused)
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
        """Outputs by name for prompts given as token rows f32 [T, D]."""
        tokens, mask = pad(rows, None)
        feed = {**features, "tokens": tokens, "token_mask": mask}
        return dict(zip(self.outputs, self.decoder.run(None, feed)))

    def __call__(self, frame, rows):
        return self.decode(self.encode(frame), rows)
