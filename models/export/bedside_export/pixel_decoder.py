"""The pixel decoder: a transformer on the coarsest map and a feature pyramid above it."""

import torch.nn.functional as F
from torch import nn

from .layers import Attention, Container, as_map, flat, map_size, sine_position

GROUPS = 32


def nearest(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward network, each followed by its LayerNorm."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x, position):
        """x [B,N,D], position [N,D] -> [B,N,D]."""
        at = x + position
        x = self.norm1(x + self.self_attn(at, at, x))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class ConvNorm(nn.Conv2d):
    """Convolution without bias, then GroupNorm, stored as its submodule ``norm``."""

    def __init__(self, cin, cout, kernel):
        super().__init__(cin, cout, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, cout)

    def forward(self, x):
        return self.norm(super().forward(x))


class PixelDecoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, dims = config.dim, config.stage_dims
        layers = nn.ModuleList(
            EncoderLayer(dim, config.heads, config.ffn) for _ in range(config.encoder_layers)
        )
        self.transformer = Container(encoder=Container(layers=layers))
        self.input_proj = nn.Conv2d(dims[3], dim, 1)
        for i in range(3):
            self.add_module(f"adapter_{i + 1}", ConvNorm(dims[i], dim, 1))
        for i in range(4):
            self.add_module(f"layer_{i + 1}", ConvNorm(dim, dim, 3))
        self.mask_features = nn.Conv2d(dim, dim, 3, padding=1)

    def pyramid(self, maps, position=None, upsample=nearest):
        """The backbone's four maps -> maps [B,D,h,w] at strides 32, 16, 8 and 4.

        position: the coarsest map's position code [N,D], where it is at hand.
        """
        x = self.input_proj(maps[3])
        size = map_size(x)
        if position is None:
            position = sine_position(*size, x.shape[1]).flatten(1).t()
        x = flat(x)
        for layer in self.transformer.encoder.layers:
            x = layer(x, position)
        y = F.relu(self.layer_4(as_map(x, size)))
        levels = [y]
        for i in (3, 2, 1):
            adapter, layer = getattr(self, f"adapter_{i}"), getattr(self, f"layer_{i}")
            y = F.relu(layer(adapter(maps[i - 1]) + upsample(y)))
            levels.append(y)
        return levels

    def forward(self, maps):
        """The backbone's four maps -> mask features [B,D,S/4,S/4] and the three coarse levels."""
        *coarse, fine = self.pyramid(maps)
        return self.mask_features(fine), coarse
