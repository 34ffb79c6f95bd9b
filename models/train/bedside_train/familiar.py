"""How far a frame is from those that the weights learned from.

The backbone's last features, averaged over the frame, are whitened by their covariance within
domains (modality and site); a few prototypes stand for each domain's training frames. The distance
of a frame from the nearest prototype of a domain is what the runtime compares with those of val
frames (Mahalanobis distances of features, as in Lee et al. 2018, with several centres a class).
"""

import collections

import numpy as np
import torch
from torch import nn

PROTOTYPES = 6  # of a domain's frames
OF_PHANTOMS = 2  # more, where there are phantoms of the domain
FRAMES = 240  # of a domain, at most
SHRINK = 0.2  # share of the mean variance added to each
ROUNDS = 12
LEAST = 0.01  # fit below which a frame is no frame of the domain


def domain(frame):
    return frame.modality, frame.site


@torch.no_grad()
def pooled(student, frames, side):
    """The backbone's last features, averaged: f32 [N,C]."""
    out = []
    for frame in frames:
        levels = student.encoder.backbone(torch.from_numpy(frame.whole(side)))
        out.append(levels[3].mean((2, 3))[0].numpy())
    return np.array(out, np.float32)


def clusters(points, count, rng):
    """Centres [K,C] of k-means over points [N,C]."""
    count = min(count, len(points))
    centres = points[rng.choice(len(points), 1)]
    while len(centres) < count:  # k-means++ (Arthur and Vassilvitskii 2007)
        far = ((points[:, None] - centres[None]) ** 2).sum(2).min(1)
        if not far.any():
            break
        at = rng.choice(len(points), p=far / far.sum())
        centres = np.concatenate([centres, points[at : at + 1]])
    for _ in range(ROUNDS):
        near = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        kept = [points[near == k] for k in range(len(centres))]
        centres = np.array([p.mean(0) for p in kept if len(p)])
    return centres


class Familiar(nn.Module):
    """Pooled features [1,C] -> distances [1,K]; ``places`` tells whose prototypes are where."""

    def __init__(self, whitening, prototypes, places):
        super().__init__()
        self.register_buffer("whitening", torch.tensor(whitening, dtype=torch.float32))
        m = torch.tensor(prototypes, dtype=torch.float32)
        self.register_buffer("prototypes", -2 * m.t().contiguous())
        self.register_buffer("squares", (m * m).sum(1)[None])
        self.places = places  # {domain: (first, count)}

    def forward(self, x):
        y = x @ self.whitening
        return (
            ((y * y).sum(1, keepdim=True) + y @ self.prototypes + self.squares)
            .clamp(1e-6)
            .sqrt()
        )


def fit(student, frames, phantoms, sides, seed=5):
    """A Familiar of training frames and phantoms."""
    rng = np.random.default_rng(seed)
    groups = collections.defaultdict(lambda: ([], []))
    for kind, many in enumerate((frames, phantoms)):
        for frame in many:
            groups[domain(frame)][kind].append(frame)
    found = {}
    for key, (real, drawn) in sorted(groups.items()):
        if len(real) < len(sides):
            continue
        picked = [some(real, FRAMES, rng), some(drawn, FRAMES // 4, rng)]
        found[key] = [
            np.concatenate(
                [pooled(student, part[n :: len(sides)], s) for n, s in enumerate(sides)]
            )
            if len(part) >= len(sides)
            else np.zeros((0, 0), np.float32)
            for part in picked
        ]
    spread = np.concatenate([real - real.mean(0) for real, _ in found.values()])
    covariance = spread.T @ spread / len(spread)
    covariance += (
        SHRINK * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(values)
    prototypes, places = [], {}
    for key, (real, drawn) in found.items():
        own = [clusters(real @ whitening, PROTOTYPES, rng)]
        if len(drawn):
            own.append(clusters(drawn @ whitening, OF_PHANTOMS, rng))
        own = np.concatenate(own)
        places[key] = (sum(map(len, prototypes)), len(own))
        prototypes.append(own)
    return Familiar(whitening, np.concatenate(prototypes), places)


def some(frames, most, rng):
    order = rng.permutation(len(frames))[:most]
    return [frames[i] for i in order]


def nearest(distances, place):
    first, count = place
    return float(np.min(distances[first : first + count]))


def stated(places, seen):
    """The manifest's ``familiarity``; seen: {domain: distances from its nearest prototype}."""
    domains = []
    for (modality, site), (first, count) in places.items():
        logs = np.log(seen[modality, site])
        domains.append(
            {
                "modality": modality,
                "site": site,
                "first": first,
                "count": count,
                "mean": round(float(logs.mean()), 5),
                "std": round(max(float(logs.std(ddof=min(1, len(logs) - 1))), 0.02), 5),
            }
        )
    return {"least": LEAST, "domains": domains}
