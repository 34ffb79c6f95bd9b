"""Make the files that the tests compare with: ``python make.py`` (needs numpy and onnx).

An independent second writer of the format: the archive by Python's zipfile, the prompt table
by a few lines of postcard. ``source/`` is what an exporter writes, ``golden.bedside`` what
packing it must give, byte for byte; ``prompts-2.postcard`` its prompt table in format 2.
"""

import hashlib
import json
import pathlib
import shutil
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
SIDE, DIM, OPSET = 8, 4, [helper.make_opsetid("", 17)]
MODALITIES = "ct mri x-ray ultrasound pathology endoscopy dermoscopy fundus oct".split()


# Graphs -----------------------------------------------------------------------------------


def value(name, *shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(graph, path, **kwargs):
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=8, **kwargs)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return model


def encoder(path):
    weight = numpy_helper.from_array(np.linspace(-1, 1, 4 * 3, dtype=np.float32).reshape(4, 3, 1, 1), "w")
    conv = helper.make_node("Conv", ["image", "w"], ["pixels"], strides=[4, 4])
    inputs, outputs = [value("image", 1, 3, SIDE, SIDE)], [value("pixels", 1, 4, 2, 2)]
    save(helper.make_graph([conv], "encoder", inputs, outputs, [weight]), path)


def decoder(path):
    nodes = [
        helper.make_node("Unsqueeze", ["token_mask", "two"], ["keep"]),
        helper.make_node("Mul", ["tokens", "keep"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["query"], keepdims=0),
        helper.make_node("Reshape", ["pixels", "flat"], ["keys"]),
        helper.make_node("MatMul", ["query", "keys"], ["products"]),
        helper.make_node("Reshape", ["products", "map"], ["logits"]),
        helper.make_node("ReduceMax", ["products"], ["score"], axes=[1], keepdims=0),
    ]
    constants = {"one": [1], "two": [2], "flat": [4, 4], "map": [-1, 2, 2]}
    initializers = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()]
    inputs = [value("pixels", 1, 4, 2, 2), value("tokens", "P", "T", DIM), value("token_mask", "P", "T")]
    outputs = [value("logits", "P", 2, 2), value("score", "P")]
    save(helper.make_graph(nodes, "decoder", inputs, outputs, initializers), path)


def outside(tensor):
    """The same tensor with its values said to be in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def external_graphs(folder):
    x, y = value("x", 2), value("y", 2)
    two = lambda: numpy_helper.from_array(np.ones(2, np.float32), "weights")  # noqa: E731

    def model(graph, **kwargs):
        return helper.make_model(graph, opset_imports=OPSET, ir_version=8, **kwargs)

    add = helper.make_node("Add", ["x", "weights"], ["y"])
    graphs = {"initializer": model(helper.make_graph([add], "g", [x], [y], [outside(two())]))}

    constant = helper.make_node("Constant", [], ["y"], value=outside(two()))
    graphs["constant"] = model(helper.make_graph([constant], "g", [x], [y]))

    branch = helper.make_graph([constant], "branch", [], [y])
    condition = value("c", dtype=TensorProto.BOOL)
    pick = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graphs["branch"] = model(helper.make_graph([pick], "g", [condition], [y]))

    function = helper.make_function("own", "F", [], ["y"], [constant], OPSET)
    call = helper.make_node("F", [], ["y"], domain="own")
    graphs["function"] = model(helper.make_graph([call], "g", [x], [y]), functions=[function])

    indices = numpy_helper.from_array(np.arange(2, dtype=np.int64), "i")
    sparse = helper.make_sparse_tensor(outside(two()), indices, [2])
    graphs["sparse"] = model(helper.make_graph([add], "g", [x], [y], sparse_initializer=[sparse]))

    training = model(helper.make_graph([add], "g", [x], [y], [two()]))
    training.training_info.add().algorithm.CopyFrom(helper.make_graph([constant], "step", [], [y]))
    graphs["training"] = training

    # No flag, but a file all the same: readers differ on which of the two counts.
    tensor = outside(two())
    tensor.ClearField("data_location")
    graphs["location_only"] = model(helper.make_graph([add], "g", [x], [y], [tensor]))
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString(deterministic=True))


# Prompt table -----------------------------------------------------------------------------


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def blob(data):
    return varint(len(data)) + data


def postcard(table, targets, version=1):
    out = bytes([version]) + varint(table["token_dim"]) + varint(len(table["entries"]))
    for e in table["entries"]:
        for text in (e["object"], targets[e["object"]]):
            out += blob(text.encode())
        out += varint(MODALITIES.index(e["modality"]))
        for text in (e["site"], e["acquisition"]):
            out += blob(text.encode())
        out += bytes([e["trained"]]) + varint(len(e["tokens"]))
        out += blob(np.array(e["tokens"], np.float32).astype({1: "<f2", 2: "<f4"}[version]).tobytes())
    return out


# Bundle -----------------------------------------------------------------------------------


def tensor(name, *shape):
    return {"name": name, "dtype": "f32", "shape": list(shape)}


def info(name, mode=0o100644):
    i = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    i.create_system, i.external_attr = 3, mode << 16
    return i


def source(folder):
    (folder / "selftest").mkdir(parents=True)
    encoder(folder / "encoder.f32.onnx")
    encoder(folder / "encoder.int8.onnx")
    decoder(folder / "decoder.f32.onnx")
    (folder / "model-card.md").write_text("A model of four pixels.\n")
    for i in range(2):
        (folder / f"selftest/{i}.rgb").write_bytes(bytes((7 * i + n) % 256 for n in range(6 * 5 * 3)))

    rows = [
        ("colon polyp", "endoscopy", "colon", "", True, 2),
        ("left heart ventricle", "ultrasound", "heart", "", False, 1),
        ("brain tumor core", "mri", "brain", "FLAIR", False, 3),
        ("brain tumor core", "mri", "brain", "T1-Gd", False, 1),
    ]
    rng = np.random.default_rng(0)
    table = {
        "token_dim": DIM,
        "entries": [
            {
                "object": o, "modality": m, "site": s, "acquisition": a, "trained": t,
                "tokens": [[round(float(v), 4) for v in r] for r in rng.normal(size=(n, DIM))],
            }
            for o, m, s, a, t, n in rows
        ],
    }  # fmt: skip
    targets = {"colon polyp": "polyp", "brain tumor core": "tumor core"}
    targets["left heart ventricle"] = "left heart ventricle"

    pixels = tensor("pixels", 1, 4, 2, 2)
    image = tensor("image", 1, 3, SIDE, SIDE)
    prompt = [tensor("tokens", "P", "T", DIM), tensor("token_mask", "P", "T")]
    answer = [tensor("logits", "P", 2, 2), tensor("score", "P")]
    manifest = {
        "format": 1,
        "name": "tiny",
        "version": "0.1.0",
        "description": "Four pixels, for tests",
        "licence": "Apache-2.0",
        "lineage": "make.py",
        "input": {
            "side": SIDE,
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "resize": "bicubic",
        },
        "graphs": [
            {"part": "encoder.f32.onnx", "inputs": [image], "outputs": [pixels]},
            {"part": "encoder.int8.onnx", "inputs": [image], "outputs": [pixels]},
            {"part": "decoder.f32.onnx", "inputs": [pixels, *prompt], "outputs": answer},
        ],
        "variants": [
            {"precision": p, "encoder": f"encoder.{p}.onnx", "decoder": "decoder.f32.onnx"}
            for p in ("f32", "int8")
        ],
        "default_precision": "f32",
        "thresholds": {"mask_logit": 0.0, "presence": 0.5},
        "orientation": [{"modality": "ultrasound", "site": "heart", "transpose": True}],
        "validity": [
            {
                "object": "brain tumor core", "modality": "mri", "site": "brain",
                "acquisition": "FLAIR", "precision": "f32", "prob": [80.5, 2.25],
                "red": [3.0, 4.0], "green": [3.0, 4.0], "blue": [3.0, 4.0],
            }
        ],
        "meta_objects": [],
        "self_tests": [
            {"part": "selftest/0.rgb", "width": 6, "height": 5, "prompt": "polyp",
             "mask": [6, 3, 2, 3, 16], "min_iou": 0.5},
            {"part": "selftest/1.rgb", "width": 6, "height": 5, "prompt": "left heart ventricle",
             "mask": [30], "min_iou": 1.0},
        ],
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(manifest, indent=1))
    (folder / "prompts.json").write_text(json.dumps(table))
    return manifest, [postcard(table, targets, version) for version in (1, 2)]


def golden(folder, path):
    manifest, (prompts, exact) = source(folder)
    path.with_name("prompts-2.postcard").write_bytes(exact)
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".json"]
    parts = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
    parts["prompts.postcard"] = prompts
    parts = dict(sorted(parts.items()))
    manifest["parts"] = [
        {"name": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()}
        for n, b in parts.items()
    ]
    head = {"manifest.json": (json.dumps(manifest, indent=2) + "\n").encode()}
    with zipfile.ZipFile(path, "w") as z:
        for name, data in (head | parts).items():
            z.writestr(info(name), data)


def hostile(folder):
    """Archives of two entries that break one rule each, named after the error they must get."""

    def archive(name, entry, data=b"x" * 64, **kwargs):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as z:
            z.writestr(info("manifest.json"), b"{}")
            z.writestr(entry, data, **kwargs)
            return z

    archive("Compressed-deflate", info("part"), compress_type=zipfile.ZIP_DEFLATED)
    archive("Link-symlink", info("part", 0o120777), b"/etc/passwd")
    archive("Link-folder", info("part", 0o040755), b"")
    archive("PartName-dots", info("a/../../part"))
    archive("PartName-absolute", info("/etc/part"))
    archive("PartName-backslash", info("a\\part"))
    archive("PartName-slash", info("folder/"), b"")
    archive("Duplicate-case", info("Manifest.JSON"))
    extra = info("part")
    extra.extra = b"\x99\x99\x00\x00"
    archive("Archive-extra", extra)
    late = zipfile.ZipInfo("part", (2024, 1, 1, 0, 0, 0))
    late.external_attr = 0o100644 << 16
    archive("Archive-date", late)
    with zipfile.ZipFile(folder / "Archive-comment.zip", "w") as z:
        z.writestr(info("manifest.json"), b"{}")
        z.comment = b"hello"
    with zipfile.ZipFile(folder / "Archive-zip64.zip", "w") as z:
        with z.open(info("manifest.json"), "w", force_zip64=True) as f:
            f.write(b"{}")
    with zipfile.ZipFile(folder / "Archive-order.zip", "w") as z:
        z.writestr(info("part"), b"x")
        z.writestr(info("manifest.json"), b"{}")
    (folder / "Archive-empty.zip").write_bytes(b"PK\5\6" + bytes(18))


def main():
    for name in ("source", "hostile", "onnx"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
    golden(HERE / "source", HERE / "golden.bedside")
    external_graphs(HERE / "onnx")
    hostile(HERE / "hostile")


if __name__ == "__main__":
    main()
