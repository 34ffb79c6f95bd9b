"""Frames with known masks, which a device runs before it trusts a bundle."""

from bedside_train.bundle import enlarge, rle

from . import frames
from .errors import ExportError

DEAD = 0.02  # a mask covers more than this share of the frame and leaves as much out


def self_tests(work, runners, choices):
    """Synthetic frames whose f32 mask is neither empty nor full, and the least IoU seen."""
    folder = work / "selftest"
    folder.mkdir()
    best = []
    for seed in range(4):
        frame = frames.synthetic(seed)
        answers = {p: r(frame, [row for _, row in choices])["logits"] for p, r in runners.items()}
        for i, (text, _) in enumerate(choices):
            masks = {p: enlarge(a[i], frame.shape[0]) > 0 for p, a in answers.items()}
            want = masks["f32"]
            if not DEAD < want.mean() < 1 - DEAD:
                continue
            ious = [(m & want).sum() / (m | want).sum() for m in masks.values()]
            best.append((min(ious), seed, frame, text, want))
    best.sort(key=lambda row: -row[0])
    if not best or best[0][0] < 0.5:
        raise ExportError(
            "no synthetic frame has a mask that all precisions agree on; hint: leave out int8, or "
            "check the checkpoint with f32 alone"
        )
    tests = []
    for worst, seed, frame, text, mask in best[:2]:
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
    return tests
