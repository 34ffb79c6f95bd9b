import numpy as np
import onnx
import pytest
import torch

import bundles
from bedside_train import base, export, forms, graft, text

SKIN, LUNG = "skin lesion in skin dermoscopy", "lung in chest x-ray"


def image(side, seed=1):
    return (
        np.random.default_rng(seed).normal(size=(1, 3, side, side)).astype(np.float32)
    )


def branch(seed):
    """Of other weights than the bundle's."""
    torch.manual_seed(seed)
    found = graft.Branch(bundles.student())
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.1 * torch.randn_like(p) * p.abs().mean())
    return found.eval()


def grafted(folder, learnt, words, out):
    out.mkdir()
    prompt = graft.mean_row(text.tokens(words))[None]
    others = np.array([graft.mean_row(text.tokens(t.form.text)) for t in forms.trained()
                       if t.form.text != words])  # fmt: skip
    radius = graft.reach(prompt, others)
    return graft.graft(folder, learnt, prompt, radius, [image(64), image(96)], out)


@pytest.fixture(scope="module")
def folders(edge, tmp_path_factory):
    """The bundle's graphs; with a branch for skin lesions; with another for lungs behind it."""
    made = tmp_path_factory.mktemp("graft")
    first = base.Base(edge, made / "base").folder
    parts = [
        grafted(first, branch(5), SKIN, made / "one"),
        grafted(made / "one", branch(6), LUNG, made / "two"),
    ]
    assert parts == ["own.1", "own.2"]
    return first, made / "one", made / "two"


def asked(folder, precision, side, words):
    model = export.Model(folder, precision)
    return model.decode(model.look(image(side)), [text.tokens(w) for w in words])


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_other_prompts_are_answered_bit_for_bit(folders, precision):
    words = [t.form.text for t in forms.trained() if t.form.text not in (SKIN, LUNG)]
    for side in (64, 96):
        plain, one, two = (asked(f, precision, side, words) for f in folders)
        for a, b, c in zip(plain, one, two):
            assert a.std() > 0
            assert np.array_equal(a, b) and np.array_equal(a, c)


def test_its_own_prompt_is_answered_by_the_branch(folders):
    for side in (64, 96):
        levels, _ = graft.Encoder(folders[0] / "encoder.f32.onnx")(image(side))
        tokens, keep = (
            torch.from_numpy(a)[None] for a in text.pad([text.tokens(SKIN)])
        )
        with torch.no_grad():
            wanted = branch(5)([torch.from_numpy(a) for a in levels], tokens, keep)
        for folder in folders[1:]:
            got = asked(folder, "f32", side, ["liver in abdomen ct", SKIN])
            for g, w in zip(got, wanted):
                w = w[0, 0].numpy()
                np.testing.assert_allclose(g[1], w, atol=2e-3 * float(np.abs(w).max()))
        assert not np.allclose(
            got[0][1], asked(folders[0], "f32", side, [SKIN])[0][0], atol=0.1
        )


def test_int8_answers_about_as_f32(folders):
    for words in (SKIN, LUNG):
        exact, near = (asked(folders[2], p, 96, [words])[0] for p in ("f32", "int8"))
        assert np.corrcoef(exact.ravel(), near.ravel())[0, 1] > 0.9


def test_a_branch_reads_what_is_quantised_already(folders):
    graph = onnx.load(str(folders[1] / "encoder.int8.onnx")).graph
    makers = {o: n.op_type for n in graph.node for o in n.output}
    read = {
        i
        for n in graph.node
        if n.name.startswith("/own.1/lateral")
        for i in n.input[:1]
    }
    levels = set(graft.level_names(onnx.load(str(folders[0] / "encoder.int8.onnx"))))
    assert levels <= read and all(makers[name] == "DequantizeLinear" for name in levels)


def test_prototypes_are_added_and_the_head_is_another(folders, tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes((folders[0] / "encoder.int8.onnx").read_bytes())
    before = graft.Encoder(path)
    rng = np.random.default_rng(8)
    more = rng.normal(size=(2, 320)).astype(np.float32)
    head = rng.normal(size=(10, 320)).astype(np.float32), np.ones(10, np.float32)
    graft.extend(path, more, head)
    after = graft.Encoder(path)
    np.testing.assert_allclose(after.prototypes[5:], more, rtol=1e-6)
    (_, old), (_, new) = before(image(64)), after(image(64))
    assert np.array_equal(old["distance"][0], new["distance"][0, :5])
    y = new["pooled"] @ after.arrays[graft.WHITENING]
    np.testing.assert_allclose(
        new["distance"][0, 5:], np.linalg.norm(y - more, axis=1), rtol=1e-3
    )
    np.testing.assert_allclose(
        new["modality"], new["pooled"] @ head[0].T + 1, rtol=1e-3, atol=1e-3
    )


def test_a_form_reaches_half_way_to_the_next():
    own, others = np.array([[0.0, 0.0]]), np.array([[8.0, 0.0], [0.0, 6.0]])
    assert graft.reach(own, others) == 3
