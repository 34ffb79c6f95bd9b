import io
import pathlib
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from bedside_train import depthwise, text, weights
from bedside_train.model import SUB, Student

BUNDLE = pathlib.Path(__file__).parents[2] / "edge/edge.bedside"


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(16, 5, 1), (16, 3, 1), (19, 5, 2), (17, 3, 2)]
)
def test_depthwise_gradients(side, kernel, stride):
    torch.manual_seed(0)
    x = (
        torch.randn(2, 48, side, side)
        .bfloat16()
        .contiguous(memory_format=torch.channels_last)
    )
    weight = torch.randn(48, 1, kernel, kernel).bfloat16().float()
    padding = kernel // 2 if stride == 1 else 0
    grads = []
    for apply, value in (
        (depthwise.conv, x),
        (lambda x, w, s, p: F.conv2d(x, w, None, s, p, 1, 48), x.float()),
    ):
        a, w = value.detach().requires_grad_(), weight.clone().requires_grad_()
        y = apply(a, w, stride, padding)
        g = torch.linspace(-1, 1, y.numel()).reshape(y.shape).bfloat16()
        y.backward(g.to(y.dtype))
        grads.append((a.grad.float(), w.grad))
    for mine, theirs in zip(*grads):
        assert (mine - theirs).abs().max() < 0.02 * theirs.abs().max()


def test_prompts_of_a_batch_are_answered_as_alone():
    torch.manual_seed(0)
    net = Student().eval()
    images, tokens, keep = (
        torch.randn(2, 3, 64, 64),
        torch.randn(2, 3, 4, 384),
        torch.ones(2, 3, 4),
    )
    with torch.no_grad():
        logits, score, meta, modality = net(images, tokens, keep)
        pixels, keys, values = net.encoder(images[1:])
        one = net.decoder(pixels, keys[0], values[0], tokens[1], keep[1])
    assert logits.shape == (2, 3, 32, 32) and modality.shape[0] == 2
    for a, b in zip((logits[1], score[1], meta[1]), one):
        assert (a - b).abs().max() < 1e-4


def test_weights_come_back_from_f16(tmp_path):
    torch.manual_seed(0)
    net, other = Student(), Student()
    weights.save_half(net, tmp_path / "edge.safetensors")
    assert weights.load_start(other, tmp_path / "edge.safetensors", None) == []
    for a, b in zip(net.state_dict().values(), other.state_dict().values()):
        assert torch.allclose(a, b, atol=2e-3)


def test_a_bundle_starts_a_student_that_answers_the_same():
    torch.manual_seed(0)
    net = Student()
    image = torch.rand(2, 3, 256, 256) * 2 - 1
    assert not any("backbone" in m for m in weights.load_start(net, BUNDLE, image))
    tokens, keep = text.pad([text.tokens("polyp in colon endoscope")], 16)
    with zipfile.ZipFile(BUNDLE) as bundle:
        encoder, decoder = (
            onnxruntime.InferenceSession(
                io.BytesIO(bundle.read(f"{p}.f32.onnx")).read()
            )
            for p in ("encoder", "decoder")
        )
    features = encoder.run(["pixels", "keys", "values"], {"image": image[:1].numpy()})
    feed = dict(
        zip(("pixels", "keys", "values"), features), tokens=tokens, token_mask=keep
    )
    want = decoder.run(["logits", "score"], feed)
    with torch.no_grad():
        logits, score, _, _ = net.eval()(
            image[:1], torch.from_numpy(tokens)[None], torch.from_numpy(keep)[None]
        )
    step = logits.shape[-1] // want[0].shape[-1]
    assert step in (1, SUB)
    assert np.abs(logits[0, :, ::step, ::step].numpy() - want[0]).max() < 1e-3
    assert abs(float(score) - want[1][0]) < 1e-3
    # In training mode too: the statistics are those of the frames it was started with.
    with torch.no_grad():
        again = net.train().encoder(image)[0]
        assert (
            again - net.eval().encoder(image)[0]
        ).abs().mean() < 0.05 * again.abs().mean()
