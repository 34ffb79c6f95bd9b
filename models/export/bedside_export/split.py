"""The network cut in two for the runtime, with every exact rewrite that pays.

* ``Encoder``: image -> features; everything that does not depend on the prompt is here.
* ``Decoder``: features, tokens [P,T,D], token_mask [P,T] -> logits [P,h,w], score [P].

Both are built from a ``BiomedParse`` and leave it as it was. They share the tensors that they
do not change. The rewrites, each equal to the plain network but for rounding:

* layer scale goes into the LayerNorm before it, the modulator's divisor into the convolution
  behind it, attention's divisor and the queries' positions into the query projection;
* attention masks come from mask features that were reduced to the level's size, where bilinear
  reduction by 2, 4 or 8 is the mean of the two centre samples on each axis;
* the first cross-attention and the keys and values of all others belong to the image;
* only the matched query's mask is made at full size;
* the convolution that makes mask features is linear, so it can be skipped at full size
  (``skip_mask_conv``): it runs where the attention masks need it, with the centre samples
  averaged before it, and on the answer, where it shrinks to one kernel per prompt.

Prompts never meet: each gets its own copy of the queries, so P prompts give the masks of P
single runs. In everything but self-attention P*Q queries are rows of one matrix.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .checks import check_side
from .layers import as_map, flat, map_size, sine_position
from .mask_decoder import LEVELS, normalise

BLOCKED = -1e4  # bias of what attention must not see; its exponential is 0, and f16 holds it
LEVEL_STRIDES = (32, 16, 8)
FACTORS = (8, 4, 2)  # of the levels against the mask features at stride 4
COSINE_LIMIT = 0.999  # keeps the score finite, in f16 too


def linear(weight, bias):
    """A Linear of weight [out,in] and bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    return layer


def centre_mean(x, factor):
    """Reduce [C,h,w] by an even factor: the mean of the two centre samples on each axis."""
    at = factor // 2 - 1
    x = x[:, at::factor] + x[:, at + 1 :: factor]
    return (x[:, :, at::factor] + x[:, :, at + 1 :: factor]) * 0.25


def double(x):
    """Nearest-neighbour doubling of [1,C,h,w] by two concatenations: no Resize operator."""
    c = x.shape[1]
    h, w = map_size(x)
    x = x.reshape(1, c, h, w, 1)
    x = torch.cat([x, x], 4).reshape(1, c, h, 2 * w)
    return torch.cat([x, x], 3).reshape(1, c, 2 * h, 2 * w)


def attention_bias(masks):
    """Mask logits [..,N] -> BLOCKED where negative, 0 elsewhere and in rows without a mask."""
    some = (masks.amax(-1, keepdim=True) >= 0).to(masks.dtype) * BLOCKED
    return (masks < 0).to(masks.dtype) * some


class FoldedNorm(nn.LayerNorm):
    """A LayerNorm whose result is multiplied by a gain per channel."""

    def __init__(self, norm, gain):
        super().__init__(norm.normalized_shape, norm.eps, device="meta")
        self.weight = nn.Parameter((norm.weight * gain).detach())
        self.bias = nn.Parameter((norm.bias * gain).detach())


class FoldedBlock(nn.Module):
    """A backbone block without layer scale and divisor; see ``focalnet.Block``.

    Channels are innermost all through, as projections read and write them; only the depthwise
    convolutions are told of maps, and engines that keep channels innermost move nothing for them.
    """

    def __init__(self, block):
        super().__init__()
        source = block.modulation
        self.norm1 = FoldedNorm(block.norm1, block.gamma_1)
        self.norm2 = FoldedNorm(block.norm2, block.gamma_2)
        self.mlp = block.mlp
        sizes = [source.dim, source.dim, source.levels + 1]
        parts = zip(source.f.weight.split(sizes), source.f.bias.split(sizes))
        self.query, self.context, self.gates = (linear(*part) for part in parts)
        self.proj, self.focal_layers = source.proj, source.focal_layers
        self.h = linear((source.h.weight * source.scale).flatten(1), source.h.bias)

    def modulation(self, x, size):
        h, w = size
        parts = (self.query, self.context, self.gates)
        query, context, gates = (part(x).reshape(1, h, w, -1) for part in parts)
        *gates, last = gates.split(1, 3)
        total = None
        for gate, (conv, gelu) in zip(gates, self.focal_layers):
            context = gelu(conv(context.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
            total = context * gate if total is None else total + context * gate
        total = total + F.gelu(context.mean((1, 2), keepdim=True)) * last
        return self.proj((query * self.h(total)).reshape(1, h * w, -1))

    def forward(self, x, size):
        x = x + self.norm1(self.modulation(x, size))
        return x + self.norm2(self.mlp(x))


class FoldedBackbone(nn.Module):
    """``focalnet.FocalNet`` with folded blocks."""

    def __init__(self, backbone):
        super().__init__()
        self.patch_embed = backbone.patch_embed
        self.stages = nn.ModuleList(
            nn.ModuleList(FoldedBlock(block) for block in stage.blocks) for stage in backbone.layers
        )
        self.norms = nn.ModuleList(getattr(backbone, f"norm{i}") for i in range(len(self.stages)))
        self.downsamples = nn.ModuleList(stage.downsample for stage in backbone.layers[:-1])

    def forward(self, image):
        x, size = self.patch_embed(image)
        maps = []
        for i, blocks in enumerate(self.stages):
            for block in blocks:
                x = block(x, size)
            maps.append(as_map(self.norms[i](x), size))
            if i < len(self.downsamples):
                x, size = self.downsamples[i](as_map(x, size))
        return maps


class KeysValues(nn.Module):
    """One cross-attention's keys and values of the image."""

    def __init__(self, attention):
        super().__init__()
        _, wk, wv = attention.in_proj_weight.chunk(3)
        _, bk, bv = attention.in_proj_bias.chunk(3)
        self.keys, self.values = linear(wk, bk), linear(wv, bv)

    def forward(self, at, memory):
        """Memory with and without position [N,D] -> keys and values [N,D]."""
        return self.keys(at), self.values(memory)


class SharedCross(nn.Module):
    """Cross-attention of all prompts' queries to keys and values that they share."""

    def __init__(self, layer, query_embed):
        super().__init__()
        attention = layer.multihead_attn
        dim = attention.in_proj_weight.shape[1]
        scale = 1 / math.sqrt(dim // attention.heads)
        weight = attention.in_proj_weight[:dim] * scale
        bias = attention.in_proj_bias[:dim] * scale
        self.heads = attention.heads
        self.query = linear(weight, None)
        self.position = nn.Parameter((query_embed @ weight.t() + bias).detach())  # [Q,D]
        self.out_proj, self.norm = attention.out_proj, layer.norm

    def forward(self, x, keys, values, bias):
        """x [P,Q,D], keys and values [N,D], bias [P*Q,N] -> [P,Q,D]."""
        count, dim = x.shape[1:]
        split = int(keys.shape[0]), self.heads, int(keys.shape[1]) // self.heads
        keys = keys.reshape(split).permute(1, 2, 0)
        values = values.reshape(split).transpose(0, 1)
        q = (self.query(x) + self.position).reshape(-1, self.heads, dim // self.heads)
        attended = (q.transpose(0, 1) @ keys + bias).softmax(-1) @ values
        out = attended.transpose(0, 1).reshape(-1, count, dim)
        return self.norm(x + self.out_proj(out))


class BatchedSelf(nn.Module):
    """Self-attention over each prompt's queries and tokens, which skips padding."""

    def __init__(self, layer):
        super().__init__()
        attention = layer.self_attn
        wq, wk, wv = attention.in_proj_weight.chunk(3)
        bq, bk, bv = attention.in_proj_bias.chunk(3)
        self.heads = attention.heads
        scale = 1 / math.sqrt(wq.shape[0] // self.heads)
        self.query_key = linear(torch.cat([wq * scale, wk]), torch.cat([bq * scale, bk]))
        self.value = linear(wv, bv)
        self.out_proj, self.norm = attention.out_proj, layer.norm

    def forward(self, x, position, bias):
        """x and position [P,L,D], bias [P,1,1,L] -> [P,L,D]."""
        p, dim = x.shape[0], x.shape[2]
        heads, d = self.heads, dim // self.heads
        qk = self.query_key(x + position)
        q = qk[:, :, :dim].reshape(p, -1, heads, d).permute(0, 2, 1, 3)
        k = qk[:, :, dim:].reshape(p, -1, heads, d).permute(0, 2, 3, 1)
        v = self.value(x).reshape(p, -1, heads, d).permute(0, 2, 1, 3)
        attended = (q @ k + bias).softmax(-1) @ v
        out = attended.permute(0, 2, 1, 3).reshape(p, -1, dim)
        return self.norm(x + self.out_proj(out))


class Encoder(nn.Module):
    """Image -> the features of ``names``, in that order.

    | name | shape | what |
    |---|---|---|
    | ``pixels`` | [D,S/4,S/4] | mask features, or what their convolution reads |
    | ``queries`` | [Q,D] | after the first cross-attention |
    | ``masks32``, ``masks16``, ``masks8`` | [D,N] | mask features at that stride |
    | ``keys1`` ... | [N,D] | of decoder layer 1 and further, N by the layer's level |
    | ``values1`` ... | [N,D] | likewise |
    """

    def __init__(self, model, side, skip_mask_conv=True):
        super().__init__()
        check_side(side)
        decoder = model.mask_decoder
        self.side, self.skip_mask_conv = side, skip_mask_conv
        self.backbone = FoldedBackbone(model.backbone)
        self.pixel_decoder = model.pixel_decoder
        layers = decoder.transformer_cross_attention_layers
        self.keys_values = nn.ModuleList(KeysValues(layer.multihead_attn) for layer in layers)
        with torch.no_grad():
            query = decoder.query_feat.weight
            first = SharedCross(layers[0], decoder.query_embed.weight)
            self.first = first
            self.query = nn.Parameter(query.detach()[None])
            self.query_masks = nn.Parameter(decoder.mask_embed(decoder.decoder_norm(query)))
        self.level_embed = nn.Parameter(decoder.level_embed.weight.detach())
        dim = query.shape[1]
        # The mean of 2x2 pixels, of which the first lies one row up and left.
        self.register_buffer("quarters", torch.full((dim, 1, 2, 2), 0.25), persistent=False)
        for i, stride in enumerate(LEVEL_STRIDES):
            code = sine_position(side // stride, side // stride, dim).flatten(1).t().contiguous()
            self.register_buffer(f"position{i}", code, persistent=False)

    @property
    def names(self):
        names = ["pixels", "queries", *(f"masks{stride}" for stride in LEVEL_STRIDES)]
        for i in range(1, len(self.keys_values)):
            names += [f"keys{i}", f"values{i}"]
        return names

    def mask_features(self, fine):
        """Finest map [1,D,h,w] -> ``pixels`` and the mask features of the levels [D,N]."""
        conv = self.pixel_decoder.mask_features
        if not self.skip_mask_conv:
            pixels = conv(fine)[0]
            return pixels, [centre_mean(pixels, f).flatten(1) for f in FACTORS]
        dim, (h, w) = len(self.quarters), map_size(fine)
        means = F.conv2d(fine, self.quarters, padding=1, groups=dim)
        levels = []
        for factor in FACTORS:
            # The window that starts at the centre samples is the second, behind so much padding;
            # to skip what is before it afterwards copies less than to skip it in the map.
            skip = 1 - factor // 2
            part = F.conv2d(means, conv.weight, conv.bias, stride=factor, padding=skip % factor)
            if skip:
                part = part[:, :, 1 : 1 + h // factor, 1 : 1 + w // factor]
            levels.append(part.reshape(dim, -1))
        return fine[0], levels

    def forward(self, image):
        """Normalised image [1,3,S,S] -> tuple of features."""
        *coarse, fine = self.pixel_decoder.pyramid(self.backbone(image), self.position0, double)
        pixels, masks = self.mask_features(fine)
        memory, at = [], []
        for i, y in enumerate(coarse):
            memory.append(flat(y).reshape(-1, len(self.quarters)) + self.level_embed[i])
            at.append(memory[i] + getattr(self, f"position{i}"))
        pairs = [kv(at[i % LEVELS], memory[i % LEVELS]) for i, kv in enumerate(self.keys_values)]
        bias = attention_bias(self.query_masks @ masks[0])
        queries = self.first(self.query, *pairs[0], bias)[0]
        return (pixels, queries, *masks, *(t for pair in pairs[1:] for t in pair))


class Decoder(nn.Module):
    """Features, ``tokens`` and ``token_mask`` -> ``logits``, ``score`` and optionally ``meta``.

    The class embedding is the last row whose mask is 1; padding rows stand behind it.

    ``score`` is the match between the prompt and the query that answers it: with c the cosine
    of the two, score = ln((1 + c) / (1 - c)), so that sigmoid(score) = (1 + c) / 2. It grows
    with c and does not depend on the checkpoint's temperature. It ranks matches; BiomedParse
    was trained on present objects only, so it is no probability of presence, and a presence
    threshold of 0 means "always there".

    ``meta`` [P,n] are the matched query's logits over n classes, given their normalised text
    embeddings ``class_embeddings`` [n,D] (see ``class_embeddings``).
    """

    def __init__(self, model, skip_mask_conv=True, class_embeddings=None):
        super().__init__()
        source = model.mask_decoder
        embed = source.query_embed.weight
        self.skip_mask_conv = skip_mask_conv
        self.count, self.dim = embed.shape
        self.cross = nn.ModuleList(
            SharedCross(layer, embed) for layer in source.transformer_cross_attention_layers[1:]
        )
        self.selves = nn.ModuleList(
            BatchedSelf(layer) for layer in source.transformer_self_attention_layers
        )
        self.ffn = source.transformer_ffn_layers
        self.decoder_norm, self.mask_embed = source.decoder_norm, source.mask_embed
        self.query_embed = nn.Parameter(embed.detach()[None])
        self.class_embed = nn.Parameter(source.class_embed.detach())
        if skip_mask_conv:
            conv = model.pixel_decoder.mask_features
            taps = conv.weight.detach().permute(0, 2, 3, 1)  # [D,3,3,D]
            self.taps = nn.Parameter(taps.reshape(self.dim, -1))
            self.tap_bias = nn.Parameter(conv.bias.detach()[:, None])
        self.classes = None
        if class_embeddings is not None:
            scale = model.text_encoder.logit_scale.detach().exp()
            self.classes = nn.Parameter((class_embeddings.detach() * scale).t())

    @property
    def levels(self):
        return len(self.selves)

    def match(self, x, tokens, token_mask):
        """Queries after the last layer [P,Q,D] -> the matched ones: x [P,D], class vector, cosine.

        Class vectors are normalised.
        """
        following = torch.cat([token_mask[:, 1:], token_mask[:, :1] * 0], 1)
        last = token_mask - following  # [P,T], 1 at the last token
        wanted = normalise((last[:, None] @ tokens)[:, 0])
        vectors = normalise(x @ self.class_embed)
        cosines = (vectors @ wanted[:, :, None])[:, :, 0]  # [P,Q]
        best = cosines.argmax(1, keepdim=True)[:, :, None].expand(-1, 1, self.dim)
        vector = None if self.classes is None else vectors.gather(1, best)[:, 0]
        return x.gather(1, best)[:, 0], vector, cosines.amax(1)

    def answer(self, pixels, weights):
        """pixels [D,h,w] and a mask's weights [P,D] -> logits [P,h,w]."""
        _, h, w = pixels.shape
        flat = pixels.reshape(self.dim, h * w)
        if not self.skip_mask_conv:
            return (weights @ flat).reshape(-1, h, w)
        kernels = (weights @ self.taps).reshape(-1, self.dim)  # [P*9,D]
        maps = F.pad((kernels @ flat).reshape(-1, 9, h, w), (1, 1, 1, 1))
        total = (weights @ self.tap_bias)[:, :, None]  # [P,1,1]
        for k in range(9):
            row, column = divmod(k, 3)
            total = total + maps[:, k, row : row + h, column : column + w]
        return total

    def forward(self, pixels, queries, *rest):
        """See the class; rest is masks32, masks16, masks8, keys1, values1, ..., tokens, mask."""
        masks, pairs = rest[:LEVELS], rest[LEVELS:-2]
        tokens, token_mask = rest[-2:]
        p = tokens.shape[0]
        position = torch.cat([self.query_embed.expand(p, -1, -1), tokens], 1)
        queries_kept = (token_mask[:, :1] * 0).expand(-1, self.count)
        hidden = torch.cat([queries_kept, (1 - token_mask) * BLOCKED], 1)[:, None, None]

        x = torch.cat([queries[None].expand(p, -1, -1), tokens], 1)
        for i, (attention, ffn) in enumerate(zip(self.selves, self.ffn)):
            if i:
                found = x[:, : self.count]
                embed = self.mask_embed(self.decoder_norm(found)).reshape(-1, self.dim)
                bias = attention_bias(embed @ masks[i % LEVELS])
                found = self.cross[i - 1](found, pairs[2 * i - 2], pairs[2 * i - 1], bias)
                x = torch.cat([found, x[:, self.count :]], 1)
            x = ffn(attention(x, position, hidden))

        x, vector, cosine = self.match(self.decoder_norm(x[:, : self.count]), tokens, token_mask)
        logits = self.answer(pixels, self.mask_embed(x))
        cosine = cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)
        score = torch.log((1 + cosine) / (1 - cosine))
        if self.classes is None:
            return logits, score
        return logits, score, vector @ self.classes


def cosine_of(score):
    """The cosine that a ``score`` stands for."""
    return torch.tanh(score / 2)


def class_embeddings(text_encoder, classes):
    """Text embeddings of meta classes for ``Decoder`` -> [n,D], normalised.

    classes: per class a list of texts, each a list of token ids from start to end of text.
    A class is the normalised mean of its texts' normalised class embeddings.
    """
    rows = []
    with torch.no_grad():
        for texts in classes:
            ends = [text_encoder(torch.tensor([ids]))[0, -1] for ids in texts]
            mean = normalise(torch.stack(ends)).mean(0)
            rows.append(mean / mean.norm())
    return torch.stack(rows)


def pad_tokens(prompts):
    """Prompts' token rows, a list of [T,D] -> tokens [P,T,D] and token_mask [P,T]."""
    length = max(len(rows) for rows in prompts)
    tokens = torch.zeros(len(prompts), length, prompts[0].shape[1])
    mask = torch.zeros(len(prompts), length)
    for i, rows in enumerate(prompts):
        tokens[i, : len(rows)] = rows
        mask[i, : len(rows)] = 1
    return tokens, mask
