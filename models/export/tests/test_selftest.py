"""Which frames become self-tests: ordinary ones, not those that flatter."""

import numpy as np
import pytest
from bedside_export import frames, selftest
from bedside_export.errors import ExportError

SIDE = 48  # of the logits
CHOICES = [(f"prompt {i}", None) for i in range(5)]
SHOWN = [frames.synthetic(seed).tobytes() for seed in range(selftest.CANDIDATES)]


class Fake:
    """Masks of 20 columns, of which some are lost: ``lost[frame][prompt]``."""

    def __init__(self, lost):
        self.lost = lost

    def unfused(self):
        return self

    def __call__(self, frame, rows):
        logits = np.full((len(rows), SIDE, SIDE), -1, np.float32)
        for mask, lost in zip(logits, self.lost[SHOWN.index(frame.tobytes())]):
            mask[:, : 20 - lost] = 1
        return {"logits": logits}


EXACT = Fake(np.zeros((4, 5), int))


def test_the_ordinary_ones_are_chosen(tmp_path):
    lost = np.array([[0, 0, 0, 0, 9], [2, 1, 3, 2, 8], [1, 2, 2, 4, 7], [3, 2, 2, 6, 5]])
    tests, told = selftest.self_tests(tmp_path, {"f32": EXACT, "int8": Fake(lost)}, CHOICES)
    assert told["candidates"] == 20 and told["iou"]["best"] == 1
    assert told["iou"]["median"] == pytest.approx(0.9, abs=0.01), "two columns of twenty are lost"
    assert told["iou"]["worst"] == pytest.approx(11 / 20, abs=0.01)
    assert told["chosen"] == pytest.approx([0.9, 0.9], abs=0.01)
    assert [t["min_iou"] for t in tests] == pytest.approx([0.85, 0.85], abs=0.01)
    assert {p.name for p in (tmp_path / "selftest").iterdir()} == {"0.rgb", "1.rgb"}


def test_precisions_that_differ_on_most_masks_are_refused(tmp_path):
    lost = np.full((4, 5), 12)
    lost[0, :2] = 0  # two good ones don't hide it
    with pytest.raises(ExportError, match="IoU of 0.4. only; hint: "):
        selftest.self_tests(tmp_path, {"f32": EXACT, "int8": Fake(lost)}, CHOICES)
    with pytest.raises(ExportError, match="empty or full"):
        (tmp_path / "other").mkdir()
        selftest.self_tests(tmp_path / "other", {"f32": Fake(np.full((4, 5), 20))}, CHOICES)
