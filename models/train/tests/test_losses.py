import torch
from conftest import box

from bedside_train import batches, losses
from bedside_train.model import META_CLASSES, MODALITY_CLASSES


def made(present, weight=1.0, side=32):
    """A batch of one frame with two prompts, and random answers to it."""
    torch.manual_seed(0)
    masks = torch.zeros(1, 2, side, side)
    if present:
        masks[0, 0, 8:20, 8:20] = 1
    shown = torch.tensor([[float(present), 0.0]])
    batch = batches.Batch(
        images=torch.zeros(1, 3, 2 * side, 2 * side),
        tokens=torch.zeros(1, 2, 1, 1),
        token_mask=torch.ones(1, 2, 1),
        masks=masks,
        edges=torch.ones_like(masks),
        present=shown,
        weight=torch.tensor([[weight, 1.0]]),
        thin=torch.tensor([[True, False]]),
        form=torch.tensor([[0, -1]]),
        meta=torch.full((1, 2), batches.NONE),
        modality=torch.tensor([0]),
    )
    answers = (
        torch.randn(1, 2, side, side),
        torch.randn(1, 2),
        torch.randn(1, 2, META_CLASSES),
        torch.randn(1, MODALITY_CLASSES),
    )
    for a in answers:
        a.requires_grad_()
    return answers, batch


def test_absent_objects_push_every_pixel_down_and_nothing_up():
    answers, batch = made(present=False)
    parts = losses.losses(answers, batch)
    assert parts["mask"] == 0 and "lines" not in parts
    sum(parts.values()).backward()
    assert torch.isfinite(answers[0].grad).all() and (answers[0].grad > 0).all()


def test_a_prompt_without_weight_teaches_nothing():
    answers, batch = made(present=False, weight=0.0)
    sum(losses.losses(answers, batch).values()).backward()
    assert not answers[0].grad[0, 0].any() and answers[0].grad[0, 1].any()
    assert answers[1].grad[0, 0] == 0 and answers[1].grad[0, 1] != 0


def test_a_right_mask_costs_little_and_a_wrong_one_much():
    _, batch = made(present=True)
    target = batch.masks[0, :1]
    right, wrong = (target - 0.5) * 24, (0.5 - target) * 24
    edges = torch.ones_like(target)
    assert losses.mask_loss(right, target, edges) < 0.02
    assert losses.mask_loss(wrong, target, edges) > 5


def test_breaks_of_a_vessel_cost_and_its_width_does_not():
    line = torch.from_numpy(box(2, 14, 62, 17, (32, 64))).float()[None]
    thick = torch.from_numpy(box(2, 13, 62, 18, (32, 64))).float()[None]
    broken = line.clone()
    broken[..., 24:40] = 0
    cost = [
        float(losses.line_loss((m - 0.5) * 24, line)) for m in (line, thick, broken)
    ]
    assert max(cost[:2]) < 0.01
    assert cost[2] > 0.1


def test_the_same_answer_in_both_views_costs_nothing():
    logits = (
        torch.from_numpy(box(20, 20, 44, 44, (64, 64))).float()[None, None] * 20 - 10
    )
    score = torch.tensor([[2.0], [2.0]])
    still = torch.eye(2, 3)[None]
    assert losses.steady_loss(logits.repeat(2, 1, 1, 1), score, still) < 1e-6
    shifted = still.clone()
    shifted[0, 0, 2] = 8 / 32  # the second view lies 8 pixels to the right in the first
    moved = torch.roll(logits, -8, 3)
    assert losses.steady_loss(torch.cat([logits, moved]), score, shifted) < 1e-4
    assert losses.steady_loss(torch.cat([logits, moved]), score, still) > 0.01
