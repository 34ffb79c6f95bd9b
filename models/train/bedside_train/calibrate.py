"""What a score means: a probability for each form, and the least that counts as present.

Fitted on val frames that training never saw. Frames with and without the object weigh the same
in all, so 0.5 is where either is as likely, whatever the val set's share of them.
"""

import numpy as np

FALSE_ALARMS = (
    0.05  # share of frames without the object that may be reported, where that is free
)
WITHHELD = 0.03  # share of frames with it that may be withheld for that
STEPS = 40
RIDGE = 0.004  # pull of the slope to 1 and the offset to 0, for forms with few frames


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def platt(scores, present):
    """(slope, offset) so that sigmoid(slope * score + offset) is the probability of presence."""
    scores, present = np.asarray(scores, float), np.asarray(present, bool)
    if present.all() or not present.any():
        return 1.0, 0.0
    weight = np.where(present, 0.5 / present.sum(), 0.5 / (~present).sum())
    x = np.stack([scores, np.ones_like(scores)], 1)
    theta, start = np.array([1.0, 0.0]), np.array([1.0, 0.0])

    def cost(t):
        z = x @ t
        return (
            weight @ (np.logaddexp(0, z) - z * present)
            + RIDGE / 2 * ((t - start) ** 2).sum()
        )

    for _ in range(STEPS):
        p = sigmoid(x @ theta)
        slope = x.T @ (weight * (p - present)) + RIDGE * (theta - start)
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(2)
        step = np.linalg.solve(curve, slope)
        # Half of a step that overshoots, and so on: the cost is convex.
        while cost(theta - step) > cost(theta) and np.abs(step).max() > 1e-9:
            step /= 2
        theta = theta - step
    return max(float(theta[0]), 0.05), float(theta[1])


def threshold(p, present):
    """Least probability that keeps false alarms to their share, or true findings to theirs."""
    p, present = np.asarray(p, float), np.asarray(present, bool)
    quiet = (
        float(np.quantile(p[~present], 1 - FALSE_ALARMS)) if (~present).any() else 0.5
    )
    found = float(np.quantile(p[present], WITHHELD)) if present.any() else 0.5
    return min(max(quiet, 0.5), max(found, 0.5))


def presence(scores, present):
    """A form's ``presence`` in the manifest."""
    slope, offset = platt(scores, present)
    least = threshold(sigmoid(slope * np.asarray(scores, float) + offset), present)
    return {
        "slope": round(slope, 5),
        "offset": round(offset, 5),
        "threshold": round(least, 4),
    }
