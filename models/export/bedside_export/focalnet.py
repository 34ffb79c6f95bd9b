"""The FocalNet backbone (Yang et al. 2022) in the variant that BiomedParse v1 uses:

convolutional patch embedding, LayerNorm behind each branch, layer scale, and a modulator that
is divided by the number of contexts. Tokens are [B,H*W,C], maps [B,C,H,W].
"""

import torch
import torch.nn.functional as F
from torch import nn

from .layers import as_map, flat, map_size


class FocalModulation(nn.Module):
    """Gated sum of ever wider depthwise contexts, which modulates a query per pixel."""

    def __init__(self, dim, levels, window):
        super().__init__()
        self.dim, self.levels = dim, levels
        self.scale = 1 / (levels + 1)
        self.f = nn.Linear(dim, 2 * dim + levels + 1)
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList()
        for level in range(levels):
            kernel = window + 2 * level
            conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
            self.focal_layers.append(nn.Sequential(conv, nn.GELU()))

    def forward(self, x, size):
        """x [B,H*W,C] with size (H,W) -> the same shape."""
        maps = self.f(x).transpose(1, 2).unflatten(2, size)
        query, context, gates = torch.split(maps, [self.dim, self.dim, self.levels + 1], 1)
        total = 0
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            total = total + context * gates[:, level : level + 1]
        whole = F.gelu(context.mean((2, 3), keepdim=True))
        total = total + whole * gates[:, self.levels :]
        if self.scale != 1:
            total = total * self.scale
        return self.proj(flat(query * self.h(total)))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, levels, window, ratio):
        super().__init__()
        self.modulation = FocalModulation(dim, levels, window)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, ratio * dim)
        self.norm2 = nn.LayerNorm(dim)
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.gamma_2 = nn.Parameter(torch.ones(dim))

    def forward(self, x, size):
        x = x + self.gamma_1 * self.norm1(self.modulation(x, size))
        return x + self.gamma_2 * self.norm2(self.mlp(x))


class PatchEmbed(nn.Module):
    """Strided convolution and LayerNorm over channels: map -> tokens and their size."""

    def __init__(self, cin, cout, kernel, stride, padding):
        super().__init__()
        self.proj = nn.Conv2d(cin, cout, kernel, stride, padding)
        self.norm = nn.LayerNorm(cout)

    def forward(self, x):
        x = self.proj(x)
        return self.norm(flat(x)), map_size(x)


class Stage(nn.Module):
    def __init__(self, dim, depth, levels, window, ratio, last):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, levels, window, ratio) for _ in range(depth))
        self.downsample = None if last else PatchEmbed(dim, 2 * dim, 3, 2, 1)


class FocalNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        dims = config.stage_dims
        levels, window = config.focal_levels, config.focal_window
        self.patch_embed = PatchEmbed(3, dims[0], 7, 4, 2)
        self.layers = nn.ModuleList()
        for i, (dim, depth) in enumerate(zip(dims, config.depths)):
            last = i == len(dims) - 1
            self.layers.append(Stage(dim, depth, levels, window, config.mlp_ratio, last))
            self.add_module(f"norm{i}", nn.LayerNorm(dim))

    def forward(self, image):
        """image [B,3,S,S] -> maps at strides 4, 8, 16 and 32: [B,C,S/4,S/4], [B,2C,S/8,S/8]..."""
        x, size = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:
                x = block(x, size)
            norm = getattr(self, f"norm{i}")
            maps.append(as_map(norm(x), size))
            if stage.downsample is not None:
                x, size = stage.downsample(as_map(x, size))
        return maps
