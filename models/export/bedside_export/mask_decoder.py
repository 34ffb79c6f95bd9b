"""The mask decoder: learned queries that read the image, next to the tokens of a prompt.

Every query proposes a mask. The one whose class vector is closest to the prompt's class
embedding gives the answer.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .layers import Attention, flat, map_size, sine_position

LEVELS = 3  # strides 32, 16 and 8, visited in turn by the layers
EPSILON = 1e-7  # added to a vector's length before dividing by it


class CrossAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.multihead_attn = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, position, keys, values, bias):
        return self.norm(x + self.multihead_attn(x + position, keys, values, bias))


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, position):
        at = x + position
        return self.norm(x + self.self_attn(at, at, x))


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MaskEmbed(nn.Module):
    """Three linear layers that turn a query into the weights of its mask."""

    def __init__(self, dim):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x):
        x = F.relu(self.layers[0](x))
        return self.layers[2](F.relu(self.layers[1](x)))


def normalise(x):
    return x / (x.norm(dim=-1, keepdim=True) + EPSILON)


class MaskDecoder(nn.Module):
    def __init__(self, config, lang_encoder):
        super().__init__()
        dim, heads, n = config.dim, config.heads, config.decoder_layers
        make = lambda build: nn.ModuleList(build() for _ in range(n))  # noqa: E731
        self.transformer_cross_attention_layers = make(lambda: CrossAttention(dim, heads))
        self.transformer_self_attention_layers = make(lambda: SelfAttention(dim, heads))
        self.transformer_ffn_layers = make(lambda: FeedForward(dim, config.ffn))
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.mask_embed = MaskEmbed(dim)
        self.class_embed = nn.Parameter(torch.randn(dim, dim) * 0.02)
        self.lang_encoder = lang_encoder

    def masks(self, x, mask_features):
        """Mask logits [1,Q,h,w] of queries x [1,Q,D]."""
        embed = self.mask_embed(self.decoder_norm(x))
        return torch.einsum("bqc,bchw->bqhw", embed, mask_features)

    def blocked(self, masks, size):
        """Attention bias [1,1,Q,h*w] of the next layer: minus infinity outside a query's mask.

        A query with an empty mask looks everywhere.
        """
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        outside = masks.sigmoid().flatten(2) < 0.5
        outside = outside & ~outside.all(-1, keepdim=True)
        return torch.zeros(outside.shape).masked_fill(outside, -torch.inf)[:, None]

    def forward(self, mask_features, coarse, tokens):
        """One prompt by the original arithmetic, without any shortcut.

        mask_features [1,D,h,w], coarse three maps [1,D,..], tokens [T,D] -> mask logits of all
        queries [Q,h,w] and their class vectors [Q,D].
        """
        sizes = [map_size(y) for y in coarse]
        memory, keys = [], []
        for i, y in enumerate(coarse):
            memory.append(flat(y) + self.level_embed.weight[i])
            keys.append(memory[i] + sine_position(*sizes[i], y.shape[1]).flatten(1).t())

        queries, tokens = self.query_feat.weight[None], tokens[None]
        count = queries.shape[1]
        query_position = self.query_embed.weight[None]
        position = torch.cat([query_position, tokens], 1)
        masks = self.masks(queries, mask_features)
        for i, cross in enumerate(self.transformer_cross_attention_layers):
            level = i % LEVELS
            bias = self.blocked(masks, sizes[level])
            queries = cross(queries, query_position, keys[level], memory[level], bias)
            x = torch.cat([queries, tokens], 1)
            x = self.transformer_self_attention_layers[i](x, position)
            x = self.transformer_ffn_layers[i](x)
            queries, tokens = x[:, :count], x[:, count:]
            masks = self.masks(queries, mask_features)
        return masks[0], (self.decoder_norm(queries) @ self.class_embed)[0]
