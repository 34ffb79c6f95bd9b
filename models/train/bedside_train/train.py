"""Train the edge student: ``python -m bedside_train.train --help``.

Resumable: the run folder holds ``last.pt`` (weights, averaged weights, optimiser, step), and the
batch of a step depends on its number alone; calling the same command again goes on from there. A
longer or shorter ``--frames`` may be given when resuming. Beside it lie ``edge.safetensors`` (the
averaged weights, f16), ``train.csv``, ``val.csv`` and ``curves.png``.
"""

import argparse
import collections
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
from .run import Run, append
from .weights import load_start, save_half

LEARNING_RATE = {"backbone": 4e-4, "heads": 1.2e-3}
WARM_UP = 200  # steps
COOL_DOWN = 0.3  # last share of the frames, in which the learning rate falls to nothing
PARTS = ("mask", "lines", "empty", "score", "meta", "modality", "steady")


def rate(step, done, warm_up=WARM_UP):
    """Factor of the learning rate: rise, stay, fall. done: share of the frames seen."""
    return min(1.0, (step + 1) / warm_up) * min(1.0, max(0.0, 1 - done) / COOL_DOWN)


def fast_bf16():
    """Whether this CPU multiplies bf16 itself; elsewhere it would be slower than f32."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(probe())


class Steps(Dataset):
    """Batches by the number of their step. shape: of ``batches.batch``, prompts and sizes."""

    def __init__(self, sampler, first, last, seed, **shape):
        self.sampler, self.first, self.last, self.seed = sampler, first, last, seed
        self.shape = shape

    def __len__(self):
        return max(0, self.last - self.first)

    def __getitem__(self, n):
        cv2.setNumThreads(1)
        return batches.batch(self.sampler, self.first + n, self.seed, **self.shape)


class Training(Run):
    """The run of the whole student."""

    def __init__(self, folder, start, sampler, seed, device):
        self.seed = seed
        student = Student().to(device, memory_format=torch.channels_last)
        backbone = list(student.encoder.backbone.parameters())
        known = {id(p) for p in backbone}
        heads = [p for p in student.parameters() if id(p) not in known]
        groups = {
            "backbone": (backbone, LEARNING_RATE["backbone"]),
            "heads": (heads, LEARNING_RATE["heads"]),
        }

        def begin():
            images = torch.cat([batches.batch(sampler, -n, seed).images[:, :, :192, :192]
                                for n in range(1, 5)])  # fmt: skip
            missing = load_start(student, start, images.to(device))
            print(
                f"start: {start or 'ImageNet'}, new: {missing or 'nothing'}", flush=True
            )

        super().__init__(folder, student, groups, device, begin)

    def learn(self, batch, factor, low):
        """One step; returns the parts of the loss."""
        batch = batch.to(self.device)
        answers = self.student(batch.images, batch.tokens, batch.token_mask, low)
        return self.descend(losses(answers, batch), factor, len(batch.images))


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
    run = Training(args.out, args.start, sampler, args.seed, device)
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
