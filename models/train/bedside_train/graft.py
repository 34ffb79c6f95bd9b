"""A decoder of its own for one form, put into the graphs of a bundle that stays as it is otherwise.

The decoder's graph answers each prompt by itself. Prompts whose tokens are those of the new form
get the answer of a second decoder, every other prompt that of the first, bit for bit. Of the
encoder nothing changes but what it says of the whole frame.
"""

import pathlib
import tempfile

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from .bundle import session
from .errors import BadInput
from .export import export

FEATURES = ("pixels", "keys", "values")
PROMPT = ("tokens", "token_mask")
ANSWERS = ("logits", "score", "meta")
WHITENING, PROTOTYPES, SQUARES = "known.whitening", "known.prototypes", "known.squares"
HEAD = ("encoder.modality_head.weight", "encoder.modality_head.bias")


def mean_row(tokens):
    """What tells prompts apart: the mean of their rows, f32 [E]."""
    return np.asarray(tokens, np.float32).mean(0)


def reach(own, others):
    """Half the way from a form's own prompts [J,E] to the nearest of the others [N,E]: within it
    lie the form's prompts and none else."""
    far = np.linalg.norm(own[:, None] - others[None], axis=2)
    return float(far.min()) / 2


class Own(nn.Module):
    """The answers of a decoder of its own for prompts near `prompts` [J,E], others' as they came."""

    def __init__(self, decoder, prompts, radius):
        super().__init__()
        self.decoder, self.limit = decoder, radius * radius
        self.register_buffer("prompts", torch.as_tensor(prompts, dtype=torch.float32))

    def forward(self, pixels, keys, values, tokens, token_mask, logits, score, meta):
        rows = (tokens * token_mask.unsqueeze(-1)).sum(1) / token_mask.sum(1, keepdim=True)
        far = ((rows.unsqueeze(1) - self.prompts) ** 2).sum(2).amin(1)
        mine = far < self.limit
        own = self.decoder(pixels, keys[0], values[0], tokens, token_mask)
        return (
            torch.where(mine[:, None, None], own[0], logits),
            torch.where(mine, own[1], score),
            torch.where(mine[:, None], own[2], meta),
        )


def grafts(model):
    """How many decoders were put into a decoder's graph already."""
    firsts = {node.name.strip("/").split("/")[0] for node in model.graph.node}
    return sum(first.startswith("own.") for first in firsts)


def rename(graph, name):
    """Give every value another name."""
    for node in graph.node:
        node.input[:] = [name(i) if i else i for i in node.input]
        node.output[:] = [name(o) if o else o for o in node.output]
    for value in [*graph.initializer, *graph.input, *graph.output]:
        value.name = name(value.name)


def graft(path, own, features, out):
    """Write the decoder at `path` with an ``Own`` behind it; -> the name of its part. features: the
    encoder's for a frame."""
    model = onnx.load(str(path))
    part = f"own.{grafts(model)}"
    dim = own.prompts.shape[1]
    tokens, keep = torch.randn(2, 7, dim), torch.ones(2, 7)
    keep[1, 4:] = 0
    features = [torch.from_numpy(f) for f in features]
    with torch.no_grad():
        answers = own.decoder(features[0], features[1][0], features[2][0], tokens, keep)
    old = [f"old.{name}" for name in ANSWERS]
    free = {"pixels": {2: "h", 3: "w"}, "keys": {3: "n"}, "values": {2: "n"}}
    free |= {"tokens": {0: "P", 1: "T"}, "token_mask": {0: "P", 1: "T"}}
    for name in (*ANSWERS, *old):
        free[name] = {0: "P", **({1: "H", 2: "W"} if "logits" in name else {})}
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "own.onnx"
        args = (*features, tokens, keep, *answers)
        export(own, args, made, [*FEATURES, *PROMPT, *old], list(ANSWERS), free)
        new = onnx.load(str(made))
    if new.opset_import[0].version != model.opset_import[0].version:
        raise BadInput(f"{path.name}: of another ONNX version; hint: export the bundle again")
    for node in new.graph.node:
        node.name = f"/{part}{node.name}"
    shared = {*FEATURES, *PROMPT, *ANSWERS}
    rename(new.graph, lambda name: name if name in shared else f"{part}/{name}")
    rename(model.graph, lambda name: f"{part}/old.{name}" if name in ANSWERS else name)
    model.graph.node.extend(new.graph.node)
    model.graph.initializer.extend(new.graph.initializer)
    for value in model.graph.output:
        value.name = value.name.removeprefix(f"{part}/old.")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))
    return part


def arrays(model):
    return {i.name: i for i in model.graph.initializer}


def tells_whole(model):
    """Whether an encoder says what a frame is; the name of the features that it goes by."""
    return next((n.input[0] for n in model.graph.node if WHITENING in n.input), None)


class Encoder:
    """An encoder's graph in onnxruntime. -> features of a normalised image [1,3,S,S], and what it
    says of the whole frame by name: pooled, modality, distance, where the graph tells."""

    def __init__(self, path, threads=1):
        model = onnx.load(str(path))
        pooled = tells_whole(model)
        self.arrays = {
            k: numpy_helper.to_array(v)
            for k, v in arrays(model).items()
            if k in (WHITENING, PROTOTYPES, SQUARES, *HEAD)
        }
        self.names = [o.name for o in model.graph.output]
        if pooled:
            lacking = {PROTOTYPES, SQUARES, *HEAD} - set(self.arrays)
            if lacking:
                raise BadInput(
                    f"{path.name}: no {', '.join(sorted(lacking))}; hint: export the bundle again "
                    "with this version of models/train"
                )
            value = onnx.helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, None)
            model.graph.output.append(value)
            self.names.append("pooled")
        self.session = session(model.SerializeToString(), threads)

    def __call__(self, image):
        found = dict(zip(self.names, self.session.run(None, {"image": image})))
        return [found.pop(name) for name in FEATURES], found

    @property
    def prototypes(self):
        """Whitened [K,C]."""
        return self.arrays[PROTOTYPES].T / -2


def extend(path, prototypes, head, out):
    """Write an encoder that knows more prototypes [K,C], whitened, and tells modalities by another
    head (weight, bias)."""
    model = onnx.load(str(path))
    known = arrays(model)
    more = np.asarray(prototypes, np.float32)
    for name, axis_1 in ((PROTOTYPES, -2 * more.T), (SQUARES, (more * more).sum(1)[None])):
        whole = np.concatenate([numpy_helper.to_array(known[name]), axis_1], 1)
        known[name].CopyFrom(numpy_helper.from_array(whole.astype(np.float32), name))
    for name, value in zip(HEAD, head):
        known[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    distance = next(o for o in model.graph.output if o.name == "distance")
    distance.type.tensor_type.shape.dim[1].dim_value = whole.shape[1]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))
