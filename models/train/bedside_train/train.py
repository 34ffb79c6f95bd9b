"""Train the edge student: ``python -m bedside_train.train --help``.

Resumable: the run folder holds ``last.pt`` (weights, averaged weights, optimiser, step), and the
batch of a step depends on its number alone; calling the same command again goes on from there. A
longer or shorter ``--frames`` may be given when resuming. Beside it lie ``edge.safetensors`` (the
averaged weights, f16), ``train.csv``, ``val.csv`` and ``curves.png``.
"""

import argparse
import collections
import copy
import csv
import os
import pathlib
import signal
import time

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from . import batches, curves, data, evaluate, terms
from .losses import losses
from .model import Student
from .weights import load_start, save_half

LEARNING_RATE = {"backbone": 4e-4, "heads": 1.2e-3}
WARM_UP = 200  # steps
COOL_DOWN = 0.3  # last share of the frames, in which the learning rate falls to nothing
AVERAGE = 0.999  # share of the old in the averaged weights
PARTS = ("mask", "lines", "empty", "score", "meta", "modality", "steady")


def rate(step, done):
    """Factor of the learning rate: rise, stay, fall. done: share of the frames seen."""
    return min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.0, 1 - done) / COOL_DOWN)


def fast_bf16():
    """Whether this CPU multiplies bf16 itself; elsewhere it would be slower than f32."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(probe())


class Steps(Dataset):
    """Batches by the number of their step."""

    def __init__(self, sampler, first, last, seed):
        self.sampler, self.first, self.last, self.seed = sampler, first, last, seed

    def __len__(self):
        return max(0, self.last - self.first)

    def __getitem__(self, n):
        cv2.setNumThreads(1)
        return batches.batch(self.sampler, self.first + n, self.seed)


class Run:
    """The state of a training run, and its folder."""

    def __init__(self, folder, start, sampler, seed, device):
        self.folder, self.device, self.seed = folder, device, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.student = Student().to(device, memory_format=torch.channels_last)
        backbone = list(self.student.encoder.backbone.parameters())
        known = {id(p) for p in backbone}
        heads = [p for p in self.student.parameters() if id(p) not in known]
        groups = [
            {"params": backbone, "name": "backbone"},
            {"params": heads, "name": "heads"},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=1e-3, weight_decay=2e-2, fused=True
        )
        self.step, self.frames, self.seconds = 0, 0, 0.0
        self.reported = 0  # frames at the last evaluation
        last = folder / "last.pt"
        if last.exists():
            state = torch.load(last, map_location=device, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.average = copy.deepcopy(self.student).eval()
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            for name in ("step", "frames", "seconds", "reported"):
                setattr(self, name, state[name])
            cut(folder / "train.csv", self.step)
            cut(folder / "val.csv", self.step)
        else:
            images = torch.cat([batches.batch(sampler, -n, seed).images[:, :, :192, :192]
                                for n in range(1, 5)])  # fmt: skip
            missing = load_start(self.student, start, images.to(device))
            print(
                f"start: {start or 'ImageNet'}, new: {missing or 'nothing'}", flush=True
            )
            self.average = copy.deepcopy(self.student).eval()

    def save(self):
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **{n: getattr(self, n) for n in ("step", "frames", "seconds", "reported")},
        }
        part = self.folder / "last.part"
        torch.save(state, part)
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        part.replace(self.folder / "last.pt")

    def learn(self, batch, factor, low):
        """One step; returns the parts of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE[group["name"]] * factor
        batch = batch.to(self.device)
        answers = self.student(batch.images, batch.tokens, batch.token_mask, low)
        parts = losses(answers, batch)
        loss = sum(parts.values())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        if torch.isfinite(norm):  # a step that overflowed teaches nothing
            self.optimiser.step()
        self.step += 1
        self.frames += len(batch.images)
        self.update_average()
        return {"loss": loss.item(), **{k: v.item() for k, v in parts.items()}}

    @torch.no_grad()
    def update_average(self):
        keep = min(AVERAGE, (self.step + 1) / (self.step + 10))
        pairs = list(
            zip(self.average.state_dict().values(), self.student.state_dict().values())
        )
        moving = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*moving)), 1 - keep)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)


def cut(path, step):
    """Drop what a CSV file says of later steps, which are about to be done again."""
    if not path.exists():
        return
    with open(path, newline="") as f:
        head, *rows = csv.reader(f)
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([head, *(r for r in rows if int(r[0]) <= step)])


def append(path, row):
    new = not path.exists()
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def report(run, frames, low):
    """Figures of the averaged weights to val.csv, the weights to edge.safetensors, the curves."""
    began = time.time()
    rows, right = evaluate.evaluate(run.average, frames, low)
    for row in rows:
        append(run.folder / "val.csv", {"step": run.step, "seen": run.frames, **row})
    save_half(run.average, run.folder / "edge.safetensors")
    print(evaluate.table(rows))
    dice = evaluate.mean([r["dice"] for r in rows if r["frames"]])
    print(
        f"step {run.step}, {run.frames} frames: mean Dice of forms {dice:.4f}, "
        f"modality right {right:.4f}, {time.time() - began:.0f} s",
        flush=True,
    )
    curves.draw(run.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--datasets", nargs="+", required=True, help="folders with manifest.csv"
    )
    terms.add_argument(parser)
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder of the run"
    )
    parser.add_argument(
        "--start", help="weights to begin from, .safetensors or .bedside"
    )
    parser.add_argument(
        "--frames", type=int, default=600_000, help="to see in the whole run"
    )
    parser.add_argument("--save-every", type=float, default=10, help="minutes")
    parser.add_argument("--evaluate-every", type=int, default=20_000, help="frames")
    parser.add_argument(
        "--per-dataset", type=int, default=32, help="val frames of each, at most"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that prepare batches"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    args.datasets = terms.allowed(args.datasets, args.terms)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    low = torch.bfloat16 if device.type == "cuda" or fast_bf16() else None
    sampler = batches.Sampler(data.load(args.datasets, "train"))
    val = evaluate.some(data.load(args.datasets, "val"), args.per_dataset)
    run = Run(args.out, args.start, sampler, args.seed, device)
    print(f"from step {run.step}, {run.frames} frames, on {device}", flush=True)

    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    steps = Steps(sampler, run.step, run.step + args.frames, args.seed)
    loader = DataLoader(steps, batch_size=None, num_workers=args.workers)
    log = args.out / "train.csv"
    recent = collections.defaultdict(list)
    began, saved = time.time() - run.seconds, time.time()
    run.student.train()
    for batch in loader:
        if stop or run.frames >= args.frames:
            break
        for name, value in run.learn(
            batch, rate(run.step, run.frames / args.frames), low
        ).items():
            recent[name].append(value)
        run.seconds = time.time() - began
        if run.step % 50 == 0:
            means = {
                n: f"{np.mean(recent[n]):.5f}" if recent[n] else ""
                for n in ("loss", *PARTS)
            }
            head = {
                "step": run.step,
                "frames": run.frames,
                "hours": f"{run.seconds / 3600:.4f}",
            }
            append(log, {**head, **means})
            recent.clear()
        if run.frames - run.reported >= args.evaluate_every:
            run.reported = run.frames
            report(run, val, None)
            run.save()
            saved = time.time()
        elif time.time() - saved > 60 * args.save_every:
            run.save()
            saved = time.time()
    if run.frames >= args.frames and run.reported < run.frames:
        run.reported = run.frames
        report(run, val, None)
    run.save()
    print(f"stopped at step {run.step}, {run.frames} frames", flush=True)


if __name__ == "__main__":
    main()
