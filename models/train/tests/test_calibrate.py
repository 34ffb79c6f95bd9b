import numpy as np
import pytest

from bedside_train import calibrate


def drawn(slope, offset, n=4000, shift=0.0):
    """Scores whose probability of presence is known, as many with the object as without."""
    rng = np.random.default_rng(5)
    scores = rng.normal(shift, 3, 40 * n)
    present = rng.random(len(scores)) < calibrate.sigmoid(slope * scores + offset)
    return scores[present][:n], scores[~present][:n]


@pytest.mark.parametrize("slope, offset", [(1.0, 0.0), (0.4, 0.3), (2.0, -1.5)])
def test_probabilities_are_those_that_made_the_frames(slope, offset):
    shown, empty = drawn(slope, offset)
    a, b = calibrate.platt(shown, [empty])
    scores = np.concatenate([shown, empty])
    present = np.arange(len(scores)) < len(shown)
    p = calibrate.sigmoid(a * scores + b)
    for low in np.arange(0.1, 0.9, 0.2):
        bin = (p >= low) & (p < low + 0.2)
        assert present[bin].mean() == pytest.approx(p[bin].mean(), abs=0.06)


def test_few_frames_stay_near_what_was_trained():
    assert calibrate.platt([2.0, 3.0], [[], []]) == (1.0, 0.0)
    slope, _ = calibrate.platt([9.0], [[-9.0]])
    assert 0.5 < slope < 3


def test_thresholds_keep_false_alarms_down_but_not_at_any_cost():
    shown, empty = np.linspace(0.9, 1, 100), np.linspace(0, 0.8, 100)
    least = calibrate.threshold(shown, [empty])
    assert (empty >= least).mean() <= calibrate.FALSE_ALARMS
    mixed, empty = np.linspace(0.6, 1, 100), np.linspace(0, 0.99, 100)
    least = calibrate.threshold(mixed, [empty])
    assert (mixed < least).mean() <= calibrate.WITHHELD
    low, empty = np.linspace(0.2, 1, 100), np.linspace(0, 0.9, 10)
    assert (low < calibrate.threshold(low, [empty])).mean() <= calibrate.WITHHELD
    assert calibrate.threshold([], [[0.2]]) == 0.5


def test_many_easy_frames_without_it_do_not_drown_a_few_hard_ones():
    """As where a thousand frames of other organs score low, and ten empty ones of its own high."""
    shown, empty, easy = np.linspace(2, 6, 100), np.linspace(-1, 1.5, 10), np.full(1000, -8.0)
    stated = calibrate.presence(shown, [empty, [], easy])
    p = calibrate.sigmoid(stated["slope"] * empty + stated["offset"])
    assert (p < stated["threshold"]).all()
    p = calibrate.sigmoid(stated["slope"] * shown + stated["offset"])
    assert (p >= stated["threshold"]).mean() >= 1 - calibrate.WITHHELD


def test_scores_are_no_worse_ordered_for_it():
    stated = calibrate.presence([4.0, 3.0], [[-2.0, -3.0]])
    assert stated["slope"] > 0 and 0 <= stated["threshold"] <= 1
