"""The two halves against the plain network, and each rewrite on its own."""

import copy

import pytest
import torch
import torch.nn.functional as F

from bedside_export import split
from bedside_export.errors import ExportError
from bedside_export.layers import flat
from bedside_export.mask_decoder import normalise
from helpers import PROMPTS, assert_alive, assert_close, error, image

SIDES = (64, 96)


def halves(model, side, skip=True, classes=None):
    return split.Encoder(model, side, skip), split.Decoder(model, skip, classes)


@pytest.fixture(scope="module")
def prompts(model):
    with torch.no_grad():
        return [model.tokens(ids) for ids in PROMPTS]


def test_attention_matters(model, prompts):
    """The weights are such that attention is neither even nor a single peak, and masks cut it."""
    features = model.backbone(image(64))
    mask_features, coarse = model.pixel_decoder(features)
    decoder = model.mask_decoder
    queries = decoder.query_feat.weight[None]
    bias = decoder.blocked(decoder.masks(queries, mask_features), (4, 4))
    cut = (bias < 0).float().mean()
    assert 0.1 < cut < 0.9
    memory = flat(coarse[1]) + decoder.level_embed.weight[1]
    attention = decoder.transformer_cross_attention_layers[1].multihead_attn
    weights = attention.weights(queries + decoder.query_embed.weight, memory)
    peaks = weights.amax(-1)
    assert peaks.mean() > 2 / 16 and peaks.min() < 0.9
    assert weights.std(-1).min() > 0


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("side", SIDES)
def test_split_is_plain(model, prompts, side, skip):
    encoder, decoder = halves(model, side, skip)
    assert_alive(encoder)
    assert_alive(decoder)
    matched, masks = set(), []
    for seed in (0, 1):
        frame = image(side, seed)
        features = encoder(frame)
        assert [len(encoder.names)] == [len(features)]
        for tokens in prompts:
            plain = model(frame, tokens)
            logits, score = decoder(*features, *split.pad_tokens([tokens]))
            assert_close(logits[0], plain.logits)
            rest = torch.cat([plain.masks[: plain.query], plain.masks[plain.query + 1 :]])
            assert min(error(logits[0], other) for other in rest) > 1e-2, "two queries, one mask"
            assert abs(split.cosine_of(score[0]) - plain.cosines.max()) < 1e-5
            matched.add(plain.query)
            masks.append(plain.logits)
    assert len(matched) > 2
    for i, a in enumerate(masks):
        assert 0.02 < (a > 0).float().mean() < 0.98
        for b in masks[i + 1 :]:
            assert error(a, b) > 1e-2, "masks have to change with image and prompt"


@pytest.mark.parametrize("skip", [False, True])
def test_batch_is_singles(model, prompts, skip):
    encoder, decoder = halves(model, 64, skip)
    features = encoder(image(64))
    logits, score = decoder(*features, *split.pad_tokens(prompts))
    assert logits.shape == (len(prompts), 16, 16) and score.shape == (len(prompts),)
    for i, tokens in enumerate(prompts):
        alone = decoder(*features, *split.pad_tokens([tokens]))
        assert_close(logits[i], alone[0][0], 1e-5)
        assert abs(score[i] - alone[1][0]) < 1e-5


def test_padding_changes_nothing(model, prompts):
    encoder, decoder = halves(model, 64)
    features = encoder(image(64))
    tokens, mask = split.pad_tokens(prompts)
    logits, score = decoder(*features, tokens, mask)
    more = decoder(*features, F.pad(tokens, (0, 0, 0, 7)), F.pad(mask, (0, 7)))
    assert_close(more[0], logits, 1e-5)
    assert_close(more[1], score, 1e-5)
    # What stands in the padding does not matter either, and a real token does.
    filled = tokens + 3 * (1 - mask[:, :, None])
    assert_close(decoder(*features, filled, mask)[0], logits, 1e-5)
    shorter = mask.clone()
    shorter[:, -1] = 0
    changed = decoder(*features, tokens, shorter)[0]
    assert error(changed[-1], logits[-1]) > 1e-3


def test_folded_backbone(model):
    folded = split.FoldedBackbone(model.backbone)
    for got, wanted in zip(folded(image(64)), model.backbone(image(64))):
        assert_close(got, wanted, 1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_centre_mean_is_bilinear(factor):
    x = torch.randn(5, 48, 48, generator=torch.Generator().manual_seed(1))
    wanted = F.interpolate(x[None], scale_factor=1 / factor, mode="bilinear", align_corners=False)
    assert_close(split.centre_mean(x, factor), wanted[0], 1e-6)


def test_masks_of_reduced_features(model):
    """Reducing mask features and then making masks is making masks and reducing them."""
    mask_features, coarse = model.pixel_decoder(model.backbone(image(96)))
    decoder = model.mask_decoder
    queries = decoder.query_feat.weight[None]
    masks = decoder.masks(queries, mask_features)
    embed = decoder.mask_embed(decoder.decoder_norm(queries))[0]
    for factor, y in zip(split.FACTORS, coarse):
        size = tuple(y.shape[2:])
        small = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)[0]
        got = embed @ split.centre_mean(mask_features[0], factor).flatten(1)
        assert_close(got, small.flatten(1), 1e-5)
        bias = split.attention_bias(got) < 0
        assert torch.equal(bias, decoder.blocked(masks, size)[0, 0] < 0)


def test_empty_masks_look_everywhere():
    masks = torch.tensor([[-1.0, -2, -3], [-1, 2, -3], [1, 2, 3]])
    wanted = torch.tensor([[0.0, 0, 0], [split.BLOCKED, 0, split.BLOCKED], [0, 0, 0]])
    assert torch.equal(split.attention_bias(masks), wanted)


@pytest.mark.parametrize("side", SIDES)
def test_skipped_convolution(model, side):
    """Both ways to make mask features agree, at the levels and in the answer."""
    maps = model.backbone(image(side))
    fine = model.pixel_decoder.pyramid(maps)[3]
    full, skipping = split.Encoder(model, side, False), split.Encoder(model, side, True)
    pixels, levels = full.mask_features(fine)
    raw, fewer = skipping.mask_features(fine)
    for got, wanted in zip(fewer, levels):
        assert_close(got, wanted, 1e-5)
    weights = torch.randn(3, levels[0].shape[0], generator=torch.Generator().manual_seed(2))
    wanted = split.Decoder(model, False).answer(pixels, weights)
    assert_close(split.Decoder(model, True).answer(raw, weights), wanted, 1e-5)


def test_first_cross_attention(model):
    decoder = model.mask_decoder
    mask_features, coarse = model.pixel_decoder(model.backbone(image(64)))
    encoder = split.Encoder(model, 64)
    features = dict(zip(encoder.names, encoder(image(64))))
    queries = decoder.query_feat.weight[None]
    bias = decoder.blocked(decoder.masks(queries, mask_features), (2, 2))
    memory = flat(coarse[0]) + decoder.level_embed.weight[0]
    first = decoder.transformer_cross_attention_layers[0]
    position = decoder.query_embed.weight[None]
    wanted = first(queries, position, memory + encoder.position0, memory, bias)
    assert_close(features["queries"], wanted[0], 1e-5)


def test_doubling_is_nearest():
    x = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(split.double(x), F.interpolate(x, scale_factor=2, mode="nearest"))


def test_source_stays_as_it_was(model, prompts):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    answer = model(image(64), prompts[0]).logits
    encoder, decoder = halves(model, 64, classes=normalise(torch.stack([p[-1] for p in prompts])))
    decoder(*encoder(image(64)), *split.pad_tokens(prompts))
    after = model.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert torch.equal(answer, model(image(64), prompts[0]).logits)


def test_meta(model, prompts):
    texts = [[PROMPTS[0], PROMPTS[1]], [PROMPTS[2]], [PROMPTS[3], PROMPTS[4], PROMPTS[5]]]
    classes = split.class_embeddings(model.text_encoder, texts)
    assert_close(classes.norm(dim=-1), torch.ones(3), 1e-6)
    encoder, decoder = halves(model, 64, classes=classes)
    features = encoder(image(64))
    logits, score, meta = decoder(*features, *split.pad_tokens(prompts))
    assert meta.shape == (len(prompts), 3)
    plain_logits, plain_score = split.Decoder(model)(*features, *split.pad_tokens(prompts))
    assert torch.equal(logits, plain_logits) and torch.equal(score, plain_score)
    scale = model.text_encoder.logit_scale.exp()
    for i, tokens in enumerate(prompts):
        plain = model(image(64), tokens)
        wanted = scale * normalise(plain.classes[plain.query]) @ classes.t()
        assert_close(meta[i], wanted)


def test_score_grows_with_the_match():
    cosines = torch.linspace(-0.99, 0.99, 41)
    scores = torch.log((1 + cosines) / (1 - cosines))
    assert (scores.diff() > 0).all()
    assert_close(scores.sigmoid(), (1 + cosines) / 2, 1e-6)
    assert_close(split.cosine_of(scores), cosines, 1e-6)


@pytest.mark.parametrize("side", [0, 31, 33, 250])
def test_side_has_to_fit(model, side):
    with pytest.raises(ExportError, match="multiple of 32"):
        split.Encoder(model, side)


def test_dead_network_is_noticed(model):
    dead = copy.deepcopy(model)
    attention = dead.mask_decoder.transformer_cross_attention_layers[2].multihead_attn
    attention.in_proj_weight.zero_()
    with pytest.raises(AssertionError, match="in_proj_weight has zeros"):
        assert_alive(dead)
    attention.in_proj_weight.fill_(torch.nan)
    with pytest.raises(AssertionError, match="in_proj_weight is not finite"):
        assert_alive(dead)


def test_comparer():
    a = torch.tensor([1.0, 2.0])
    assert_close(a, a)
    for bad in (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.inf])):
        for pair in ((bad, a), (a, bad), (bad, bad)):
            with pytest.raises(AssertionError, match="not finite"):
                assert_close(*pair)
    with pytest.raises(AssertionError, match="all zero"):
        assert_close(a * 0, a * 0)
    with pytest.raises(AssertionError, match="shapes"):
        assert_close(a, a[:1])
    with pytest.raises(AssertionError, match="above"):
        assert_close(a, a + 1e-3)
    with pytest.raises(AssertionError, match="nothing"):
        assert_close(a[:0], a[:0])
