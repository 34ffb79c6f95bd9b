"""Makes bootstrap.json: cluster bootstrap intervals of the mean, by numpy alone.

Run: python make.py   (numpy)
"""

import json
import pathlib

import numpy as np

RESAMPLES = 200_000
UNDER_TEST = 2_000
Q = np.array([0.025, 0.975])


def case(name, groups, values):
    values = np.round(values, 4)
    names, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=values)
    counts = np.bincount(index)
    rng = np.random.default_rng(7)
    means = np.empty(RESAMPLES)
    for i in range(0, RESAMPLES, 1000):
        draw = rng.integers(0, len(names), size=(1000, len(names)))
        means[i : i + 1000] = sums[draw].sum(1) / counts[draw].sum(1)
    interval = np.quantile(means, Q)
    # Density at the bounds from the share of resamples near them.
    h = 0.2 * means.std()
    density = np.array([np.mean(np.abs(means - b) < h) / (2 * h) for b in interval])
    tolerance = 4 * np.sqrt(Q * (1 - Q) / UNDER_TEST) / density
    return {
        "name": name,
        "groups": list(groups),
        "values": values.tolist(),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "interval": interval.tolist(),
        "tolerance": tolerance.tolist(),
    }


rng = np.random.default_rng(42)
dice = np.where(rng.random(60) < 0.15, 0.0, rng.beta(8, 2, 60))
patients = [f"p{i}" for i in np.sort(rng.integers(0, 15, 60))]
effect = dict(zip(sorted(set(patients)), rng.normal(0, 0.15, 15)))
cases = [
    case("every frame its own patient", [f"f{i}" for i in range(60)], dice),
    case("15 patients of unequal size", patients,
         np.clip(dice + [effect[p] for p in patients], 0, 1)),
    case("share of misses", [f"f{i}" for i in range(61)], (rng.random(61) < 0.3).astype(float)),
]
for c in cases:
    print(c["name"], c["mean"], c["interval"], c["tolerance"])
path = pathlib.Path(__file__).with_name("bootstrap.json")
path.write_text(json.dumps({"cases": cases}) + "\n")
