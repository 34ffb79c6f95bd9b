"""The text encoder: a causal transformer in the style of CLIP, and its projection.

A token sees only what stands before it, so what follows the end of a text changes nothing:
only the real tokens need to be run.
"""

import numpy as np
import torch
from torch import nn

from .layers import Attention, Container

BLOCKED = np.float32(-1e4)  # bias of what attention must not see; its exponential is 0
EPSILON = 1e-12  # of the text encoder's LayerNorms, much smaller than elsewhere


class TextBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width, EPSILON)
        self.mlp = Container(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width, EPSILON)

    def forward(self, x, bias):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, bias)
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))


class TextTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.text_width
        self.token_embedding = nn.Embedding(config.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(config.context, width) * 0.02)
        self.resblocks = nn.ModuleList(
            TextBlock(width, config.text_heads) for _ in range(config.text_layers)
        )
        self.ln_final = nn.LayerNorm(width, EPSILON)

    def forward(self, ids):
        """ids [1,T] -> [1,T,width]."""
        context = self.positional_embedding.shape[0]
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        future = torch.from_numpy(np.triu(np.full((context, context), BLOCKED), 1))
        future = future[:length, :length]
        for block in self.resblocks:
            x = block(x, future)
        return self.ln_final(x)


class LanguageEncoder(nn.Module):
    """Token ids of one text -> the token rows that the mask decoder takes."""

    def __init__(self, config):
        super().__init__()
        self.lang_encoder = TextTransformer(config)
        self.lang_proj = nn.Parameter(torch.randn(config.text_width, config.dim) * 0.02)
        self.logit_scale = nn.Parameter(torch.ones([]))

    def forward(self, ids):
        """ids i64 [1,T], from start to end of text -> tokens [1,T,D]; the last is the class's."""
        return self.lang_encoder(ids) @ self.lang_proj
