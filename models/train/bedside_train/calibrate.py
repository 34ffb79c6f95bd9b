"""What a score means: a probability for each form, and the least that counts as present.

Fitted on val frames that training never saw. Frames with and without the object weigh the same
in all, and so do the kinds of frames without it: those that were looked at and found empty are few
and hard, those of other modalities many and easy. So 0.5 is where either is as likely, whatever
the val set's share of them.
"""

import numpy as np

FALSE_ALARMS = 0.05  # share of the frames of a kind without it that may be reported, where free
WITHHELD = 0.03  # share of frames with it that may be withheld for that
STEPS = 40
RIDGE = 0.004  # pull of the slope to 1 and the offset to 0, for forms with few frames


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def platt(shown, without):
    """(slope, offset) so that sigmoid(slope * score + offset) is the probability of presence.

    shown: scores of frames with the object; without: those of each kind of frames without it.
    """
    without = [kind for kind in without if len(kind)]
    if not len(shown) or not without:
        return 1.0, 0.0
    scores = np.concatenate([shown, *without]).astype(float)
    present = np.arange(len(scores)) < len(shown)
    halves = [np.full(len(kind), 0.5 / len(without) / len(kind)) for kind in without]
    weight = np.concatenate([np.full(len(shown), 0.5 / len(shown)), *halves])
    x = np.stack([scores, np.ones_like(scores)], 1)
    theta, start = np.array([1.0, 0.0]), np.array([1.0, 0.0])

    def cost(t):
        z = x @ t
        ridge = RIDGE / 2 * ((t - start) ** 2).sum()
        return weight @ (np.logaddexp(0, z) - z * present) + ridge

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


def threshold(shown, without):
    """Least probability, from 0.5, that keeps the false alarms of each kind to their share; or a lower
    one that keeps withheld findings to theirs. The arguments are probabilities, otherwise as in
    ``platt``."""
    quiet = [np.quantile(kind, 1 - FALSE_ALARMS) for kind in without if len(kind)]
    found = np.quantile(shown, WITHHELD) if len(shown) else 0.5
    return float(min(max([0.5, *quiet]), found))


def presence(shown, without):
    """A form's ``presence`` in the manifest; the arguments are as in ``platt``."""
    slope, offset = platt(shown, without)
    probable = [sigmoid(slope * np.asarray(s, float) + offset) for s in (shown, *without)]
    return {
        "slope": round(slope, 5),
        "offset": round(offset, 5),
        # Down, so that the frame that it stands on is still found.
        "threshold": int(threshold(probable[0], probable[1:]) * 1e4) / 1e4,
    }
