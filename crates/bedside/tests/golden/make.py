"""Golden values for src/validity.rs: BiomedParse's check of masks, by scipy.

    pip install numpy scipy
    python make.py

Writes validity.json beside itself. What BiomedParse does (`check_mask_stats` in
`inference_utils/output_processing.py`): over the pixels whose probability, times 255, is at least
128, the mean of that and of each colour are divided by 256; each of the four is held against its
Beta distribution by the one-sample Kolmogorov-Smirnov test; the four p-values are multiplied, and
the fourth root is taken. Distributions and pictures are made up here.
"""

import json
import pathlib

import numpy as np
from scipy import special, stats

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(6)


def reference(values, betas):
    """Four statistics against four Beta distributions."""
    p = [stats.ks_1samp([x], stats.beta(a, b).cdf).pvalue for x, (a, b) in zip(values, betas)]
    return float(np.prod(p) ** 0.25)


def statistics(probability, rgb):
    """Of a picture and its probabilities, `None` without a mask."""
    scaled = probability * 255
    inside = scaled >= 128
    if not inside.any():
        return None
    means = [scaled[inside].mean(), *(rgb[..., c][inside].mean() for c in range(3))]
    return [float(m) / 256 for m in means]


def fitted(value, deviation, off=1.0):
    """A Beta distribution that has a value at about so many deviations from its mean."""
    mean = np.clip(value + rng.normal(0, off * deviation), 0.02, 0.995)
    total = max(mean * (1 - mean) / deviation**2 - 1, 0.6)
    return [round(float(mean * total), 4), round(float((1 - mean) * total), 4)]


def values():
    """Statistics as they come, and at the ends of what there can be."""
    for i in range(60):
        colours = rng.uniform(0.01, 0.99, 3) if i % 3 else [float(rng.uniform(0.05, 0.9))] * 3
        probability = 1 - rng.uniform(0.004, 0.08) if i % 5 else rng.uniform(0.5, 1)
        # As they are held in f32.
        probability, *colours = (float(np.float32(v)) for v in [probability, *colours])
        seen = [probability * 255 / 256, *colours]
        narrow = [0.003, 0.006, 0.012, 0.05][i % 4]
        off = 3 if i % 4 == 1 else 1
        betas = [fitted(seen[0], narrow, off)] + [fitted(c, 0.1, off) for c in colours]
        yield {"probability": probability, "rgb": colours, "betas": betas}
    wide = [[900.0, 12.0], [2.0, 5.0], [0.5, 0.5], [1.0, 1.0]]
    for probability, *colours in [
        [1.0, 0.25, 0.5, 0.75],
        [0.5, 0.25, 0.5, 0.75],
        [0.99, 0.0, 0.5, 0.75],
        [0.99, 0.25, 0.99609375, 0.0],
    ]:
        yield {"probability": probability, "rgb": colours, "betas": wide}


def masks():
    """Round masks with soft edges on coloured noise, one a little and one all saturated; none."""
    height, width = 24, 30
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for i, (radius, steep) in enumerate([(9, 0.4), (6, 0.9), (11, 0.25), (4, 3), (8, 40), (-9, 0.5)]):
        distance = np.hypot(x - rng.uniform(12, 18), y - rng.uniform(9, 15))
        logits = np.float32(np.round(steep * (radius - distance) + rng.normal(0, 0.2, (height, width)), 3))
        rgb = rng.integers(0, 120, (height, width, 3)) + rng.integers(0, 136, 3)
        probability = special.expit(logits.astype(np.float64))
        seen = statistics(probability, rgb)
        around = seen or [0.9, 0.4, 0.4, 0.4]
        betas = [fitted(around[0], 0.02)] + [fitted(c, 0.08) for c in around[1:]]
        yield {
            "width": width,
            "height": height,
            "logits": [float(f"{v:.3f}") for v in logits.ravel()],
            "pixels": rgb.astype(np.uint8).tobytes().hex(),
            "betas": betas,
            "p": reference(seen, betas) if seen else None,
        }


single = [{**case, "p": reference([case["probability"] * 255 / 256, *case["rgb"]], case["betas"])} for case in values()]
whole = list(masks())
lines = lambda cases: ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
(HERE / "validity.json").write_text(
    f'{{"values": [\n{lines(single)}\n],\n"masks": [\n{lines(whole)}\n]}}\n'
)
