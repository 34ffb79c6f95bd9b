import numpy as np
import pytest
import torch

from bedside_train import data, familiar, forms
from bedside_train.model import Student
from conftest import box


def test_prototypes_stand_where_the_frames_are():
    rng = np.random.default_rng(2)
    heaps = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = np.concatenate([h + rng.normal(0, 0.3, (50, 2)) for h in heaps])
    centres = familiar.clusters(points, 3, np.random.default_rng(4))
    far = np.linalg.norm(heaps[:, None] - centres[None], axis=2).min(1)
    assert (far < 0.3).all(), centres
    assert len(familiar.clusters(points[:2], 6, rng)) == 2


def test_distances_are_those_of_whitened_features():
    rng = np.random.default_rng(3)
    whitening, prototypes = rng.normal(size=(5, 5)), rng.normal(size=(4, 5))
    known = familiar.Familiar(whitening, prototypes, {("ct", "abdomen"): (1, 2)})
    x = rng.normal(size=(1, 5)).astype(np.float32)
    wanted = np.linalg.norm(x @ whitening - prototypes, axis=1)
    got = known(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got[0], wanted, rtol=1e-4)
    assert familiar.nearest(got[0], (1, 2)) == pytest.approx(
        wanted[1:3].min(), rel=1e-4
    )


def test_what_is_stated_are_the_logarithms_of_frames_not_learned_from():
    places = {("ct", "abdomen"): (0, 3), ("mri", "heart"): (3, 2)}
    seen = {("ct", "abdomen"): np.exp([1.0, 2.0, 3.0]), ("mri", "heart"): [2.0]}
    said = familiar.stated(places, seen)
    first, second = said["domains"]
    assert (first["mean"], first["std"]) == (2.0, 1.0)
    assert (second["first"], second["count"], second["std"]) == (3, 2, 0.02)


def test_domains_are_kept_apart_and_phantoms_among_them(dataset):
    mask = box(20, 15, 60, 45)
    colon = [
        (f"{n}.png", "train", "endoscopy", "polyp", "polyp", mask) for n in range(6)
    ]
    liver = [(f"{n}.png", "train", "ct", "liver", "liver", mask) for n in range(6)]
    frames = data.load([dataset("kvasir_seg", colon), dataset("liver", liver)], "train")
    phantoms = data.load([dataset("phantoms", colon)], "train")
    torch.manual_seed(1)
    known = familiar.fit(Student().eval(), frames, phantoms, (64, 96))
    assert known.places == {
        ("ct", "abdomen"): (0, 6),
        ("endoscopy", "colon"): (6, 8),
    }
    x = torch.from_numpy(familiar.pooled(Student().eval(), frames[:1], 64))
    assert known(x).shape == (1, 14) and torch.isfinite(known(x)).all()
    assert forms.MODALITIES[0] == "ct"
