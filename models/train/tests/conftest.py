import csv

import cv2
import numpy as np
import pytest
import torch

import bundles
from bedside_train import batches, forms

COLUMNS = ("file", "mask", "split", "modality", "object", "label")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def all_forms():
    yield
    forms.only(None)


@pytest.fixture(scope="session")
def edge(tmp_path_factory):
    """A bundle of random weights."""
    return bundles.write(tmp_path_factory.mktemp("edge"))


@pytest.fixture
def dataset(tmp_path):
    """Write a dataset: name and rows of (file, split, modality, object, label, mask or None)."""

    def write(name, rows, shape=(60, 80)):
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(3)
        with open(folder / "manifest.csv", "w", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(COLUMNS)
            for n, (file, split, modality, thing, label, mask) in enumerate(rows):
                if not (folder / file).exists():
                    image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
                    cv2.imwrite(str(folder / file), image)
                name = ""
                if mask is not None:
                    name = f"mask{n}.png"
                    cv2.imwrite(str(folder / name), mask.astype(np.uint8) * 255)
                writer.writerow((file, name, split, modality, thing, label))
        return folder

    return write


def box(left, top, right, bottom, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture
def small(monkeypatch):
    """Batches of two small frames."""
    monkeypatch.setattr(batches, "SIZES", {64: (1.0, 2)})
    monkeypatch.setattr(batches, "FINE", {64: 1.0})
    monkeypatch.setattr(batches, "THIN", {64: 1.0})
