"""Figures on labelled frames: masks per form, presence, modality.

``python -m bedside_train.evaluate --start run/edge.safetensors --datasets ...`` prints them for
all val frames.
"""

import argparse
import collections
import pathlib

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from . import data, forms, text
from .batches import TOKENS
from .model import Student

COLUMNS = (
    "form", "frames", "dice", "median", "missed", "gated", "auroc", "empty", "absent",
    "elsewhere",
)  # fmt: skip


def side_of(frame):
    """Input side for a frame: the larger one for thin and tiny things."""
    return max(forms.trained()[i].side for i in frame.masks)


def some(frames, per_source):
    """At most so many frames of each dataset, evenly spread."""
    groups = collections.defaultdict(list)
    for frame in frames:
        groups[frame.source].append(frame)
    kept = []
    for group in groups.values():
        count = min(per_source, len(group))
        kept += [group[i * len(group) // count] for i in range(count)]
    return kept


def auroc(found, wanted):
    """Probability that a frame with the object scores above one without, ties halved."""
    found, wanted = np.asarray(found), np.asarray(wanted, bool)
    if wanted.all() or not wanted.any():
        return float("nan")
    _, place, count = np.unique(found, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    n = wanted.sum()
    return float((rank[wanted].sum() - n * (n + 1) / 2) / (n * (~wanted).sum()))


def prompts():
    tokens, keep = text.pad([text.tokens(t.form.text) for t in forms.trained()], TOKENS)
    return torch.from_numpy(tokens), torch.from_numpy(keep)


@torch.no_grad()
def answers(net, frames, low=None, size=8):
    """Yield (frame, masks u8 [h,w,n], logits [forms,s,s], score [forms], modality) per frame."""
    device = next(net.parameters()).device
    tokens, keep = (t.to(device) for t in prompts())
    net.eval()
    for side in sorted({side_of(f) for f in frames}):
        group = [f for f in frames if side_of(f) == side]
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            read = [f.read() for f in chunk]
            views = [
                data.WHOLE.render(image, side).astype(np.float32) for image, _ in read
            ]
            images = torch.from_numpy(np.stack([data.normalise(v) for v in views])).to(
                device
            )
            images = images.contiguous(memory_format=torch.channels_last)
            n = len(chunk)
            out = net(images, tokens.expand(n, -1, -1, -1), keep.expand(n, -1, -1), low)
            logits, score, _, modality = (o.float().cpu() for o in out)
            for i, frame in enumerate(chunk):
                yield frame, read[i][1], logits[i], score[i], modality[i]


def unpad(logits, height, width):
    """Logits [n,s,s] of the letterboxed frame at the size of the frame: [n,height,width]."""
    n = max(height, width)
    up = F.interpolate(logits[None], size=(n, n), mode="bilinear", align_corners=False)[
        0
    ]
    top, left = (n - height) // 2, (n - width) // 2
    return up[:, top : top + height, left : left + width]


def evaluate(net, frames, low=None):
    """-> ([a dictionary of COLUMNS for each form], share of frames of the right modality).

    dice, median: of masks where the object is, whatever the presence; missed: share of these below
    0.01; gated: mean Dice where a score below 0.5 empties the mask; auroc: presence against
    frames of the same modality that surely lack the object; empty: how many of these were looked
    at and found without it, absent: share of them reported so; elsewhere: share of frames of other
    modalities where the object is reported.
    """
    count = len(forms.trained())
    dice, gated, empty = ([[] for _ in range(count)] for _ in range(3))
    near, far, right = [[] for _ in range(count)], [[] for _ in range(count)], []
    for frame, masks, logits, score, modality in answers(net, frames, low):
        right.append(forms.MODALITIES[int(modality[:-1].argmax())] == frame.modality)
        own = list(frame.masks)
        up = unpad(logits[own], *masks.shape[:2]).numpy() > 0
        for i, t in enumerate(forms.trained()):
            if i in frame.masks:
                truth = masks[..., own.index(i)] > 127
                if truth.any():
                    mine = up[own.index(i)]
                    dice[i].append(
                        2 * (mine & truth).sum() / (mine.sum() + truth.sum())
                    )
                    gated[i].append(dice[i][-1] * float(score[i] > 0))
                    near[i].append((float(score[i]), True))
                else:
                    empty[i].append(float(score[i] < 0))
                    near[i].append((float(score[i]), False))
            elif t.form.modality != frame.modality:
                far[i].append(float(score[i] > 0))
            elif forms.absent_for_sure(t.form, frame.modality, frame.site):
                near[i].append((float(score[i]), False))
    net.train()
    rows = []
    for i, t in enumerate(forms.trained()):
        values = (
            t.form.text,
            len(dice[i]),
            mean(dice[i]),
            float(np.median(dice[i])) if dice[i] else float("nan"),
            mean([d < 0.01 for d in dice[i]]),
            mean(gated[i]),
            auroc(*zip(*near[i])) if near[i] else float("nan"),
            len(empty[i]),
            mean(empty[i]),
            mean(far[i]),
        )
        rows.append(dict(zip(COLUMNS, values)))
    return rows, mean(right)


def mean(values):
    return float(np.mean(values)) if values else float("nan")


def table(rows):
    lines = [f"{COLUMNS[0]:42s}" + "".join(f"{c:>10s}" for c in COLUMNS[1:])]
    for row in rows:
        cells = [row[c] for c in COLUMNS[1:]]
        cells = [f"{c:10d}" if isinstance(c, int) else f"{c:10.3f}" for c in cells]
        lines.append(f"{row['form']:42s}" + "".join(cells))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--start", type=pathlib.Path, required=True, help="edge.safetensors"
    )
    parser.add_argument(
        "--datasets", nargs="+", required=True, help="folders with manifest.csv"
    )
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--per-dataset", type=int, default=10**9, help="most frames of each"
    )
    args = parser.parse_args()
    from .weights import load_start

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    net = Student().to(memory_format=torch.channels_last)
    if load_start(net, args.start, None):
        raise SystemExit(f"{args.start} lacks weights")
    frames = some(data.load(args.datasets, args.split), args.per_dataset)
    rows, right = evaluate(net, frames)
    print(table(rows))
    print(f"modality right: {right:.4f} of {len(frames)} frames")


if __name__ == "__main__":
    main()
