"""The plain network and the halves against answers of the original code.

golden/tiny.npz was written by microsoft/BiomedParse's own modules (main at 750eb40) with the
weights of ``helpers.fill`` in the tiny configuration, one prompt at a time.
"""

import pathlib

import numpy as np
import pytest

from bedside_export import split
from helpers import PROMPTS, assert_close, error, image

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tiny.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_tokens(model, golden, index):
    assert_close(model.tokens(PROMPTS[index]), golden[f"tokens{index}"], 1e-5)


@pytest.mark.parametrize("side", [64, 96])
def test_masks(model, golden, side):
    frame = image(side)
    mask_features, _ = model.pixel_decoder(model.backbone(frame))
    wanted = golden[f"mask_features{side}"]
    assert_close(mask_features[0, : len(wanted)], wanted, 1e-5)
    encoder, decoder = split.Encoder(model, side), split.Decoder(model)
    prompts = [model.tokens(ids) for ids in PROMPTS]
    logits, score = decoder(*encoder(frame), *split.pad_tokens(prompts))
    for i, tokens in enumerate(prompts):
        plain = model(frame, tokens)
        wanted = golden[f"logits{side}.{i}"]
        assert plain.query == golden[f"query{side}.{i}"]
        assert_close(plain.cosines, golden[f"cosines{side}.{i}"])
        assert_close(plain.logits, wanted)
        assert_close(logits[i], wanted)
        assert abs(split.cosine_of(score[i]) - golden[f"cosines{side}.{i}"].max()) < 1e-4
        for j in range(i):
            assert error(golden[f"logits{side}.{j}"], wanted) > 1e-2
