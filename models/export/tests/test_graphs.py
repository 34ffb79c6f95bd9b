"""Exported files: their tensors, and onnxruntime against PyTorch."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bedside_export import graphs, split
from helpers import PROMPTS, assert_close, error, image


def run(path, feed):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, {k: np.asarray(v) for k, v in feed.items()})))


def entries(tensors):
    return {t["name"]: (t["dtype"], tuple(t["shape"])) for t in tensors}


@pytest.fixture(scope="module")
def prompts(model):
    with torch.no_grad():
        return [model.tokens(ids) for ids in PROMPTS]


@pytest.fixture(scope="module", params=[(64, True), (64, False), (96, True)])
def exported(request, model, tmp_path_factory):
    side, skip = request.param
    folder = tmp_path_factory.mktemp("graphs")
    with torch.no_grad():
        classes = split.class_embeddings(model.text_encoder, [[p] for p in PROMPTS[:3]])
        encoder = split.Encoder(model, side, skip)
        decoder = split.Decoder(model, skip, classes)
        parts = (
            graphs.export_encoder(encoder, folder / "encoder.onnx"),
            graphs.export_decoder(decoder, encoder, folder / "decoder.onnx"),
        )
    return side, encoder, decoder, folder, parts


def test_contract(model, exported):
    side, encoder, decoder, folder, (first, second) = exported
    assert (first["part"], second["part"]) == ("encoder.onnx", "decoder.onnx")
    assert entries(first["inputs"]) == {"image": ("f32", (1, 3, side, side))}
    features = encoder(image(side))
    wanted = {n: ("f32", tuple(f.shape)) for n, f in zip(encoder.names, features)}
    assert entries(first["outputs"]) == wanted
    dim, quarter = model.config.dim, side // 4
    wanted |= {"tokens": ("f32", ("P", "T", dim)), "token_mask": ("f32", ("P", "T"))}
    assert entries(second["inputs"]) == wanted
    answer = {"logits": ("f32", ("P", quarter, quarter)), "score": ("f32", ("P",))}
    assert entries(second["outputs"]) == answer | {"meta": ("f32", ("P", 3))}


def test_files_stand_alone(exported):
    folder = exported[3]
    assert sorted(p.name for p in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    for path in folder.iterdir():
        model = onnx.load(str(path), load_external_data=False)
        assert not model.graph.value_info
        assert [(o.domain, o.version) for o in model.opset_import] == [("", graphs.OPSET)]
        assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Resize", "Upsample", "NonZero", "ScatterND", "If", "Loop", "Not"}
        assert not any(node.doc_string for node in model.graph.node)


def test_onnxruntime(exported, prompts):
    side, encoder, decoder, folder, _ = exported
    masks = []
    for seed in (0, 1):
        frame = image(side, seed)
        wanted = dict(zip(encoder.names, encoder(frame)))
        got = run(folder / "encoder.onnx", {"image": frame})
        assert got.keys() == wanted.keys()
        for name in wanted:
            assert_close(got[name], wanted[name])
        for chosen in (prompts, prompts[:1], prompts[2:5]):
            tokens, mask = split.pad_tokens(chosen)
            feed = got | {"tokens": tokens, "token_mask": mask}
            answer = run(folder / "decoder.onnx", feed)
            for a, b in zip(answer.values(), decoder(*wanted.values(), tokens, mask)):
                assert_close(a, b)
        masks.append(answer["logits"])
    assert error(masks[0], masks[1]) > 1e-2 and error(masks[0][0], masks[0][1]) > 1e-2


def test_text(model, tmp_path):
    entry = graphs.export_text(model.text_encoder, tmp_path / "text.onnx")
    assert entries(entry["inputs"]) == {"input_ids": ("i64", (1, "T"))}
    assert entries(entry["outputs"]) == {"tokens": ("f32", (1, "T", model.config.dim))}
    rows = []
    for ids in PROMPTS:
        feed = {"input_ids": np.array([ids], np.int64)}
        rows.append(run(tmp_path / "text.onnx", feed)["tokens"][0])
        assert_close(rows[-1], model.tokens(ids))
    assert error(rows[0][:3], rows[1][:3]) > 1e-2


def test_padding_does_not_reach_back(model):
    """Tokens behind the end of a text leave the ones before it alone."""
    ids = PROMPTS[1]
    longer = model.tokens(ids + [ids[-1]] * 5)
    assert_close(longer[: len(ids)], model.tokens(ids), 1e-5)
