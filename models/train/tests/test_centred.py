import torch
from bedside_train.model import Centred
from torch import nn


def test_a_plain_layer_is_carried_over_as_it_is():
    torch.manual_seed(1)
    plain, centred, mean = nn.Linear(6, 4), Centred(6, 4), torch.randn(6)
    weight, bias = Centred.of_plain(plain.weight, plain.bias, mean)
    centred.load_state_dict({"weight": weight, "bias": bias, "mean": mean})
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(centred(x), plain(x))


def test_what_tells_like_tokens_apart_weighs_more_than_what_they_share():
    torch.manual_seed(1)
    shared = 5 * torch.randn(6)
    apart = 0.1 * torch.randn(6)
    grads = []
    for layer in (nn.Linear(6, 4), Centred(6, 4)):
        if isinstance(layer, Centred):
            layer.mean.copy_(shared)
        out = layer(torch.stack([shared + apart, shared - apart]))
        (out[0] - out[1]).sum().backward()
        told = layer.weight.grad @ apart
        layer.zero_grad()
        layer(torch.stack([shared + apart, shared - apart])).sum().backward()
        both = layer.weight.grad @ shared
        grads.append((told.norm() / (both.norm() + 1e-9)).item())
    assert grads[1] > 1000 * grads[0], grads
