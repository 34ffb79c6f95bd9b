from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import box

from bedside_train import batches, data, evaluate, forms

STILL = data.Policy(tilt=0, stretch=0)


def names(frame):
    return {forms.trained()[i].form.name: mask for i, mask in frame.masks.items()}


def test_frames_join_their_rows_and_keep_their_split(dataset):
    a, b = box(5, 5, 30, 50), box(50, 5, 75, 50)
    folder = dataset(
        "jsrt",
        [
            ("1.png", "train", "x-ray", "right lung", "right lung", a),
            ("1.png", "train", "x-ray", "left lung", "left lung", b),
            ("2.png", "val", "x-ray", "heart", "heart", a),
        ],
    )
    (frame,) = data.load([folder], "train")
    assert set(names(frame)) == {"right lung", "left lung"}
    image, masks = frame.read()
    assert image.shape == (60, 80, 3)
    assert (
        masks[..., list(names(frame)).index("left lung")] > 0
    ).tolist() == b.tolist()
    assert len(data.load([folder], "val")) == 1


def test_a_benign_tumor_is_not_malignant_and_normal_has_none(dataset):
    mask = box(20, 20, 40, 40)
    folder = dataset(
        "busi",
        [
            ("1.png", "train", "ultrasound", "breast tumor", "benign", mask),
            ("2.png", "train", "ultrasound", "breast tumor", "normal", None),
        ],
    )
    benign, normal = data.load([folder], "train")
    assert (
        names(benign)["benign breast tumor"]
        == names(benign)["breast tumor"]
        is not None
    )
    assert names(benign)["malignant breast tumor"] is None
    assert set(names(normal).values()) == {None} and len(names(normal)) == 3


def test_doubtful_negatives_weigh_less(dataset):
    rows = [
        ("1.png", "train", "endoscopy", "colon polyp", "normal", None),
        (
            "2.png",
            "train",
            "endoscopy",
            "colon polyp",
            "normal, dyed or resection site",
            None,
        ),
    ]
    sure, doubtful = data.load([dataset("polypgen", rows)], "train")
    assert sure.doubt == 1 and doubtful.doubt == pytest.approx(1 / 3)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_right_lung_stays_on_the_left_of_the_picture(dataset, mirror):
    folder = dataset(
        "jsrt",
        [
            ("1.png", "train", "x-ray", "right lung", "right lung", box(8, 10, 30, 50)),
            ("1.png", "train", "x-ray", "left lung", "left lung", box(55, 10, 75, 50)),
        ],
    )
    (frame,) = data.load([folder], "train")
    frame.policy = replace(STILL, mirror=mirror)
    checked = 0
    for seed in range(12):
        for _, rows, _ in batches.shots(
            frame, 64, 1, batches.PROMPTS, *data.seeded(seed)
        ):
            for k, i in enumerate(rows.form):
                if i < 0 or not rows.present[k]:
                    continue
                form = forms.trained()[i].form
                assert form.name.split()[0] in rows.texts[k]
                columns = rows.masks[k].sum(0)
                centre = (columns * np.arange(len(columns))).sum() / columns.sum()
                other = next(j for j, f in enumerate(rows.form) if f >= 0 and j != k)
                if rows.present[other]:
                    there = rows.masks[other].sum(0)
                    apart = centre - (there * np.arange(len(there))).sum() / there.sum()
                    assert (apart < 0) == (form.name == "right lung")
                    checked += 1
    assert checked > 8


def test_whole_view_is_the_letterbox():
    image = np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    want = cv2.resize(data.square(image), (64, 64), interpolation=cv2.INTER_AREA)
    got = data.WHOLE.render(image, 64)
    inside = np.s_[14:50, 2:62]
    assert np.abs(got[inside].astype(int) - want[inside].astype(int)).max() <= 6
    assert not got[:9].any() and not got[-9:].any()


def test_unpadded_logits_lie_on_the_frame():
    mask = box(30, 10, 60, 25)
    logits = torch.from_numpy(
        data.WHOLE.render((mask * 255).astype(np.uint8), 40) / 255.0 - 0.5
    )
    got = evaluate.unpad(logits[None].float(), *mask.shape)[0].numpy() > 0
    assert 2 * (got & mask).sum() / (got.sum() + mask.sum()) > 0.93


def test_motion_tells_where_the_second_view_went():
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(rng.integers(0, 255, (70, 90), dtype=np.uint8), (0, 0), 4)
    first = data.View(data.rotation(0.4, 0.6), np.array([0.1, -0.05]))
    linear, shift = data.rotation(0.1, 1.05), np.array([0.05, -0.08])
    second = first.beside(linear, shift).render(image, 64)
    motion = torch.from_numpy(
        np.hstack([linear, shift[:, None]])[None].astype(np.float32)
    )
    moved = torch.from_numpy(first.render(image, 64)[None, None].astype(np.float32))
    grid = F.affine_grid(motion, [1, 1, 64, 64], align_corners=False)
    moved = F.grid_sample(moved, grid, align_corners=False)[0, 0].numpy()
    inside = np.s_[12:52, 12:52]
    assert np.abs(moved[inside] - second[inside]).mean() < 1.0


def test_view_beside_shows_nothing_of_the_object():
    masks = (box(30, 20, 50, 40) * np.uint8(255))[..., None]
    views = [
        data.view_beside(data.Policy(), masks, data.seeded(n)[0]) for n in range(8)
    ]
    assert any(views)
    assert not any(v.render(masks, 64).any() for v in views if v)
