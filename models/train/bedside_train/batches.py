"""Batches of frames with several prompts each, the same for a given step whenever it is asked."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from . import data, forms, text

PROMPTS = 6  # a frame
TOKENS = 16  # rows kept for each prompt; ours have at most 15
NONE = len(forms.meta_objects())
# Input side: share of the steps, frames a step.
SIZES = {192: (0.38, 16), 256: (0.42, 12), 384: (0.12, 6), 512: (0.08, 4)}
# How often fine forms, and thin ones among them, are sampled at each side, against the others.
FINE = {192: 0.3, 256: 1.0, 384: 6.0, 512: 1.0}
THIN = {192: 0.1, 256: 0.3, 384: 3.0, 512: 30.0}
PAIRS = 0.12  # share of steps that show each frame in two views
NOTHING = 0.03  # share of frames of no modality
SEEN = 2e-4  # least share of the view that an object must cover to be looked for
EDGE = 15  # pixels of a mask around its outline that count more


@dataclass
class Batch:
    """B frames with K prompts; masks are at half the side of the images."""

    images: torch.Tensor  # f32 [B,3,S,S]
    tokens: torch.Tensor  # f32 [B,K,T,E]
    token_mask: torch.Tensor  # f32 [B,K,T]
    masks: torch.Tensor  # f32 [B,K,S/2,S/2], share of each pixel
    edges: torch.Tensor  # f32, as masks: weights, 1 far from outlines
    present: torch.Tensor  # f32 [B,K]
    weight: torch.Tensor  # f32 [B,K]: how far `present` and an empty mask are believed
    thin: torch.Tensor  # bool [B,K]
    form: torch.Tensor  # i64 [B,K]: trained form, -1 for a prompt of the absent
    meta: torch.Tensor  # i64 [B,K]
    modality: torch.Tensor  # i64 [B]
    # Where the first half of the frames shows twice: affine maps [B/2,2,3] from the squares, -1..1,
    # of the second half's views to those of the first half's.
    motion: torch.Tensor | None = None

    def to(self, device):
        moved = {k: v if v is None else v.to(device) for k, v in vars(self).items()}
        images = moved["images"].contiguous(memory_format=torch.channels_last)
        return Batch(**{**moved, "images": images})


class Sampler:
    """Frames, balanced by form: rare forms more often than their frames, none beyond measure."""

    def __init__(self, frames):
        count = len(forms.trained())
        self.with_form = [[] for _ in range(count)]
        self.without = [[] for _ in range(count)]
        for frame in frames:
            for form, mask in frame.masks.items():
                (self.without if mask is None else self.with_form)[form].append(frame)
        if not any(self.with_form):
            raise SystemExit("no frame shows a trained form")

    def weights(self, side):
        """Probability of each form to choose a frame, not normalised."""
        out = []
        for t, frames in zip(forms.trained(), self.with_form):
            shared = np.mean(
                [sum(m is not None for m in f.masks.values()) for f in frames] or [1]
            )
            wanted = THIN[side] if t.thin else FINE[side] if t.fine else 1.0
            out.append(t.share * wanted * math.sqrt(len(frames)) / shared)
        return out

    def choose(self, side, count, rng):
        chosen = rng.choices(range(len(self.with_form)), self.weights(side), k=count)
        return [self.frame(form, rng) for form in chosen]

    def frame(self, form, rng):
        without = self.without[form]
        if without and rng.random() < 0.2 * without[0].policy.negative:
            return rng.choice(without)
        return rng.choice(self.with_form[form])


class Rows:
    """The prompts of one frame and what is to be answered, in one view."""

    def __init__(self, side, prompts):
        half = side // 2
        self.texts = []
        self.masks = np.zeros((prompts, half, half), np.float32)
        self.edges = np.ones((prompts, half, half), np.float32)
        self.present = np.zeros(prompts, np.float32)
        self.weight = np.ones(prompts, np.float32)
        self.thin = np.zeros(prompts, bool)
        self.form = np.full(prompts, -1)
        self.meta = np.full(prompts, NONE)

    def add(self, index, words, mask, doubt):
        """One annotated form with its mask u8 [S,S] in this view, None if it is not found."""
        k, t = len(self.texts), forms.trained()[index]
        self.texts.append(words)
        self.form[k] = index
        self.thin[k] = t.thin
        if mask is None:
            self.weight[k] = doubt
            return
        half = self.masks.shape[1]
        soft = (
            cv2.resize(mask, (half, half), interpolation=cv2.INTER_AREA).astype(
                np.float32
            )
            / 255
        )
        seen = soft.mean()
        if seen < SEEN:
            self.weight[k] = seen == 0  # a sliver is neither present nor absent
            return
        self.masks[k] = soft
        width = 2 * (EDGE * half // 256) + 1
        self.edges[k] = 1 + 4 * np.abs(cv2.blur(soft, (width, width)) - soft)
        self.present[k] = 1
        self.meta[k] = t.form.meta

    def fill(self, words):
        self.texts += words[: len(self.form) - len(self.texts)]


def in_words(index, rng):
    """The canonical prompt of a trained form or, sometimes, another way to ask for it."""
    t = forms.trained()[index]
    return rng.choice(t.phrases) if rng.random() < 0.25 else t.form.text


def vain(modality, site, count, rng):
    """Texts to ask of a frame that surely can't show what they name."""
    lists = forms.absent_prompts(modality, site)
    return [rng.choice(rng.choices(lists, (0.4, 0.35, 0.25))[0]) for _ in range(count)]


def shots(frame, side, views, prompts, rng, np_rng):
    """The frame in some views that differ a little, each as (image, Rows, motion)."""
    image, masks = frame.read()
    fine = any(forms.trained()[i].fine for i in frame.masks)
    policy = frame.policy
    first = data.view_beside(policy, masks, rng) if rng.random() < policy.away else None
    first = first or data.view(policy, fine, rng)
    words = {
        i: in_words(forms.mirrored(i) if first.mirror else i, rng) for i in frame.masks
    }
    others = vain(frame.modality, frame.site, prompts - len(words), rng)
    for n in range(views):
        linear, shift = np.eye(2), np.zeros(2)
        if n > 0:
            angle, scale = rng.uniform(-0.08, 0.08), math.exp(rng.uniform(-0.06, 0.06))
            linear = data.rotation(angle, scale)
            shift = np.array([rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08)])
        v = first.beside(linear, shift)
        seen = v.render(masks, side)
        rows = Rows(side, prompts)
        for k, (i, file) in enumerate(frame.masks.items()):
            index = forms.mirrored(i) if first.mirror else i
            mask = None if file is None else np.ascontiguousarray(seen[..., k])
            rows.add(index, words[i], mask, frame.doubt)
        rows.fill(others)
        x = v.render(image, side)
        x = data.photograph(x, policy, frame.modality == "ultrasound", rng, np_rng)
        yield x, rows, np.hstack([linear, shift[:, None]])


def nothing(side, views, prompts, rng, np_rng):
    """As ``shots``, of no modality, where every trained form is absent."""
    x = data.nothing(side, rng, np_rng)
    words = [t.form.text for t in rng.sample(forms.trained(), prompts)]
    for _ in range(views):
        rows = Rows(side, prompts)
        rows.fill(words)
        yield x, rows, np.eye(2, 3)


def batch(sampler, step, seed, prompts=PROMPTS, sizes=None):
    """The batch of a step: the same for the same frames, step and seed. sizes: as ``SIZES``, which
    it is without."""
    sizes = sizes or SIZES
    rng, np_rng = data.seeded(seed * 1_000_003 + step)
    side = rng.choices(list(sizes), [share for share, _ in sizes.values()])[0]
    count = sizes[side][1]
    views = 2 if rng.random() < PAIRS else 1
    found = []
    for frame in sampler.choose(side, count // views, rng):
        if rng.random() < NOTHING:
            modality, source = (
                forms.NO_MODALITY,
                nothing(side, views, prompts, rng, np_rng),
            )
        else:
            modality = forms.MODALITIES.index(frame.modality)
            source = shots(frame, side, views, prompts, rng, np_rng)
        found.append([(modality, *shot) for shot in source])
    # First views first.
    flat = [views_of[n] for n in range(views) for views_of in found]
    rows = [r for _, _, r, _ in flat]
    tokens, token_mask = zip(
        *(text.pad([text.tokens(t) for t in r.texts], TOKENS) for r in rows)
    )

    def stacked(name):
        return torch.from_numpy(np.stack([getattr(r, name) for r in rows]))

    motion = None
    if views == 2:
        half = flat[len(flat) // 2 :]
        motion = torch.from_numpy(np.stack([m for *_, m in half]).astype(np.float32))
    return Batch(
        images=torch.from_numpy(np.stack([data.normalise(x) for _, x, _, _ in flat])),
        tokens=torch.from_numpy(np.stack(tokens)),
        token_mask=torch.from_numpy(np.stack(token_mask)),
        modality=torch.tensor([m for m, *_ in flat]),
        motion=motion,
        **{
            name: stacked(name)
            for name in ("masks", "edges", "present", "weight", "thin", "form", "meta")
        },
    )
