"""Frames with known masks, which a device runs before it trusts a bundle."""

from bedside_train.bundle import enlarge, rle

from . import frames
from .errors import ExportError

DEAD = 0.02  # a mask covers more than this share of the frame and leaves as much out
CANDIDATES = 4


def self_tests(work, runners, choices):
    """Synthetic frames whose f32 mask is neither empty nor full, and the least IoU seen.

    Lower precisions answer twice, fused and unfused, for another runtime rounds otherwise than
    this one: a mask that turns on one rounding tests nothing but that.
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
        if precision != "f32":
            answers += [masks(graphs), masks(graphs.unfused())]
    best = []
    for i, frame in enumerate(shown):
        for j, (text, _) in enumerate(choices):
            want = wanted[i][j]
            if DEAD < want.mean() < 1 - DEAD:
                got = [a[i][j] for a in answers]
                worst = min((m & want).sum() / (m | want).sum() for m in got)
                best.append((worst, frame, text, want))
    best.sort(key=lambda row: -row[0])
    if not best:
        raise ExportError(
            "every f32 mask on the synthetic frames is nearly empty or full; hint: give a student "
            "more --steps; an export of BiomedParse with this has bad weights"
        )
    if best[0][0] < 0.5:
        raise ExportError(
            "no synthetic frame has a mask that all precisions agree on; hint: leave out int8, or "
            "check the checkpoint with f32 alone"
        )
    tests = []
    for worst, frame, text, mask in best[:2]:
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
