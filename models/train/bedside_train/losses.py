"""What the student is taught to answer: masks, presence, meta object, modality, steadiness."""

import torch
import torch.nn.functional as F


def mask_loss(logits, target, edges):
    """Outline-weighted BCE and IoU (as in F3Net, Wei 2020) with Dice, for each of N masks.

    logits, target, edges: [N,h,w]; targets are shares of a pixel, 0..1.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    bce = (bce * edges).sum((1, 2)) / edges.sum((1, 2))
    p = logits.sigmoid()
    inter = (p * target * edges).sum((1, 2))
    union = ((p + target) * edges).sum((1, 2)) - inter
    return bce + 1 - (inter + 1) / (union + 1) + soft_dice_loss(p, target)


def soft_dice_loss(p, target):
    inter = (p * target).sum((1, 2))
    return 1 - (2 * inter + 1) / (p.sum((1, 2)) + target.sum((1, 2)) + 1)


def skeleton(p, rounds=3):
    """Soft centre lines of soft masks [N,h,w]; `rounds` bounds half the width of a line."""
    p = p.unsqueeze(1)
    lines = torch.zeros_like(p)
    for _ in range(rounds):
        thinner = -F.max_pool2d(-p, 3, 1, 1)
        rest = F.relu(p - F.max_pool2d(thinner, 3, 1, 1))
        lines = lines + F.relu(rest - lines * rest)
        p = thinner
    return lines.squeeze(1)


def line_loss(logits, target):
    """clDice (Shit 2021): centre lines of each inside the other's mask."""
    p = logits.sigmoid()
    mine, wanted = skeleton(p), skeleton(target)
    precision = ((mine * target).sum((1, 2)) + 1) / (mine.sum((1, 2)) + 1)
    recall = ((wanted * p).sum((1, 2)) + 1) / (wanted.sum((1, 2)) + 1)
    return 1 - 2 * precision * recall / (precision + recall)


def steady_loss(logits, score, motion):
    """Two views of each frame should have the same answer: squared difference of probabilities.

    logits [B,K,h,w], score [B,K], first views first; motion [B/2,2,3] as in ``Batch``.
    """
    first, second = logits.sigmoid().chunk(2)
    grid = F.affine_grid(motion, list(first.shape), align_corners=False)
    moved = F.grid_sample(first, grid, align_corners=False)
    inside = (grid.abs() <= 1).all(-1).unsqueeze(1)
    there = (first.amax((2, 3), keepdim=True) > 0.3) & inside
    masks = ((moved - second) ** 2 * there).sum() / there.sum().clamp(min=1)
    a, b = score.sigmoid().chunk(2)
    return masks + 0.1 * ((a - b) ** 2).mean()


def losses(answers, batch):
    """The parts of the loss by name, each already weighted; their sum is what is minimised.

    answers: of the decoder, then the encoder's modality, where it learns too.
    """
    logits, score, meta, *modality = answers
    present = batch.present > 0
    parts = {}
    parts["mask"] = logits.sum() * 0
    if present.any():
        mine, target = logits[present], batch.masks[present]
        parts["mask"] = mask_loss(mine, target, batch.edges[present]).mean()
        thin = batch.thin[present]
        if thin.any():
            share = thin.float().mean()
            parts["lines"] = 0.5 * share * line_loss(mine[thin], target[thin]).mean()
    absent = ~present
    weight = batch.weight[absent]
    empty = F.softplus(logits[absent]).mean((1, 2))
    parts["empty"] = 0.3 * (empty * weight).sum() / max(1, weight.numel())
    score_loss = F.binary_cross_entropy_with_logits(
        score, batch.present, reduction="none"
    )
    parts["score"] = 0.5 * (score_loss * batch.weight).mean()
    parts["meta"] = 0.1 * F.cross_entropy(meta.flatten(0, 1), batch.meta.flatten())
    if modality:
        parts["modality"] = 0.2 * F.cross_entropy(modality[0], batch.modality)
    if batch.motion is not None:
        parts["steady"] = steady_loss(logits, score, batch.motion)
    return parts
