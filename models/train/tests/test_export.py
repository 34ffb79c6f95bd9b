import zipfile

import bundles
import numpy as np
import onnx
import pytest
import torch

from bedside_train import calibrate, export, familiar, forms, text
from bedside_train.bundle import session
from bedside_train.model import TOKEN_DIM, Student
from bedside_train.weights import load_start


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(1)
    student = Student().eval()
    with torch.no_grad():  # they start as zeros, which any resize leaves alone
        student.encoder.place.normal_()
        student.encoder.position.normal_()
    return student


def test_one_graph_is_the_network_at_every_side(student, tmp_path):
    export.export_graphs(student, tmp_path)
    encoder, decoder = (
        session(tmp_path / f"{p}.f32.onnx") for p in ("encoder", "decoder")
    )
    tokens, keep = torch.randn(2, 5, TOKEN_DIM), torch.ones(2, 5)
    for side in (64, 96, 160):
        image = torch.randn(1, 3, side, side)
        features = encoder.run(None, {"image": image.numpy()})
        feed = dict(zip(["pixels", "keys", "values"], features))
        got = decoder.run(
            None, {**feed, "tokens": tokens.numpy(), "token_mask": keep.numpy()}
        )
        with torch.no_grad():
            pixels, keys, values = student.encoder(image)
            wanted = student.decoder(pixels, keys[0], values[0], tokens, keep)
        for g, w in zip(got, wanted):
            assert g.shape == w.shape
            np.testing.assert_allclose(g, w.numpy(), atol=2e-3 * float(w.abs().max()))


def test_the_encoder_tells_what_the_frame_is(student, tmp_path):
    rng = np.random.default_rng(1)
    channels = student.encoder.modality_head.in_features
    known = familiar.Familiar(np.eye(channels), rng.normal(size=(5, channels)), {})
    export.export_graphs(student, tmp_path, known=known)
    encoder = session(tmp_path / "encoder.f32.onnx")
    for side in (64, 96):
        image = torch.randn(1, 3, side, side)
        *_, modality, distance = encoder.run(None, {"image": image.numpy()})
        with torch.no_grad():
            levels = student.encoder.backbone(image)
            wanted = student.encoder.modality(levels), known(levels[3].mean((2, 3)))
        for got, want in zip((modality, distance), wanted):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-3)
    (graph, *_), _ = export.described(distances=5)
    assert [t["name"] for t in graph["outputs"]] == [
        o.name for o in encoder.get_outputs()
    ]


def test_a_graph_for_one_side_has_numbers_alone(student, tmp_path):
    export.export_graphs(student, tmp_path, [64])
    (image,) = session(tmp_path / "encoder.f32.onnx").get_inputs()
    assert image.shape == [1, 3, 64, 64]
    (encoder, *_), _ = export.described([64])
    assert all(isinstance(n, int) for t in encoder["outputs"] for n in t["shape"])
    (encoder, *_), _ = export.described()
    assert encoder["outputs"][1]["shape"] == [1, 3, 96, "side/16*side/16"]


def test_forms_of_our_own_name_their_word(monkeypatch):
    monkeypatch.setattr(
        text, "tokens", lambda words: np.zeros((1, TOKEN_DIM), np.float32)
    )
    entries = export.prompt_table()["entries"]
    known = {row["name"] for row in text.ontology()}
    own = {e["object"]: e.get("target") for e in entries if e["object"] not in known}
    assert own["skin lesion"] == "skin lesion" and all(own.values())
    assert sum("target" in e for e in entries) == len(forms.EXTRA)


def test_figures_are_what_the_thresholds_let_through():
    seen = export.Seen(
        dice=[0.9, 0.5], shown=[4.0, -1.0], empty=[-3.0, 2.0], near=[-4.0]
    )
    stated = {"presence": {"slope": 2.0, "offset": -1.0, "threshold": 0.5}}
    found = [seen] + [export.Seen() for _ in forms.trained()[1:]]
    told = export.figures(found, [stated] * len(found))[forms.trained()[0].form.text]
    assert told["dice"] == 0.7 and told["gated"] == 0.45 and told["withheld"] == 0.5
    assert told["empty reported"] == 0.5 and told["near reported"] == 0
    assert told["auroc"] == pytest.approx(5 / 6, abs=1e-3)
    assert calibrate.sigmoid(2.0 * 0.5 - 1.0) == 0.5


def test_the_exporter_withholds_what_the_runtime_does():
    form = forms.trained()[forms.index("polyp", "endoscopy")].form
    at = forms.MODALITIES.index("endoscopy")
    sure, unsure = np.zeros(10, np.float32), np.zeros(10, np.float32)
    sure[at], unsure[at + 1] = 9, 2
    other = np.roll(sure, 1)
    domain = {
        "modality": "endoscopy",
        "site": "colon",
        "first": 1,
        "count": 2,
        "mean": 0.0,
        "std": 1.0,
    }
    familiarity = {"least": 0.01, "domains": [domain]}
    near, far = np.array([99, 1.0, 50]), np.array([0.1, 20.0, 50])
    assert not export.withheld(sure, near, form, familiarity)
    assert not export.withheld(unsure, near, form, familiarity)
    assert export.withheld(other, near, form, familiarity)
    assert export.withheld(sure, far, form, familiarity)
    assert not export.withheld(sure, far, form, {"least": 0.01, "domains": []})


def test_weights_begin_from_a_bundle_as_they_were(edge):
    (image,) = (
        np.random.default_rng(3).normal(size=(1, 1, 3, 64, 64)).astype(np.float32)
    )
    again = Student()
    assert not load_start(again, edge, torch.from_numpy(image))
    wanted = bundles.student()
    tokens, keep = torch.randn(1, 2, 5, TOKEN_DIM), torch.ones(1, 2, 5)
    with torch.no_grad():
        for net in (again.eval(), wanted):
            net.eval()
        got, want = (
            net(torch.from_numpy(image), tokens, keep) for net in (again, wanted)
        )
    for g, w in zip(got, want):
        np.testing.assert_allclose(g, w, atol=5e-3 * float(w.abs().max()))


def test_distances_stay_exact_in_int8(edge, tmp_path):
    with zipfile.ZipFile(edge) as bundle:
        bundle.extract("encoder.int8.onnx", tmp_path)
    nodes = onnx.load(str(tmp_path / "encoder.int8.onnx")).graph.node
    own = [
        n.op_type
        for n in nodes
        if "/known/" in n.name or any("known" in i for i in n.input)
    ]
    assert "Sqrt" in own and not {"QuantizeLinear", "DequantizeLinear"} & set(own)
