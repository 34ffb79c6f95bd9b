"""Weights from a hash, checks that a network is alive, and a comparer that NaN cannot pass.

The hash makes the same weights on every machine and in any implementation of the network that
has the same parameter names.
"""

import math
import zlib

import numpy as np
import torch

PROMPTS = [[95, 5, 96], [95, 17, 33, 96], [95, 7, 8, 9, 10, 96], [95, 60, 96], [95, 2, 41, 23, 96]]
PROMPTS += [[95, 80, 1, 80, 12, 66, 3, 30, 96]]


def noise(name, count):
    """count numbers in [-1, 1) that depend on nothing but the name."""
    x = np.arange(count, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 32)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(40)).astype(np.float32) / np.float32(2**23)) - np.float32(1)


def weight(name, shape):
    """A parameter's value: large enough for attention and gates to matter, small enough to hold."""
    values = noise(name, math.prod(shape)).reshape(shape)
    leaf = name.rsplit(".", 1)[-1]
    norm = any(part.startswith(("norm", "ln_", "decoder_norm")) for part in name.split("."))
    if leaf == "logit_scale":
        return np.float32(1.5) + values
    if leaf.startswith("gamma_") or (norm and leaf == "weight"):
        return np.float32(0.8) + np.float32(0.3) * values
    if leaf.endswith("bias"):
        return np.float32(0.2) * values
    if "embed" in name and leaf == "weight" and len(shape) == 2 and "mask_embed" not in name:
        return values
    if "query_feat" in name or leaf == "positional_embedding":
        return values
    fan_in = math.prod(shape[1:]) if leaf not in ("class_embed", "lang_proj") else shape[0]
    gain = 1.4 if leaf == "in_proj_weight" else 1.0  # peaks in attention without one-hot rows
    return values * np.float32(gain * math.sqrt(3 / fan_in))


def fill(module, prefix=""):
    """Set every parameter of a module by its name."""
    for name, parameter in module.named_parameters():
        parameter.data = torch.from_numpy(np.array(weight(prefix + name, tuple(parameter.shape))))


def image(side, seed=0):
    """A smooth pattern with some noise, [1,3,side,side], about as large as a normalised frame."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / np.float32(side)
    waves = [np.sin(9 * x + 5 * y + seed + c) * np.cos(7 * y - c * x) for c in range(3)]
    rough = noise(f"image {seed} {side}", 3 * side * side).reshape(3, side, side)
    return torch.from_numpy((1.2 * np.stack(waves) + 0.4 * rough)[None].astype(np.float32))


def assert_alive(module):
    """Every parameter is finite, not huge, and made of many different values."""
    for name, parameter in module.named_parameters():
        assert parameter.device.type != "meta", f"{name} was never given a value"
        assert torch.isfinite(parameter).all(), f"{name} is not finite"
        assert parameter.abs().max() < 1e3, f"{name} is huge"
        if parameter.numel() == 1:
            assert parameter != 0, f"{name} is zero"
        else:
            assert (parameter == 0).float().mean() < 0.01, f"{name} has zeros"
            assert parameter.unique().numel() > 1, f"{name} is one constant"


def error(got, wanted):
    """Largest difference over the largest wanted magnitude; never NaN, never of dead tensors."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    assert got.shape == wanted.shape, f"shapes {tuple(got.shape)} and {tuple(wanted.shape)}"
    assert wanted.numel(), "nothing to compare"
    assert torch.isfinite(got).all() and torch.isfinite(wanted).all(), "not finite"
    size = wanted.abs().max()
    assert size > 0, "the wanted values are all zero"
    return float((got - wanted).abs().max() / size)


def assert_close(got, wanted, limit=1e-4):
    e = error(got, wanted)
    assert e <= limit, f"relative error {e:.2e} is above {limit:.0e}"
