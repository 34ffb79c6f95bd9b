"""A branch of its own for one form, put into the graphs of a bundle that stays as it is otherwise.

The branch is a second pixel decoder over the backbone's features and a second mask decoder behind
it. Prompts whose tokens are those of the new form get its answer, every other prompt that of the
old graphs, bit for bit: nothing that they are computed from is touched.
"""

import pathlib
import tempfile

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from .bundle import drop_dead, session
from .errors import BadInput
from .export import export, quantise

FEATURES = ("pixels", "keys", "values")
PROMPT = ("tokens", "token_mask")
ANSWERS = ("logits", "score", "meta")
LEVELS = tuple(f"level.{i}" for i in range(4))
WHITENING, PROTOTYPES, SQUARES = "known.whitening", "known.prototypes", "known.squares"
HEAD = ("encoder.modality_head.weight", "encoder.modality_head.bias")
FREE = {
    "pixels": {2: "h", 3: "w"},
    "keys": {3: "n"},
    "values": {2: "n"},
    "tokens": {0: "P", 1: "T"},
    "token_mask": {0: "P", 1: "T"},
    "logits": {0: "P", 1: "H", 2: "W"},
    "score": {0: "P"},
    "meta": {0: "P"},
}


def mean_row(tokens):
    """What tells prompts apart: the mean of their rows, f32 [E]."""
    return np.asarray(tokens, np.float32).mean(0)


def reach(own, others):
    """Half the way from a form's own prompts [J,E] to the nearest of the others [N,E]: within it
    lie the form's prompts and none else."""
    far = np.linalg.norm(own[:, None] - others[None], axis=2)
    return float(far.min()) / 2


class Branch(nn.Module):
    """What is learnt for a form: a student without its backbone. Begins as the student's parts."""

    def __init__(self, student):
        super().__init__()
        self.encoder, self.decoder = student.encoder, student.decoder
        del self.encoder.backbone, self.encoder.modality_head

    def train(self, mode=True):
        """Batch norms keep the statistics that they came with: a clinic's frames are few."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def features(self, *levels):
        return self.encoder.features(*self.encoder.top_down(levels))

    def forward(self, levels, tokens, token_mask):
        """levels of B frames, tokens [B,K,T,E] -> logits, score and meta, as of the student."""
        return self.decoder.frames(*self.features(*levels), tokens, token_mask)


class Neck(nn.Module):
    """The branch's part of the encoder, for its graph."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, *levels):
        return self.branch.features(*levels)


class Choice(nn.Module):
    """The branch's answers for prompts near `prompts` [J,E], others' as they came."""

    def __init__(self, decoder, prompts, radius):
        super().__init__()
        self.decoder, self.limit = decoder, radius * radius
        self.register_buffer("prompts", torch.as_tensor(prompts, dtype=torch.float32))

    def forward(self, pixels, keys, values, tokens, token_mask, logits, score, meta):
        rows = (tokens * token_mask.unsqueeze(-1)).sum(1) / token_mask.sum(
            1, keepdim=True
        )
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


def exported(module, args, inputs, outputs):
    """A module's graph; sizes are free where those of tensors of that name are."""
    free = {}
    for name in (*inputs, *outputs):
        if name in LEVELS:
            free[name] = {2: f"h{name[-1]}", 3: f"w{name[-1]}"}
        elif free_ := FREE.get(name.removeprefix("old.").split(".")[0]):
            free[name] = free_
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "part.onnx"
        export(module, args, made, list(inputs), list(outputs), free)
        return onnx.load(str(made))


def join(model, new, part, same):
    """Put another model's nodes behind a model's. same: what its inputs and outputs are called
    there; its other values get names of their own."""
    if new.opset_import[0].version != model.opset_import[0].version:
        raise BadInput("a graph of another ONNX version; hint: export the bundle again")
    for node in new.graph.node:
        node.name = f"/{part}/{node.name.strip('/')}"
    rename(new.graph, lambda name: same.get(name, f"{part}/{name}"))
    model.graph.node.extend(new.graph.node)
    model.graph.initializer.extend(new.graph.initializer)


def save(model, path):
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def graft(base, branch, prompt, radius, images, out):
    """Put a trained branch into the graphs in folder `base`; -> the manifest's name of the part.

    prompt: mean row of the form's tokens [1,E], radius: how near to it a prompt is the form's;
    images: normalised ones [1,3,S,S] to calibrate int8 on; out: folder for the three graphs.
    """
    decoder = onnx.load(str(base / "decoder.f32.onnx"))
    number = grafts(decoder) + 1
    part, own = f"own.{number}", [f"{name}.{number}" for name in FEATURES]
    levels = [
        torch.from_numpy(a) for a in Encoder(base / "encoder.f32.onnx")(images[0])[0]
    ]
    neck = exported(Neck(branch).eval(), tuple(levels), LEVELS, own)
    for precision in ("f32", "int8"):
        encoder = onnx.load(str(base / f"encoder.{precision}.onnx"))
        new, at = neck, dict(zip(LEVELS, level_names(encoder)))
        if precision == "int8":
            seen = Encoder(base / "encoder.int8.onnx")
            new = quantised(
                neck, [dict(zip(LEVELS, seen(i)[0])) for i in images], encoder, at
            )
        outputs = [o for o in new.graph.output]
        join(encoder, copied(new), part, {**at, **{n: n for n in own}})
        encoder.graph.output.extend(outputs)
        save(encoder, out / f"encoder.{precision}.onnx")

    tokens, keep = torch.randn(2, 7, prompt.shape[1]), torch.ones(2, 7)
    keep[1, 4:] = 0
    with torch.no_grad():
        features = branch.features(*levels)
        answers = branch.decoder(
            features[0], features[1][0], features[2][0], tokens, keep
        )
    old = [f"old.{name}" for name in ANSWERS]
    choice = Choice(branch.decoder, prompt, radius).eval()
    new = exported(
        choice, (*features, tokens, keep, *answers), [*own, *PROMPT, *old], ANSWERS
    )
    moved = {name: f"{part}/old.{name}" for name in ANSWERS}
    inputs = [i for i in new.graph.input if i.name in own]
    rename(decoder.graph, lambda name: moved.get(name, name))
    same = dict(zip(old, moved.values())) | {n: n for n in (*own, *PROMPT, *ANSWERS)}
    join(decoder, copied(new), part, same)
    decoder.graph.input.extend(inputs)
    for value in decoder.graph.output:
        value.name = value.name.removeprefix(f"{part}/old.")
    save(decoder, out / "decoder.f32.onnx")
    return part


def copied(model):
    new = onnx.ModelProto()
    new.CopyFrom(model)
    return new


def level_names(model):
    """What an encoder calls the backbone's levels that its pixel decoder reads."""
    convs = {
        node.name: node.input[0] for node in model.graph.node if node.op_type == "Conv"
    }
    try:
        return [convs[f"/lateral.{i}/lateral.{i}.0/Conv"] for i in range(len(LEVELS))]
    except KeyError as error:
        raise BadInput(
            f"no {error} in an encoder; hint: start from the edge bundle"
        ) from error


def quantised(neck, inputs, encoder, at):
    """The neck in int8, its inputs in the steps that the encoder has them in already."""
    constants = arrays(encoder)
    makers = {o: node for node in encoder.graph.node for o in node.output}
    steps = {}
    for name, level in at.items():
        scale, zero = (
            numpy_helper.to_array(constants[i]) for i in makers[level].input[1:]
        )
        steps[name] = [{"scale": scale, "zero_point": zero}]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save(neck, str(folder / "encoder.f32.onnx"))
        quantise(folder, inputs, TensorQuantOverrides=steps)
        new = onnx.load(str(folder / "encoder.int8.onnx"))
    # What quantises an input a second time goes.
    again = {f"{name}_DequantizeLinear_Output": name for name in LEVELS}
    rename(new.graph, lambda name: again.get(name, name))
    for node in [n for n in new.graph.node if n.output[0] in LEVELS]:
        new.graph.node.remove(node)
    drop_dead(new)
    return new


def arrays(model):
    return {i.name: i for i in model.graph.initializer}


class Encoder:
    """What an encoder's graph computes first, in onnxruntime: of a normalised image [1,3,S,S] the
    backbone's levels, and what it says of the whole frame (pooled, modality, distance), if so."""

    def __init__(self, path, threads=1):
        model = onnx.load(str(path))
        self.arrays = {
            name: numpy_helper.to_array(value)
            for name, value in arrays(model).items()
            if name in (WHITENING, PROTOTYPES, SQUARES, *HEAD)
        }
        # Each by the name of a value in the graph.
        self.whole = {}
        if WHITENING in self.arrays:
            lacking = {PROTOTYPES, SQUARES, *HEAD} - set(self.arrays)
            if lacking:
                raise BadInput(
                    f"{path.name}: no {', '.join(sorted(lacking))}; hint: export the bundle again "
                    "with this version of models/train"
                )
            pooled = next(n.input[0] for n in model.graph.node if WHITENING in n.input)
            self.whole = {
                "pooled": pooled,
                "modality": "modality",
                "distance": "distance",
            }
        self.levels = level_names(model)
        del model.graph.output[:]
        for name in (*self.levels, *self.whole.values()):
            value = onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, None
            )
            model.graph.output.append(value)
        drop_dead(model)
        self.session = session(model.SerializeToString(), threads)

    def __call__(self, image):
        found = self.session.run(None, {"image": image})
        count = len(self.levels)
        return found[:count], dict(zip(self.whole, found[count:]))

    @property
    def prototypes(self):
        """Whitened [K,C]."""
        return self.arrays[PROTOTYPES].T / -2


def extend(path, prototypes, head):
    """Let an encoder know more prototypes [K,C], whitened, and tell modalities by another head
    (weight, bias)."""
    model = onnx.load(str(path))
    known = arrays(model)
    more = np.asarray(prototypes, np.float32)
    for name, axis_1 in (
        (PROTOTYPES, -2 * more.T),
        (SQUARES, (more * more).sum(1)[None]),
    ):
        whole = np.concatenate([numpy_helper.to_array(known[name]), axis_1], 1)
        known[name].CopyFrom(numpy_helper.from_array(whole.astype(np.float32), name))
    for name, value in zip(HEAD, head):
        known[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    distance = next(o for o in model.graph.output if o.name == "distance")
    distance.type.tensor_type.shape.dim[1].dim_value = whole.shape[1]
    save(model, path)
