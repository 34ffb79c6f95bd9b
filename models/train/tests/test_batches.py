import collections
import random

import pytest
import torch
from conftest import box

from bedside_train import batches, data, forms


@pytest.fixture
def frames(dataset):
    mask = box(20, 15, 60, 45)
    colon = [
        (f"{n}.png", "train", "endoscopy", "polyp", "polyp", mask) for n in range(48)
    ]
    heads = [(f"{n}.png", "train", "ct", "liver", "liver", mask) for n in range(12)]
    return data.load([dataset("kvasir_seg", colon), dataset("liver", heads)], "train")


def test_rare_forms_are_sampled_more_than_their_frames(frames):
    sampler = batches.Sampler(frames)
    polyp, liver = forms.index("polyp", "endoscopy"), forms.index("liver", "ct")
    counts = collections.Counter(
        f.modality for f in sampler.choose(256, 4000, random.Random(1))
    )
    share = forms.trained()[polyp].share / forms.trained()[liver].share
    assert counts["endoscopy"] / counts["ct"] == pytest.approx(2 * share, rel=0.15)
    assert sum(w > 0 for w in sampler.weights(256)) == 2


def test_a_batch_depends_on_its_step_alone(frames, small):
    sampler = batches.Sampler(frames)
    a, b, c = (batches.batch(sampler, step, 1) for step in (5, 5, 6))
    assert torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
    assert not torch.equal(a.images, c.images)


def test_rows_of_a_batch_agree(frames, small):
    sampler = batches.Sampler(frames)
    pairs = 0
    for step in range(40):
        b = batches.batch(sampler, step, 1)
        assert b.images.shape == (2, 3, 64, 64) and b.masks.shape[-1] == 32
        shown = b.masks.flatten(2).amax(2) > 0
        assert torch.equal(shown, b.present > 0)
        assert not b.present[b.form < 0].any()
        assert torch.equal(b.meta != batches.NONE, b.present > 0)
        if b.motion is not None:
            pairs += 1
            assert torch.equal(b.form[0], b.form[1]) and torch.equal(
                b.tokens[0], b.tokens[1]
            )
    assert pairs > 0


def test_a_sliver_is_neither_present_nor_absent():
    rows = batches.Rows(64, batches.PROMPTS)
    mask = box(0, 0, 64, 64, (64, 64)).astype("uint8") * 0
    mask[0, 0] = 100
    rows.add(0, "polyp", mask, 1.0)
    rows.add(0, "polyp", mask * 0, 1.0)
    assert rows.present[:2].tolist() == [0, 0]
    assert rows.weight[:2].tolist() == [0, 1]
    assert not rows.masks.any()
