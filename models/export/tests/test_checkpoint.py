"""Strict loading: every key counts, and bad files end in one line with a remedy."""

import collections
import pickle
import random

import numpy as np
import pytest
import torch

from bedside_export import checkpoint
from bedside_export.checkpoint import CheckpointError
from bedside_export.model import BiomedParse, Config
from helpers import PROMPTS, assert_alive, assert_close, image, weight

PREFIX = "sem_seg_head.predictor.lang_encoder."


@pytest.fixture(scope="module")
def shapes():
    config = Config.v1()
    return checkpoint.loaded_shapes(config) | checkpoint.dropped_shapes(config)


@pytest.fixture()
def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.fixture()
def saved(tmp_path, state):
    path = tmp_path / "tiny.pt"
    torch.save(state, path)
    return path


def refused(match, call, *args):
    with pytest.raises(CheckpointError, match=match) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message and "hint: " in message
    return message


def test_table(shapes):
    """The numbers of the published file: keys, values, and the groups they fall into."""
    config = Config.v1()
    loaded, dropped = checkpoint.loaded_shapes(config), checkpoint.dropped_shapes(config)
    assert len(loaded) == 925 and len(dropped) == 207 and len(shapes) == 1132
    count = lambda table: sum(torch.Size(shape).numel() for shape in table.values())  # noqa: E731
    assert count(shapes) == 450_663_443
    groups = collections.Counter(key.split(".")[0] for key in loaded)
    assert groups == {"backbone": 504, "sem_seg_head": 421}
    assert sum("biomed_encoder" in key for key in dropped) == 199
    assert all(checkpoint.dropped_because(key) for key in dropped)
    assert not any(checkpoint.dropped_because(key) for key in loaded)
    used = {p for p, _ in checkpoint.DROPPED if any(_fits(key, p) for key in dropped)}
    assert used == {p for p, _ in checkpoint.DROPPED}, "a pattern that matches nothing"
    checkpoint.check_shapes(shapes)


def _fits(key, pattern):
    return checkpoint.fnmatch.fnmatchcase(key, pattern)


def sample():
    config = Config.v1()
    keys = sorted(checkpoint.loaded_shapes(config) | checkpoint.dropped_shapes(config))
    special = [key for key in keys if checkpoint.dropped_because(key) and "biomed" not in key]
    return random.Random(3).sample(keys, 50) + special


@pytest.mark.parametrize("key", sample())
def test_each_key_counts(shapes, key):
    missing = {k: s for k, s in shapes.items() if k != key}
    assert key in refused("lacks 1 key: ", checkpoint.check_shapes, missing)
    shape = shapes[key]
    for wrong in ((*shape, 2), (shape[0] + 1, *shape[1:]) if shape else (1,)):
        message = refused("has shape", checkpoint.check_shapes, shapes | {key: wrong})
        assert key in message or "biomed-clip" in message
    extra = key + ".extra"
    assert extra in refused("v1 has not, 1 key", checkpoint.check_shapes, shapes | {extra: shape})


def test_loads_what_was_saved(model, saved):
    loaded = checkpoint.open_model(saved, Config.tiny())
    assert_alive(loaded)
    assert not any(p.requires_grad for p in loaded.parameters())
    tokens = loaded.tokens(PROMPTS[1])
    answer, wanted = loaded(image(64), tokens), model(image(64), model.tokens(PROMPTS[1]))
    assert torch.equal(answer.logits, wanted.logits)


def lightning(state):
    prefixed = {f"model.{key}": value for key, value in state.items()}
    return {"state_dict": prefixed, "pytorch-lightning_version": "2.5", "epoch": 1}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": s},
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {"model": {"state_dict": {f"module.model.{k}": v for k, v in s.items()}}},
        lightning,
    ],
    ids=["model", "state_dict", "DataParallel", "nested", "lightning"],
)
def test_the_keys_count_and_no_wrapper_around_them(model, state, tmp_path, wrap):
    """Fine-tuned weights of v1 stay v1, whatever saved them."""
    torch.save(wrap(state), tmp_path / "x.pt")
    loaded = checkpoint.open_model(tmp_path / "x.pt", Config.tiny())
    wanted = model(image(64), model.tokens(PROMPTS[0])).logits
    assert torch.equal(loaded(image(64), loaded.tokens(PROMPTS[0])).logits, wanted)
    key = "backbone.norm0.weight"
    torch.save(
        wrap({("head.weight" if k == key else k): v for k, v in state.items()}), tmp_path / "x.pt"
    )
    said = refused("lacks 1 key", checkpoint.open_model, tmp_path / "x.pt", Config.tiny())
    assert key in said and "1 key: head.weight" in said


def test_half_and_old_format(model, state, tmp_path):
    wanted = model(image(64), model.tokens(PROMPTS[0])).logits
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "half.pt")
    for name, limit in (("old", 0), ("half", 0.5)):
        loaded = checkpoint.open_model(tmp_path / f"{name}.pt", Config.tiny())
        assert {p.dtype for p in loaded.parameters()} == {torch.float32}
        logits = loaded(image(64), loaded.tokens(PROMPTS[0])).logits
        assert torch.isfinite(logits).all()
        if not limit:
            assert torch.equal(logits, wanted)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_wrong_keys_in_a_file(state, tmp_path, change):
    key = "backbone.layers.2.blocks.1.modulation.f.weight"
    if change == "missing":
        del state[key]
    elif change == "extra":
        key = "backbone.layers.9.weight"
        state[key] = torch.ones(2)
    else:
        state[key] = state[key].t()
    torch.save(state, tmp_path / "x.pt")
    message = refused("x.pt: .*key", checkpoint.open_model, tmp_path / "x.pt", Config.tiny())
    assert key in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("key", ["backbone.norm1.bias", PREFIX + "lang_proj"])
def test_not_finite(state, key, value):
    state[key].view(-1)[3] = value
    message = refused("NaN or infinity", checkpoint.build, state, Config.tiny())
    assert key in message


def test_dead_layers(state):
    for key in ("backbone.norm1.bias", "sem_seg_head.predictor.level_embed.weight"):
        checkpoint.build(state | {key: state[key] * 0}, Config.tiny())
    attention = "sem_seg_head.predictor.transformer_self_attention_layers.1.self_attn."
    for key in (attention + "in_proj_weight", "backbone.layers.0.blocks.0.gamma_2"):
        dead = state | {key: state[key] * 0}
        assert key in refused("all zero", checkpoint.build, dead, Config.tiny())
    whole = state | {key: torch.ones_like(state[key], dtype=torch.int64)}
    assert key in refused("not real numbers", checkpoint.build, whole, Config.tiny())


def test_other_text_path(shapes):
    table = shapes | {PREFIX + "lang_encoder.token_embedding.weight": (30522, 512)}
    refused("biomed-clip", checkpoint.check_shapes, table)
    table = shapes | {PREFIX + "lang_proj": (768, 512)}
    refused("biomed-clip", checkpoint.check_shapes, table)


def test_not_a_checkpoint(tmp_path):
    refused("no such file", checkpoint.load, tmp_path / "none.pt")
    refused("not a file", checkpoint.load, tmp_path)
    for name, content in (
        ("empty", b""),
        ("text", b"hello, this is a readme"),
        ("page", b"<!DOCTYPE html><html>sign in</html>"),
        ("safetensors", (64).to_bytes(8, "little") + b'{"x":{}}'),
        ("noise", b"\x80\x02" + bytes(range(200))),
    ):
        (tmp_path / name).write_bytes(content)
        refused("not a PyTorch checkpoint|damaged", checkpoint.load, tmp_path / name)
    (tmp_path / "lfs").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused("LFS pointer", checkpoint.load, tmp_path / "lfs")
    for name, content in (
        ("tensor", torch.ones(3)),
        ("list", [torch.ones(3)]),
        ("other", {"conv.weight": torch.ones(3)}),
        ("numbers", {"backbone.x": 3}),
    ):
        torch.save(content, tmp_path / name)
        refused("state dict|no BiomedParse|not a tensor", checkpoint.load, tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated(state, tmp_path, zipped):
    torch.save(state, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "whole.pt").read_bytes()
    for part in (0.999, 0.5, 0.02, 0.0005):
        (tmp_path / "cut.pt").write_bytes(whole[: int(len(whole) * part)])
        refused("truncated|damaged", checkpoint.load, tmp_path / "cut.pt")


class Trap:
    def __reduce__(self):
        return open, (Trap.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_never_run(tmp_path, state, zipped):
    Trap.path = str(tmp_path / "sprung")
    bad = tmp_path / "bad.pt"
    torch.save(state | {"x": Trap()}, bad, _use_new_zipfile_serialization=zipped)
    refused("besides tensors", checkpoint.load, bad)
    bad.write_bytes(pickle.dumps({"x": Trap()}))
    refused("besides tensors|damaged", checkpoint.load, bad)
    assert not (tmp_path / "sprung").exists()


def test_version_2(tmp_path, state):
    """By modules that v1 has not; a Lightning file alone is not v2."""
    text = "sem_seg_head.predictor.lang_encoder."
    other = {k.replace(text, text.replace("lang_", "language_")): v for k, v in state.items()}
    for v2 in (other, state | {"output_deconv.weight": torch.ones(2)}):
        for content in (v2, lightning(v2)):
            torch.save(content, tmp_path / "v2.ckpt")
            refused("v2", checkpoint.load, tmp_path / "v2.ckpt")
    Trap.path = str(tmp_path / "sprung")
    for weights, words in ((other, "v2"), (state, "besides tensors")):
        content = lightning(weights) | {"hyper_parameters": Trap()}
        torch.save(content, tmp_path / "x.ckpt")
        refused(words, checkpoint.load, tmp_path / "x.ckpt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_full_size(shapes, tmp_path):
    """A full-size file of the true key list, from disk to a mask."""
    state = {key: torch.from_numpy(np.array(weight(key, shape))) for key, shape in shapes.items()}
    torch.save(state, tmp_path / "v1.pt")
    del state
    model = checkpoint.open_model(tmp_path / "v1.pt")
    assert_alive(model)
    assert set(model.state_dict()) == set(checkpoint.loaded_shapes(Config.v1()))
    answer = model(image(64), model.tokens([49406, 320, 1125, 49407]))
    assert_close(answer.logits, answer.masks[answer.query])
    assert isinstance(model, BiomedParse) and answer.logits.std() > 0
