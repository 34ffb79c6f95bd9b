"""The command, end to end, on a small network with the true vocabulary size."""

import json
import shutil
import subprocess
import zipfile

import numpy as np
import onnx
import pytest
import torch
from bedside_export import __main__ as command
from bedside_export import (
    checkpoint,
    frames,
    manifest,
    pack,
    precision,
    prompts,
    teachers,
    tokenizer,
)
from bedside_export.errors import ExportError
from bedside_export.runner import Graphs
from bedside_train.bundle import enlarge, sigmoid
from inputs import CONFIG, write
from PIL import Image


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write(tmp_path_factory.mktemp("inputs"), 12)


@pytest.fixture
def program():
    try:
        return pack.program(None)
    except ExportError:
        pytest.skip("no `bedside` program; cargo build --release --bin bedside")


def arguments(inputs, out, *more):
    args = command.arguments(
        ["--checkpoint", str(inputs / "small.pt"), "--tokenizer", str(inputs / "clip")]
        + ["--out", str(out), "--size", "64", *more]
    )
    args.config = CONFIG
    return args


def packed(program, source, report, out):
    """In place of packing: the report is put beside the bundle that is not made."""
    shutil.copytree(report, out.with_suffix(".report"), dirs_exist_ok=True)
    return "packed"


@pytest.fixture(scope="module")
def source(inputs, tmp_path_factory):
    """The unpacked source of every precision; packing is replaced by nothing."""
    folder = tmp_path_factory.mktemp("source")
    args = arguments(
        inputs,
        folder / "small.bedside",
        "--precision",
        "f32,f16,int8",
        "--meta",
        "--calibrate",
        str(inputs / "frames"),
        "--keep",
        str(folder / "kept"),
        "--sensitivity",
        "--allow-poor-int8",
        "--target-dist",
        str(target_dist(folder)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "program", lambda told: "bedside")
        patch.setattr(pack, "pack", packed)
        command.export(args)
    return folder


def target_dist(folder):
    path = folder / "target_dist.json"
    beta = [[80.0, 3.0], [9.0, 2.0], [7.0, 8.0], [5.0, 10.0]]
    path.write_text(json.dumps({"Endoscopy": {"polyp": beta}, "Dermoscopy": {"lesion": beta}}))
    return path


@pytest.mark.export
def test_every_precision_answers_and_says_how_well(source):
    report = json.loads((source / "small.report/report.json").read_text())
    assert report["self_tests"]["candidates"] > 2 and len(report["self_tests"]["chosen"]) == 2
    assert set(report["precisions"]) == {"f32", "f16", "int8"}
    for precision_, least in (("f16", 0.95), ("int8", 0.8)):
        entry = report["precisions"][precision_]
        assert len(entry["prompts"]) == 5
        for row in entry["prompts"].values():
            # Single logits prove little here: one that rounds across 0 changes what a layer
            # attends. No error at all would mean that nothing was converted.
            assert row["largest_error"] > 0
            assert row["dice"]["mean"] > least
    assert report["precisions"]["f16"]["share_of_f32"] < 0.6
    notes = report["precisions"]["int8"]["notes"]
    assert set(notes["logit error by way"]) == {"dynamic", "static"}
    assert notes["sensitivity"]
    assert json.loads((source / "kept/report.json").read_text()) == report, "the bundle has it too"
    page = (source / "small.report/report.html").read_text()
    assert page.count("<img") == 16 or page.count("<img") == 8


@pytest.mark.export
def test_the_report_knows_which_query_answered(inputs, source):
    """As the plain network has it, on frames and prompts where several queries win."""
    model = checkpoint.open_model(inputs / "small.pt", CONFIG)
    kept = source / "kept"
    graphs = Graphs(kept / "encoder.f32.onnx", kept / "decoder.f32.onnx", 64)
    entries = json.loads((kept / "prompts.json").read_text())["entries"][::9]
    rows = [np.array(e["tokens"], np.float32) for e in entries]
    seen = set()
    for seed in range(3):
        frame = frames.synthetic(seed)
        image = torch.from_numpy(frames.encoder_input(frame, 64))
        wanted = [model(image, torch.from_numpy(r)).query for r in rows]
        assert graphs(frame, rows)["query"].tolist() == wanted
        seen |= set(wanted)
    assert len(seen) > 1


@pytest.mark.export
def test_poor_int8_stays_out_of_the_bundle(inputs, tmp_path, monkeypatch, capsys):
    """Random weights lose much in int8; the f32 that was asked for is written."""
    monkeypatch.setattr(pack, "program", lambda told: "bedside")
    monkeypatch.setattr(pack, "pack", lambda *_: "packed")
    more = ["--precision", "f32,int8", "--calibrate", str(inputs / "frames")]
    more += ["--keep", str(tmp_path / "kept")]
    assert command.export(arguments(inputs, tmp_path / "x.bedside", *more)) == 3
    assert "int8 is left out of the bundle: mean Dice" in capsys.readouterr().err
    said = json.loads((tmp_path / "kept/bundle.json").read_text())
    assert [v["precision"] for v in said["variants"]] == ["f32"]
    assert not list((tmp_path / "kept").glob("*int8*"))
    report = json.loads((tmp_path / "kept/report.json").read_text())
    assert "mean Dice" in report["precisions"]["int8"]["notes"]["left out"]


@pytest.mark.export
def test_the_manifest_tells_what_the_runtime_needs(source):
    said = json.loads((source / "kept/bundle.json").read_text())
    assert said["format"] == 2
    assert said["licence"] == "CC-BY-NC-SA-4.0"
    assert said["orientation"] == [{"modality": "ultrasound", "site": "heart", "transpose": True}]
    assert {w["site"] for w in said["windows"]} >= {"abdomen", "lung", "liver"}
    assert said["input"]["mean"] == [123.675, 116.28, 103.53] and said["input"]["side"] == 64
    validity = {(v["object"], v["precision"]) for v in said["validity"]}
    assert validity == {("colon polyp", p) for p in ("f32", "f16", "int8")}
    assert any(0 < sum(t["mask"][1::2]) for t in said["self_tests"])
    table = json.loads((source / "kept/prompts.json").read_text())
    assert table["token_dim"] == 64 and len({e["object"] for e in table["entries"]}) == 82
    assert len(said["meta_objects"]) == 15


@pytest.mark.export
def test_weights_are_int8_where_the_report_says_so(source):
    graph = onnx.load(source / "kept/encoder.int8.onnx").graph
    kinds = {n.op_type for n in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert not any(i.data_location for i in graph.initializer), "no external data"


@pytest.mark.export
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_sums_of_squares_stay_in_f32(source, half):
    path = source / f"kept/{half}.f16.onnx"
    onnx.checker.check_model(str(path), full_check=True)  # types of every operator, too
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in graph.value_info}
    kinds |= {i.name: i.data_type for i in graph.initializer}
    norms = [n for n in graph.node if n.op_type in precision.SUMS]
    assert "LayerNormalization" in {n.op_type for n in norms}
    for node in norms:
        found = {kinds[name] for name in [*node.input, *node.output] if name}
        assert found <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}, node.name
    sizes = {k: 0 for k in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)}
    for weight in graph.initializer:
        if weight.data_type in sizes:
            sizes[weight.data_type] += len(weight.raw_data)
    assert sizes[onnx.TensorProto.FLOAT16] > 9 * sizes[onnx.TensorProto.FLOAT]


@pytest.mark.export
def test_the_bundle_round_trips(inputs, tmp_path, program):
    """tract passes the self-tests at every precision; one altered byte and nothing passes."""
    out = tmp_path / "small.bedside"
    more = ["--precision", "f32,f16,int8", "--calibrate", str(inputs / "frames")]
    more += ["--allow-poor-int8"]
    command.export(arguments(inputs, out, *more))
    said = subprocess.run([program, "verify", str(out)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert all(f" {p} " in said.stdout for p in ("f32", "f16", "int8"))

    with zipfile.ZipFile(out) as bundle:
        manifest_, stored = json.loads(bundle.read("manifest.json")), bundle.read(
            "prompts.postcard"
        )
    words = tokenizer.build(inputs / "clip")
    model = checkpoint.open_model(inputs / "small.pt", CONFIG)
    tokens = prompts.encoder(model.text_encoder, words)("polyp in colon endoscope")
    assert manifest_["format"] == 2 and tokens.astype("<f4").tobytes() in stored, "tokens are exact"

    frame, prompt = frames.synthetic(3, 96), "polyp in colon endoscope"
    answers = []
    for teacher in (
        teachers.BundleTeacher(out, tmp_path / "unpacked"),
        teachers.CheckpointTeacher(inputs / "small.pt", words, 64, CONFIG),
    ):
        answers.append(teacher(frame, [teacher.encode(prompt)])[1])
    assert precision.relative_error(*answers) < 1e-2, "a bundle teaches as its checkpoint does"

    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    assert subprocess.run([program, "verify", str(out)]).returncode != 0


@pytest.mark.export
def test_int8_alone_makes_a_bundle(inputs, tmp_path, program):
    out, kept = tmp_path / "small.bedside", tmp_path / "kept"
    more = ["--precision", "int8", "--calibrate", str(inputs / "frames"), "--keep", str(kept)]
    command.export(arguments(inputs, out, *more, "--allow-poor-int8"))
    assert out.exists()
    graphs = {p.name for p in kept.glob("*.onnx")}
    assert graphs == {"encoder.int8.onnx", "decoder.int8.onnx", "text.onnx"}


@pytest.mark.export
def test_ranges_are_calibrated_once_for_every_way(source, tmp_path):
    """Ranges from another call give the same graph, and no frame is run again."""
    path, ranges = source / "kept/encoder.f32.onnx", tmp_path / "ranges.json"
    feeds = [{"image": frames.encoder_input(frames.synthetic(i), 64)} for i in range(2)]
    ways = [("Conv",), ("Conv", "MatMul")]
    for i, static in enumerate(ways):
        precision.to_int8(path, tmp_path / f"{i}.alone.onnx", feeds, static)
        given = [] if ranges.exists() else feeds
        precision.to_int8(path, tmp_path / f"{i}.shared.onnx", given, static, ranges=ranges)
        alone, shared = (tmp_path / f"{i}.{name}.onnx" for name in ("alone", "shared"))
        assert alone.read_bytes() == shared.read_bytes()
    assert (tmp_path / "0.shared.onnx").stat().st_size != shared.stat().st_size


@pytest.mark.parametrize(
    "more, words",
    [
        (["--size", "100"], ["--size", "multiple of 32"]),
        (["--precision", "int4"], ["int4", "f32, f16, int8"]),
        (["--precision", "f32,f32"], ["each once"]),
        (["--precision", "int8"], ["--calibrate"]),
        (["--labelled", "a", "--target-dist", "b"], ["choose one"]),
        (["--labelled", "/nowhere"], ["/nowhere/manifest.csv", "modality"]),
        (["--out", "nowhere/x.bedside"], ["NAME.bedside"]),
        (["--out", "x.onnx"], ["NAME.bedside"]),
        (["--bedside", "/no/such/program"], ["cargo build"]),
        (["--tokenizer", "/nowhere"], ["vocab.json", "clip-vit-base-patch32"]),
        (["--checkpoint", "/nowhere.pt"], ["no such file"]),
        (["--checkpoint", "/dev"], ["/dev", "one checkpoint", "none", "vocab.json"]),
        (["--frames", "3"], ["--frames 3", "4"]),
        (["--precision", "f32,int8", "--calibrate", "/nowhere"], ["no such folder"]),
    ],
)
def test_bad_input_is_refused_in_one_line(inputs, tmp_path, capsys, monkeypatch, more, words):
    if "--bedside" not in more:
        monkeypatch.setattr(pack, "program", lambda told: "bedside")
    base = ["--checkpoint", str(inputs / "small.pt"), "--tokenizer", str(inputs / "clip")]
    base += ["--out", str(tmp_path / "x.bedside")]
    assert command.main([*base, *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and all(w in said for w in words), said
    assert not list(tmp_path.iterdir()), "nothing half-written"


@pytest.mark.parametrize("fails", ["pack", "verify"])
def test_a_bundle_that_fails_on_the_device_replaces_nothing(tmp_path, fails):
    program = tmp_path / "bedside"
    program.write_text(
        f'#!/bin/sh\n[ $1 = pack ] && echo new > "$3"\n'
        f'[ $1 = {fails} ] && echo "error: 1 of 2 failed" >&2 && exit 4\nexit 0\n'
    )
    program.chmod(0o755)
    for name in ("source", "report"):
        (tmp_path / name).mkdir()
    bundle = tmp_path / "x.bedside"
    bundle.write_text("old")
    with pytest.raises(ExportError, match=f"bedside {fails}: error: 1 of 2 failed"):
        pack.pack(program, tmp_path / "source", tmp_path / "report", bundle)
    assert bundle.read_text() == "old"
    there = sorted(p.name for p in tmp_path.iterdir())
    assert there == ["bedside", "report", "source", "x.bedside"]


def test_labels_are_checked_before_minutes_are_spent(tmp_path):
    table = tmp_path / "manifest.csv"
    for text, words in (
        ("file,mask,split,object\na.png,b.png,train,polyp\n", "column is missing"),
        ("file,mask,split,modality,object\na.png,b.png,val,endoscopy,polyp\n", "no masks"),
        ("file,mask,split,modality,object\na.png,b.png,train,endoscopy,dragon\n", "dragon"),
    ):
        table.write_text(text)
        with pytest.raises(ExportError, match=words):
            manifest.check_labelled(tmp_path)


def test_calibration_folders_without_enough_pictures_are_refused(inputs, tmp_path):
    with pytest.raises(ExportError, match="no pictures"):
        frames.folder(tmp_path, 3)
    for i in range(3):
        Image.fromarray(frames.synthetic(i, 32)).save(tmp_path / f"{i}.png")
    few = arguments(inputs, tmp_path / "x.bedside", "--precision", "int8", "--calibrate", "x")
    few.calibrate, few.bedside = tmp_path, "true"
    with pytest.raises(ExportError, match="3 frames.*hint: 4"):
        command.export(few)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ExportError, match=r"broken\.png"):
        frames.folder(tmp_path, 9)


def test_the_comparer_refuses_what_would_hide_an_error():
    with pytest.raises(ValueError):
        precision.relative_error([np.nan], [1.0])
    with pytest.raises(ValueError):
        precision.relative_error([1.0], [0.0])
    assert precision.relative_error([1.0, 2.5], [1.0, 2.0]) == 0.25


def test_frames_are_padded_to_a_square_with_black():
    wide = np.full((3, 8, 3), 200, np.uint8)
    padded = frames.square(wide)
    assert padded.shape == (8, 8, 3)
    assert (padded[2:5] == 200).all() and not padded[:2].any() and not padded[5:].any()


def test_references_without_a_form_are_told(tmp_path):
    rows, left = manifest.carried(target_dist(tmp_path), ["f32"])
    assert [r["object"] for r in rows] == ["colon polyp"]
    assert left == ["Dermoscopy: lesion"]
    (tmp_path / "bad.json").write_text('{"OCT": {"edema": [[1, 2]]}}')
    with pytest.raises(ExportError, match="Beta"):
        manifest.carried(tmp_path / "bad.json", ["f32"])


def labelled(folder, graphs, row, count=12):
    """A folder whose truth is the network's own masks, and the statistics inside them."""
    (folder / "images").mkdir()
    lines, inside = ["file,mask,split,modality,object"], []
    for i in range(count):
        frame = frames.synthetic(i, 96)
        up = enlarge(graphs(frame, [row])["logits"][0], 96)
        Image.fromarray(frame).save(folder / f"images/{i}.png")
        Image.fromarray(((up > 0) * 255).astype(np.uint8)).save(folder / f"images/{i}.mask.png")
        lines.append(f"images/{i}.png,images/{i}.mask.png,train,endoscopy,polyp")
        inside.append([sigmoid(up[up > 0]).mean() * 255 / 256, *(frame[up > 0].mean(0) / 256)])
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return np.array(inside)


@pytest.mark.export
def test_references_are_fitted_on_correct_masks(source, tmp_path):
    kept = source / "kept"
    graphs = Graphs(kept / "encoder.f32.onnx", kept / "decoder.f32.onnx", 64)
    entries = json.loads((kept / "prompts.json").read_text())["entries"]
    tokens = {
        (e["object"], e["modality"], e["site"]): np.array(e["tokens"], np.float32) for e in entries
    }
    inside = labelled(tmp_path, graphs, tokens["colon polyp", "endoscopy", "colon"])
    (row,) = manifest.fitted(tmp_path, "f32", graphs, tokens)
    assert (row["object"], row["site"], row["precision"]) == ("colon polyp", "colon", "f32")
    for name, values in zip(manifest.STATISTICS, inside.T):
        a, b = row[name]
        assert a / (a + b) == pytest.approx(values.mean(), abs=1e-4)
        spread = a * b / ((a + b) ** 2 * (a + b + 1))
        assert spread == pytest.approx(values.var(ddof=1), rel=0.01)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    (tmp_path / "manifest.csv").write_text("\n".join(lines[:4]))
    with pytest.raises(ExportError, match="fewer than 10"):
        manifest.fitted(tmp_path, "f32", graphs, tokens)
    with pytest.raises(ExportError, match=r"names \d forms"):
        manifest.form_of({"modality": "ct", "object": "tumor"}, tmp_path)


@pytest.mark.export
def test_protect_spends_no_more_than_the_share_allows(source):
    path = source / "kept/encoder.f32.onnx"
    parts = precision.groups(onnx.load(str(path)))
    table = [(p, n, 1.0 / (i + 1)) for i, (p, n) in enumerate(parts.items())]
    assert precision.protect(path, table, 0.26) == [] or set(
        precision.protect(path, table, 0.26)
    ) < set(precision.protect(path, table, 0.6))
    assert set(precision.protect(path, table, 1.0)) == set(precision.weighted(onnx.load(str(path))))
