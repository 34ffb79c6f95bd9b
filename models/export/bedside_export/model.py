"""BiomedParse v1's inference path for text prompts, in plain PyTorch.

``BiomedParse`` follows the original arithmetic step by step and is the reference that every
rewrite (``split``) and every exported graph (``graphs``) is compared with. The names of its
parameters are those of the published checkpoints.
"""

import dataclasses
import typing

import torch
from torch import nn

from .checks import check_side
from .focalnet import FocalNet
from .layers import Container
from .mask_decoder import MaskDecoder, normalise
from .pixel_decoder import PixelDecoder
from .text_encoder import LanguageEncoder


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the network; the defaults are those of v1."""

    embed_dim: int = 192  # channels of the first backbone stage, doubled by each further one
    depths: tuple[int, ...] = (2, 2, 18, 2)
    focal_levels: int = 4
    focal_window: int = 3
    mlp_ratio: int = 4
    dim: int = 512  # width of pixel decoder, mask decoder and tokens
    heads: int = 8
    ffn: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 9
    queries: int = 101
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    vocabulary: int = 49408
    context: int = 77

    @property
    def stage_dims(self):
        return [self.embed_dim * 2**i for i in range(len(self.depths))]

    @classmethod
    def v1(cls):
        return cls()

    @classmethod
    def tiny(cls):
        """The same network made small, for tests; runs in a fraction of a second."""
        return cls(
            embed_dim=16,
            depths=(1, 1, 2, 1),
            focal_levels=3,
            dim=64,
            heads=4,
            ffn=96,
            encoder_layers=2,
            decoder_layers=5,
            queries=13,
            text_width=48,
            text_heads=4,
            text_layers=2,
            vocabulary=97,
            context=20,
        )


class Answer(typing.NamedTuple):
    """What the reference gives for one prompt."""

    logits: torch.Tensor  # [h,w], the matched query's mask
    query: int  # index of the matched query
    cosines: torch.Tensor  # [Q], between class vectors and the prompt's class embedding
    masks: torch.Tensor  # [Q,h,w], the masks of all queries
    classes: torch.Tensor  # [Q,D], the class vectors of all queries


class BiomedParse(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.backbone = FocalNet(config)
        self.sem_seg_head = Container(
            pixel_decoder=PixelDecoder(config),
            predictor=MaskDecoder(config, LanguageEncoder(config)),
        )

    @property
    def pixel_decoder(self):
        return self.sem_seg_head.pixel_decoder

    @property
    def mask_decoder(self):
        return self.sem_seg_head.predictor

    @property
    def text_encoder(self):
        return self.sem_seg_head.predictor.lang_encoder

    def tokens(self, ids):
        """Token ids of one text, a list of int or a tensor [T] -> token rows [T,D]."""
        return self.text_encoder(torch.as_tensor(ids, dtype=torch.int64)[None])[0]

    def forward(self, image, tokens):
        """Normalised image [1,3,S,S] and one prompt's tokens [T,D] -> Answer (h = w = S/4)."""
        check_side(image.shape[-1])
        masks, classes = self.mask_decoder(*self.pixel_decoder(self.backbone(image)), tokens)
        cosines = normalise(classes) @ normalise(tokens[-1])
        query = int(cosines.argmax())
        return Answer(masks[query], query, cosines, masks, classes)
