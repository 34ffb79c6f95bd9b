"""Train the published architecture, made narrow, until its masks are real:
``python -m bedside_export.small --help``.

What a lower precision costs can only be told on weights that have learned something, and the
published ones are not at hand. The same blocks and the same decoder are trained here on a few
labelled objects, in about half an hour of one CPU core. ``--measure`` then exports them in several mixes
of precisions, and prints what each loses of Dice against the truth and against f32's masks, and how
often another query answers.

Resumable: ``--out`` holds weights, optimiser and step; the same command goes on from there.
"""

import argparse
import math
import os
import pathlib
import random
import tempfile
import time

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from bedside_train import data, forms
from bedside_train.bundle import enlarge

from . import graphs, precision
from .frames import MEAN, STD, encoder_input
from .mask_decoder import normalise
from .model import BiomedParse, Config
from .runner import Graphs
from .split import Decoder, Encoder

SIDES = {128: 0.7, 192: 0.24, 256: 0.06}  # share of the steps
BATCH = 6  # frames a step
PROMPTS = 2  # objects asked for in a frame, at most
RATE = 6e-4
WARM_UP = 150  # steps
LEARNED = ("fetal head", "left lung", "right lung", "skin lesion", "left heart ventricle")
START, END = 256, 257  # of a text, whose bytes are its tokens


def config():
    return Config(
        embed_dim=32,
        depths=(2, 2, 6, 2),
        dim=128,
        heads=4,
        ffn=512,
        encoder_layers=3,
        queries=21,
        text_width=64,
        text_heads=4,
        text_layers=2,
        vocabulary=258,
    )


def ids(text):
    """Token ids of a prompt."""
    return [START, *text.encode()[: config().context - 2], END]


class Proposals:
    """What every layer of the mask decoder proposes, for losses on each."""

    def __init__(self, decoder):
        self.decoder, self.layers = decoder, []

    def __call__(self, mask_features, coarse, tokens):
        """-> [(mask logits [Q,h,w], class vectors [Q,D])], a pair for each layer."""
        self.layers.clear()
        plain = type(self.decoder).masks

        def masks(x, features):
            logits = plain(self.decoder, x, features)
            classes = self.decoder.decoder_norm(x) @ self.decoder.class_embed
            self.layers.append((logits[0], classes[0]))
            return logits

        self.decoder.masks = masks
        try:
            self.decoder(mask_features, coarse, tokens)
        finally:
            del self.decoder.masks
        return self.layers


def layer_loss(logits, classes, tokens, target):
    """The query that fits best learns the mask, and to be the one that is chosen."""
    p = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits(
        logits, target.expand_as(logits), reduction="none"
    ).mean((1, 2))
    dice = 1 - (2 * (p * target).sum((1, 2)) + 1) / (p.sum((1, 2)) + target.sum() + 1)
    chosen = 10 * (normalise(classes) @ normalise(tokens[-1]))
    fit = bce + dice - 0.4 * chosen.log_softmax(0)
    best = int(fit.detach().argmin())
    return 2 * bce[best] + dice[best] + 0.4 * F.cross_entropy(chosen[None], torch.tensor([best]))


def picture(image):
    """u8 RGB or f32 0..255 [S,S,3] -> f32 [3,S,S], normalised as v1's frames are."""
    x = (image.astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def wanted(frame):
    """The learned forms that a frame shows."""
    names = {i: forms.trained()[i].form.name for i, mask in frame.masks.items() if mask}
    return [i for i, name in names.items() if name in LEARNED]


def batch(frames, step):
    """Images [B,3,S,S] and, for each, [(prompt, mask [S/4,S/4])]: the same for the same step."""
    rng, np_rng = data.seeded(step)
    side = rng.choices(list(SIDES), SIDES.values())[0]
    images, asked = [], []
    while len(images) < BATCH:
        frame = rng.choice(frames[rng.choice(list(frames))])
        image, masks = frame.read()
        view = data.view(frame.policy, False, rng)
        seen = view.render(masks, side)
        prompts = []
        places = {i: k for k, i in enumerate(frame.masks)}
        for i in rng.sample(wanted(frame), min(PROMPTS, len(wanted(frame)))):
            mask = cv2.resize(seen[..., places[i]], (side // 4,) * 2, interpolation=cv2.INTER_AREA)
            if mask.mean() > 1:
                named = forms.trained()[forms.mirrored(i) if view.mirror else i].form
                prompts.append((named.text, torch.from_numpy(mask.astype(np.float32) / 255)))
        if prompts:
            x = view.render(image, side)
            x = data.photograph(x, frame.policy, frame.modality == "ultrasound", rng, np_rng)
            images.append(torch.from_numpy(picture(x)))
            asked.append(prompts)
    return torch.stack(images), asked


def learn(model, proposals, images, asked):
    maps = model.backbone(images)
    mask_features, coarse = model.pixel_decoder(maps)
    total, count = 0, 0
    for n, prompts in enumerate(asked):
        one = slice(n, n + 1)
        for text, target in prompts:
            tokens = model.tokens(ids(text))
            layers = proposals(mask_features[one], [c[one] for c in coarse], tokens)
            for logits, classes in layers:
                total = total + layer_loss(logits, classes, tokens, target)
            count += len(layers)
    return total / count


def by_object(folders, split):
    """Frames that show each learned object, by its name."""
    found = {}
    for frame in data.load(folders, split):
        for i in wanted(frame):
            found.setdefault(forms.trained()[i].form.name, []).append(frame)
    return found


def save(path, state):
    part = path.with_suffix(".part")
    torch.save(state, part)
    with open(part, "rb") as f:
        os.fsync(f.fileno())
    part.replace(path)


def dice(mask, truth):
    return 2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum())


def held(folders, side, most):
    """(square frame u8, prompt, square truth) of val frames that show a learned object."""
    for name, frames in by_object(folders, "val").items():
        for frame in random.Random(1).sample(frames, min(most, len(frames))):
            image, masks = frame.read()
            for k, i in enumerate(frame.masks):
                if forms.trained()[i].form.name == name and frame.masks[i]:
                    truth = data.letterbox(masks[..., k], side, cv2.INTER_AREA) > 127
                    shown = data.letterbox(image, side, cv2.INTER_AREA)
                    yield shown, forms.trained()[i].form.text, name, truth


def evaluate(model, folders, side=256, most=12):
    """Mean Dice on val frames by object."""
    scores = {}
    with torch.no_grad():
        for image, text, name, truth in held(folders, side, most):
            x = torch.from_numpy(picture(image))[None]
            logits = model(x, model.tokens(ids(text))).logits
            full = F.interpolate(logits[None, None], (side, side), mode="bilinear")[0, 0]
            scores.setdefault(name, []).append(dice((full > 0).numpy(), truth))
    return {name: float(np.mean(s)) for name, s in scores.items()}


def train(args):
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(1)
    model = BiomedParse(config())
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=2e-2)
    args.out.mkdir(parents=True, exist_ok=True)
    last, step = args.out / "last.pt", 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    frames, proposals = by_object(args.datasets, "train"), Proposals(model.mask_decoder)
    losses, began = [], time.time()
    while step < args.steps:
        left = 1 - step / args.steps
        factor = min(1, (step + 1) / WARM_UP) * min(1, left / 0.4)
        for group in optimiser.param_groups:
            group["lr"] = RATE * factor
        loss = learn(model, proposals, *batch(frames, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if math.isfinite(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)):
            optimiser.step()
        losses.append(loss.item())
        step += 1
        if step % 50 == 0 or step == args.steps:
            print(
                f"step {step}: loss {np.mean(losses):.4f}, {time.time() - began:.0f} s", flush=True
            )
            losses.clear()
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
            save(last, state)
        if step % 500 == 0 or step == args.steps:
            scores = evaluate(model, args.datasets)
            print(", ".join(f"{n} {d:.3f}" for n, d in scores.items()), flush=True)
    save(args.out / "small.pt", {k: v.contiguous() for k, v in model.state_dict().items()})


def mixes(work, feeds):
    """Write graphs in several precisions: -> {what they are: (encoder, decoder)}."""
    paths = {p: work / f"{p}.f32.onnx" for p in ("encoder", "decoder")}
    made = {"f32": (paths["encoder"], paths["decoder"])}
    half = {p: work / f"{p}.f16.onnx" for p in paths}
    for part, path in paths.items():
        precision.to_f16(path, half[part])
    made["f16"] = (half["encoder"], half["decoder"])
    ranges = str(work / "ranges")
    int8 = {}
    for name, static in {"dynamic": ("Conv",), "static": ("Conv", "MatMul")}.items():
        int8[name] = work / f"encoder.{name}.onnx"
        precision.to_int8(paths["encoder"], int8[name], feeds, static, ranges=ranges)
    decoder = work / "decoder.int8.onnx"
    precision.to_int8(paths["decoder"], decoder, [], ())
    for name, encoder in int8.items():
        made[f"int8, products {name}"] = (encoder, decoder)
        made[f"int8, products {name}; decoder f32"] = (encoder, paths["decoder"])
    made["f32; decoder int8"] = (paths["encoder"], decoder)
    nodes = precision.groups(onnx.load(str(paths["encoder"])), 2)
    for part in nodes:
        target = work / f"encoder.{len(made)}.onnx"
        others = {n for group, names in nodes.items() if group != part for n in names}
        precision.to_int8(paths["encoder"], target, feeds, keep=others, ranges=ranges)
        made[f"f32; int8 in {part} alone"] = (target, paths["decoder"])
    return made


def measure(args):
    torch.set_num_threads(args.threads)
    model = BiomedParse(config())
    model.load_state_dict(torch.load(args.out / "small.pt", weights_only=True))
    model.eval()
    side = 256
    shown = by_object(args.datasets, "train")
    picked = [f for frames in shown.values() for f in random.Random(2).sample(frames, 6)]
    feeds = [{"image": encoder_input(data.square(f.read()[0]), side)} for f in picked]
    asked = list(held(args.datasets, side, args.frames))
    with tempfile.TemporaryDirectory(dir=args.out) as scratch:
        work = pathlib.Path(scratch)
        encoder, decoder = Encoder(model, side), Decoder(model)
        graphs.export_encoder(encoder, work / "encoder.f32.onnx")
        graphs.export_decoder(decoder, encoder, work / "decoder.f32.onnx")
        with torch.no_grad():
            rows = {text: model.tokens(ids(text)).numpy() for _, text, _, _ in asked}
        reference = None
        for name, (a, b) in mixes(work, feeds).items():
            run = Graphs(a, b, side, threads=args.threads)
            found = []
            for image, text, _, truth in asked:
                answer = run(image, [rows[text]])
                mask = enlarge(answer["logits"][0], side) > 0
                found.append((mask, dice(mask, truth), int(answer["query"][0])))
            reference = reference or found
            to_f32 = np.mean([dice(m, r) for (m, *_), (r, *_) in zip(found, reference)])
            other = np.mean([q != r for (*_, q), (*_, r) in zip(found, reference)])
            size = (a.stat().st_size + b.stat().st_size) / 1e6
            truth = {}
            for (_, _, thing, _), (_, score, _) in zip(asked, found):
                truth.setdefault(thing, []).append(score)
            told = ", ".join(f"{n} {np.mean(s):.3f}" for n, s in truth.items())
            print(
                f"{name:40s} {size:6.1f} MB, Dice {np.mean([s for _, s, _ in found]):.4f}, to f32 "
                f"{to_f32:.4f}, other query {other:.1%} of {len(found)} ({told})",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", required=True, help="folders with manifest.csv")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=1600, help="of six frames")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="what precisions cost the trained")
    parser.add_argument("--frames", type=int, default=24, help="of each object, to measure on")
    args = parser.parse_args()
    measure(args) if args.measure else train(args)


if __name__ == "__main__":
    main()
