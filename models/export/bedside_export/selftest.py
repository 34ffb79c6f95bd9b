"""Frames with known masks, which a device runs before it trusts a bundle."""

import numpy as np
from bedside_train.bundle import enlarge, rle

from . import frames
from .errors import ExportError

DEAD = 0.02  # a mask covers more than this share of the frame and leaves as much out
CANDIDATES = 4  # frames; each is asked every prompt
TESTS = 2
LEAST = 0.5  # a mask that precisions agree on less than this tests nothing


def self_tests(work, runners, choices):
    """Synthetic frames whose f32 mask is neither empty nor full, and the least IoU seen.

    Two ordinary ones are taken, nearest the median of how well the precisions agree: the best
    would flatter them. -> the manifest's tests, and how they were chosen, for the report

    Every precision answers fused and unfused, for another runtime rounds otherwise than this one:
    a mask that turns on one rounding tests nothing but that.
    """
    folder = work / "selftest"
    folder.mkdir()
    rows = [row for _, row in choices]
    shown = [frames.synthetic(seed) for seed in range(CANDIDATES)]

    def masks(graphs):
        return [[enlarge(m, f.shape[0]) > 0 for m in graphs(f, rows)["logits"]] for f in shown]

    wanted = masks(runners["f32"])
    answers = [wanted]
    for precision, graphs in runners.items():
        answers += [] if precision == "f32" else [masks(graphs)]
        answers.append(masks(graphs.unfused()))
    best = []
    for i, frame in enumerate(shown):
        for j, (text, _) in enumerate(choices):
            want = wanted[i][j]
            if DEAD < want.mean() < 1 - DEAD:
                got = [a[i][j] for a in answers]
                worst = min(float((m & want).sum() / (m | want).sum()) for m in got)
                best.append((worst, frame, text, want))
    if not best:
        raise ExportError(
            "every f32 mask on the synthetic frames is nearly empty or full; hint: give a student "
            "more --steps; an export of BiomedParse with this has bad weights"
        )
    agreed = [row[0] for row in best]
    median = float(np.median(agreed))
    best.sort(key=lambda row: abs(row[0] - median))
    chosen = best[:TESTS]
    if min(row[0] for row in chosen) < LEAST:
        raise ExportError(
            f"the precisions agree on ordinary masks to an IoU of {median:.2f} only; hint: leave "
            "out int8, or check the checkpoint with f32 alone"
        )
    tests = []
    for worst, frame, text, mask in chosen:
        part = f"selftest/{len(tests)}.rgb"
        (work / part).write_bytes(frame.tobytes())
        side = frame.shape[0]
        tests.append(
            {
                "part": part,
                "width": side,
                "height": side,
                "prompt": text,
                "mask": rle(mask),
                "min_iou": round(max(0.4, min(0.95, float(worst) - 0.05)), 3),
            }
        )
    told = {
        "candidates": len(best),
        "iou": {"worst": min(agreed), "median": median, "best": max(agreed)},
        "chosen": [row[0] for row in chosen],
    }
    return tests, told
