"""Layers that more than one part of the network uses.

Parameter names are those of BiomedParse's checkpoints, so modules load them as they are.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Multi-head attention with the parameters of ``torch.nn.MultiheadAttention``."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.divisor = math.sqrt(dim // heads)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def split_heads(self, x):
        """[B,L,D] -> [B,heads,L,D/heads]."""
        batch, dim = int(x.shape[0]), int(x.shape[-1])
        return x.reshape(batch, -1, self.heads, dim // self.heads).transpose(1, 2)

    def weights(self, queries, keys, bias=None):
        """Softmax over the keys: [B,L,D], [B,N,D] and bias [B or 1,1,L or 1,N] -> [B,heads,L,N]."""
        wq, wk, _ = self.in_proj_weight.chunk(3)
        bq, bk, _ = self.in_proj_bias.chunk(3)
        q = self.split_heads(F.linear(queries, wq, bq))
        k = self.split_heads(F.linear(keys, wk, bk))
        scores = q @ k.transpose(-1, -2) / self.divisor
        return (scores if bias is None else scores + bias).softmax(-1)

    def forward(self, queries, keys, values, bias=None):
        """queries [B,L,D], keys and values [B,N,D], additive bias -> [B,L,D]."""
        wv, bv = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
        v = self.split_heads(F.linear(values, wv, bv))
        batch, dim = int(values.shape[0]), int(values.shape[-1])
        out = self.weights(queries, keys, bias) @ v
        return self.out_proj(out.transpose(1, 2).reshape(batch, -1, dim))


class Container(nn.Module):
    """A namespace for submodules, where the checkpoint's names have one more level."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def sine_position(height, width, dim):
    """Sine position code [dim,height,width]: first half of the channels for rows, then columns."""
    half = dim // 2
    rate = 10000 ** (2 * (torch.arange(half) // 2) / half)

    def axis(n):
        at = torch.arange(1.0, n + 1) / (n + 1e-6) * (2 * math.pi)
        angle = at / rate[:, None]  # [half, n]
        odd = (torch.arange(half) % 2).bool()[:, None]
        return torch.where(odd, angle.cos(), angle.sin())

    rows = axis(height)[:, :, None].expand(half, height, width)
    columns = axis(width)[:, None, :].expand(half, height, width)
    return torch.cat([rows, columns])


# Sizes are numbers in traces too, for a graph is made for one size: what would compute them there
# is several nodes each time.


def map_size(x):
    """(h, w) of [B,C,h,w]."""
    return int(x.shape[2]), int(x.shape[3])


def flat(x):
    """[B,C,h,w] -> [B,h*w,C]."""
    (h, w), c = map_size(x), int(x.shape[1])
    return x.permute(0, 2, 3, 1).reshape(-1, h * w, c)


def as_map(x, size):
    """[B,h*w,C] -> [B,C,h,w]."""
    return x.reshape(-1, *size, int(x.shape[2])).permute(0, 3, 1, 2)
