"""What the tests share: alive weights for the tiny network, images, prompts, a strict comparer."""

import clip
import pytest
import torch

from bedside_export import tokenizer
from bedside_export.model import BiomedParse, Config
from helpers import assert_alive, fill

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="session", autouse=True)
def stand_in():
    """The tests' vocabulary passes for CLIP's, which is not ours to keep here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "PUBLISHED", clip.digests())
        yield


@pytest.fixture(scope="session")
def model():
    model = BiomedParse(Config.tiny()).eval()
    with torch.no_grad():
        fill(model)
    assert_alive(model)
    return model
