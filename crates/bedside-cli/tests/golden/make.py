"""Make the files beside this script. Needs numpy, onnx and Pillow.

* bundle/: the source of a tiny bundle whose masks can be told by eye: an object's token is
  (red, green, blue, bias), its logits are red*R + green*G + blue*B + bias on 4x4 means of the
  frame scaled to 0..1, and its score is the largest logit
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

HERE = pathlib.Path(__file__).parent
SIDE, CELLS = 32, 8


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def save(path, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def ints(name, *values):
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def bundle(out):
    (out / "selftest").mkdir(parents=True, exist_ok=True)
    cell = SIDE // CELLS
    save(
        out / "encoder.onnx",
        [helper.make_node("AveragePool", ["image"], ["pixels"], kernel_shape=[cell] * 2, strides=[cell] * 2)],
        [tensor("image", 1, 3, SIDE, SIDE)],
        [tensor("pixels", 1, 3, CELLS, CELLS)],
    )
    save(
        out / "decoder.onnx",
        [
            helper.make_node("Unsqueeze", ["token_mask", "last"], ["weights"]),
            helper.make_node("Mul", ["tokens", "weights"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "middle"], ["token"], keepdims=0),
            helper.make_node("Slice", ["token", "zero", "three", "middle"], ["colour"]),
            helper.make_node("Slice", ["token", "three", "four", "middle"], ["bias"]),
            helper.make_node("Reshape", ["pixels", "flat"], ["cells"]),
            helper.make_node("MatMul", ["colour", "cells"], ["products"]),
            helper.make_node("Add", ["products", "bias"], ["sums"]),
            helper.make_node("Reshape", ["sums", "square"], ["logits"]),
            helper.make_node("ReduceMax", ["logits"], ["score"], axes=[1, 2], keepdims=0),
        ],
        [
            tensor("pixels", 1, 3, CELLS, CELLS),
            tensor("tokens", "P", "T", 4),
            tensor("token_mask", "P", "T"),
        ],
        [tensor("logits", "P", CELLS, CELLS), tensor("score", "P")],
        [
            ints("zero", 0), ints("middle", 1), ints("last", 2), ints("three", 3), ints("four", 4),
            ints("flat", 3, CELLS * CELLS), ints("square", -1, CELLS, CELLS),
        ],
    )
    entries = [
        ("colon polyp", "endoscopy", "colon", True, [8, -8, 0, -2]),
        ("breast tumor", "ultrasound", "breast", True, [-4, -4, -4, 3]),
        ("fetal head", "ultrasound", "transperineal", True, [4, 4, 4, -8]),
        ("liver", "ct", "abdomen", False, [1, 1, 1, 1]),
    ]
    prompts = {
        "token_dim": 4,
        "entries": [
            {"object": o, "modality": m, "site": s, "trained": t, "tokens": [token]}
            for o, m, s, t, token in entries
        ],
    }
    (out / "prompts.json").write_text(json.dumps(prompts, indent=1) + "\n")

    frame = np.full((SIDE, SIDE, 3), 20, np.uint8)
    frame[8:24, 12:20] = [230, 10, 10]
    (out / "selftest" / "0.rgb").write_bytes(frame.tobytes())
    # Logits of red cells are 8*230/255 - 8*10/255 - 2 = 4.9, of others -2: the edge lies 1.3
    # pixels outside the cells' centres towards the ground, 0.66 pixels outside the red.
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:24, 12:20] = True
    manifest = {
        "format": 1,
        "name": "tiny",
        "version": "1",
        "description": "Colours for objects; for tests alone",
        "licence": "CC-BY-NC-4.0",
        "lineage": "written by hand",
        "input": {"side": SIDE, "mean": [0, 0, 0], "std": [255, 255, 255], "resize": "bilinear"},
        "graphs": [
            {
                "part": "encoder.onnx",
                "inputs": [spec("image", 1, 3, SIDE, SIDE)],
                "outputs": [spec("pixels", 1, 3, CELLS, CELLS)],
            },
            {
                "part": "decoder.onnx",
                "inputs": [
                    spec("pixels", 1, 3, CELLS, CELLS),
                    spec("tokens", "P", "T", 4),
                    spec("token_mask", "P", "T"),
                ],
                "outputs": [spec("logits", "P", CELLS, CELLS), spec("score", "P")],
            },
        ],
        "variants": [{"precision": "f32", "encoder": "encoder.onnx", "decoder": "decoder.onnx"}],
        "default_precision": "f32",
        "thresholds": {"mask_logit": 0.0, "presence": 0.5},
        "self_tests": [
            {
                "part": "selftest/0.rgb",
                "width": SIDE,
                "height": SIDE,
                "prompt": "polyp",
                "mask": runs(mask),
                "min_iou": 0.6,
            }
        ],
    }
    (out / "bundle.json").write_text(json.dumps(manifest, indent=1) + "\n")
    # The same frame as a picture, twice as large and as wide again, for `bedside segment`.
    wide = np.full((64, 128, 3), 20, np.uint8)
    wide[24:40, 80:112] = [230, 10, 10]
    Image.fromarray(wide).save(out.parent / "red-box.png")


def spec(name, *shape):
    return {"name": name, "dtype": "f32", "shape": list(shape)}


def runs(mask):
    """COCO run lengths: column by column, unset first."""
    counts, last, length = [], False, 0
    for value in mask.T.ravel():
        if value != last:
            counts.append(length)
            last, length = value, 0
        length += 1
    return counts + [length]


if __name__ == "__main__":
    bundle(HERE / "bundle")
