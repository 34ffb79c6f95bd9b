import numpy as np
import pytest
import torch
from bedside_export import small
from bedside_export.model import BiomedParse, Config
from bedside_train import data
from helpers import fill, image


@pytest.fixture
def model():
    model = BiomedParse(Config.tiny())
    fill(model)
    return model


def test_the_last_proposals_are_the_networks_own(model):
    x, tokens = image(64), model.tokens([95, 17, 33, 96])
    proposals = small.Proposals(model.mask_decoder)
    layers = proposals(*model.pixel_decoder(model.backbone(x)), tokens)
    answer = model(x, tokens)
    assert len(layers) == model.config.decoder_layers + 1
    torch.testing.assert_close(layers[-1][0], answer.masks)
    torch.testing.assert_close(layers[-1][1], answer.classes)
    assert "masks" not in vars(model.mask_decoder), "the decoder is as it was"


@torch.enable_grad()
def test_the_query_that_fits_learns_to_be_chosen():
    target = torch.zeros(8, 8)
    target[2:6, 2:6] = 1
    logits = torch.stack([-8 * (2 * target - 1), 8 * (2 * target - 1)]).requires_grad_()
    classes = torch.eye(4)[:2].clone().requires_grad_()
    tokens = torch.eye(4)[:1] + 0.3
    loss = small.layer_loss(logits, classes, tokens, target)
    loss.backward()
    assert logits.grad[0].abs().max() == 0 < logits.grad[1].abs().max()
    step = classes - 0.1 * classes.grad
    nearer = [torch.cosine_similarity(c[1], tokens[0], 0) for c in (step, classes)]
    assert nearer[0] > nearer[1]


@torch.enable_grad()
def test_learning_lowers_the_loss(model):
    torch.manual_seed(2)
    target = torch.zeros(16, 16)
    target[4:12, 2:9] = 1
    asked = [[("fetal head", target)]]
    model.tokens = lambda ids: torch.ones(3, model.config.dim)
    proposals = small.Proposals(model.mask_decoder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = small.learn(model, proposals, image(64), asked)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0], losses


def test_a_mirrored_lung_is_the_other_one():
    left = next(i for i in range(99) if small.forms.trained()[i].form.name == "left lung")
    mirrored = small.forms.trained()[small.forms.mirrored(left)].form
    assert mirrored.name == "right lung" and mirrored.name in small.LEARNED
    assert data.POLICIES["chn_mc"].mirror > 0
    assert small.ids("ab") == [small.START, 97, 98, small.END]
