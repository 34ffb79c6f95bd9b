"""What the tests share: alive weights for the tiny network, images, prompts, a strict comparer."""

import pytest
import torch

from bedside_export.model import BiomedParse, Config
from helpers import assert_alive, fill

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def model():
    model = BiomedParse(Config.tiny()).eval()
    with torch.no_grad():
        fill(model)
    assert_alive(model)
    return model
