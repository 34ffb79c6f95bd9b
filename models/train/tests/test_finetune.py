import json
import pathlib
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import box

from bedside_train import (
    addition,
    base,
    batches,
    command,
    finetune,
    forms,
    graft,
    labelled,
    text,
    tuning,
)
from bedside_train.errors import BadInput
from bedside_train.model import Student

ROOT = pathlib.Path(__file__).parents[3]
MASK = box(20, 15, 60, 45)


def options(edge, out, *more, thing="skin lesion", modality="dermoscopy", data="."):
    told = [
        "--start",
        edge,
        "--datasets",
        data,
        "--object",
        thing,
        "--modality",
        modality,
    ]
    return finetune.arguments([str(a) for a in [*told, "--out", out, *more]])


def test_a_prompt_table_is_read_as_it_is():
    with zipfile.ZipFile(ROOT / "models/edge/edge.bedside") as bundle:
        entries = base.read_prompts(bundle.read("prompts.postcard"))
    polyp = next(e for e in entries if e["object"] == "colon polyp")
    assert base.words(polyp) == "polyp in colon endoscope" and polyp["trained"]
    assert not all(e["trained"] for e in entries)
    np.testing.assert_allclose(
        polyp["tokens"], text.tokens(base.words(polyp)), atol=2e-3
    )


def test_prompts_are_written_as_they_were(edge, tmp_path):
    entries = base.Base(edge, tmp_path / "base").entries
    base.write_prompts(entries, tmp_path / "prompts.json")
    listed = json.loads((tmp_path / "prompts.json").read_text())["entries"]
    for mine, theirs in zip(listed, entries):
        assert np.array_equal(np.array(mine["tokens"], np.float32), theirs["tokens"])
        assert {k: v for k, v in mine.items() if k != "tokens"} == {
            k: v for k, v in theirs.items() if k != "tokens"
        }


@pytest.fixture
def start(edge, tmp_path):
    return base.Base(edge, tmp_path / "base")


def test_forms_old_and_new(edge, start, tmp_path):
    known = tuning.form_of(options(edge, tmp_path), start)
    assert known.text == "skin lesion in skin dermoscopy"
    polyp = options(edge, tmp_path, thing="polyp", modality="endoscopy")
    assert tuning.form_of(polyp, start).name == "colon polyp"
    meta = forms.meta_objects()[-1]
    more = ("--site", "neck", "--meta", meta, "--target", "nodule")
    new = options(edge, tmp_path, *more, thing="thyroid nodule", modality="ultrasound")
    form = tuning.form_of(new, start)
    assert form.text == "nodule in neck ultrasound"
    assert forms.meta_objects()[form.meta] == meta


META = ("--meta", "liver")


@pytest.mark.parametrize(
    ("more", "thing", "modality", "said"),
    [
        (META, "thyroid nodule", "ultrasound", "hint: --site"),
        (("--site", "neck"), "thyroid nodule", "ultrasound", "hint: one of liver"),
        (META, "skin lesion", "camera", "--modality camera; hint: one of ct"),
        (("--site", "neck", *META), "x " * 20, "ultrasound", "too long"),
        (
            ("--site", "colon", "--target", "polyp", *META),
            "wart",
            "endoscopy",
            "for 'colon polyp'",
        ),
    ],
)
def test_forms_that_cannot_be(edge, start, tmp_path, more, thing, modality, said):
    with pytest.raises(BadInput, match="hint") as error:
        tuning.form_of(
            options(edge, tmp_path, *more, thing=thing, modality=modality), start
        )
    assert said in str(error.value)


def test_a_folder_serves_one_form(edge, start, tmp_path):
    tuning.identity(
        options(edge, tmp_path), tuning.form_of(options(edge, tmp_path), start)
    )
    other = options(edge, tmp_path, thing="polyp", modality="endoscopy")
    with pytest.raises(BadInput, match="another --out"):
        tuning.identity(other, tuning.form_of(other, start))


def test_a_modality_is_taught_where_frames_go_astray_and_there_alone(edge, start):
    encoder = graft.Encoder(start.folder / "encoder.f32.onnx")
    rng = np.random.default_rng(3)
    weight, bias = (
        rng.normal(size=(10, 320)).astype(np.float32),
        np.zeros(10, np.float32),
    )
    encoder.arrays.update(dict(zip(graft.HEAD, (weight, bias))))
    form = next(t.form for t in forms.trained() if t.form.name == "skin lesion")
    at = forms.MODALITIES.index("dermoscopy")
    right = (
        np.repeat(weight[at][None], 12, 0)
        + rng.normal(size=(12, 320)).astype(np.float32) / 9
    )
    head, told = addition.modality_head(start, form, encoder, right, rng)
    assert told == {"taken for another modality before": 0.0}
    assert np.array_equal(head[0], weight)
    astray = right[:, ::-1].copy() + 3 * weight[0]
    head, told = addition.modality_head(start, form, encoder, astray, rng)
    assert told["taken for another modality before"] == 1 and told["and after"] == 0
    assert told["other places told as before"] > 0.95


@pytest.fixture
def program(monkeypatch, dataset):
    """In place of the `bedside` program: packing zips the folder, all else is well."""

    def say(_, what, *args):
        if what == "phantom":
            rows = [
                (f"{n}.png", "train", "endoscopy", "polyp", "polyp", MASK)
                for n in range(6)
            ]
            dataset("drawn", rows).rename(args[-1])
        if what == "pack":
            with zipfile.ZipFile(args[1], "w") as file:
                file.write(pathlib.Path(args[0]) / "bundle.json", "bundle.json")
        return "passed"

    monkeypatch.setattr(command, "say", say)
    monkeypatch.setattr(command, "program", lambda told: "bedside")
    monkeypatch.setattr(labelled, "LEAST", {"train": 2, "val": 1})
    monkeypatch.setattr(batches, "SIZES", {192: (0.5, 2), 256: (0.5, 2)})


def test_from_frames_to_a_bundle(edge, program, dataset, tmp_path, capsys):
    rows = [
        (f"{n}.png", "train", "dermoscopy", "skin lesion", "mole", MASK)
        for n in range(4)
    ]
    rows += [("8.png", "val", "dermoscopy", "skin lesion", "mole", MASK)]
    rows += [("9.png", "val", "dermoscopy", "skin lesion", "normal", None)]
    out, own = tmp_path / "run", dataset("own", rows)
    told = [
        str(a) for a in ("--start", edge, "--datasets", own, "--out", out, "--frames")
    ]
    told += [
        "4",
        "--object",
        "skin lesion",
        "--modality",
        "dermoscopy",
        "--site",
        "skin",
    ]
    assert finetune.main(told) == 0, capsys.readouterr().err

    said = json.loads((out / "source/bundle.json").read_text())
    assert (
        said["name"] == "edge-skin-lesion" and said["licence"] == "Apache-2.0; own data"
    )
    assert (
        "random; then skin lesion in skin dermoscopy from 4 frames" in said["lineage"]
    )
    assert [f["object"] for f in said["forms"]] == [
        "colon polyp",
        "fetal head",
        "skin lesion",
    ]
    assert set(said["forms"][2]["presence"]) == {"slope", "offset", "threshold"}
    rows = {(d["modality"], d["site"]): d for d in said["familiarity"]["domains"]}
    assert rows["endoscopy", "colon"]["first"] == 0
    skin = rows["dermoscopy", "skin"]
    encoder = graft.Encoder(out / "source/encoder.int8.onnx")
    assert skin["first"] == 5 and skin["first"] + skin["count"] == len(
        encoder.prototypes
    )
    graphs = {g["part"]: g for g in said["graphs"]}
    assert [t["name"] for t in graphs["decoder.f32.onnx"]["inputs"]][-3:] == [
        "pixels.1",
        "keys.1",
        "values.1",
    ]
    outputs = {t["name"]: t["shape"] for t in graphs["encoder.int8.onnx"]["outputs"]}
    assert outputs["distance"] == [1, len(encoder.prototypes)]
    prompts = json.loads((out / "source/prompts.json").read_text())["entries"]
    assert [p["object"] for p in prompts if p["trained"]] == [
        "colon polyp",
        "fetal head",
        "skin lesion",
    ]
    report = json.loads((out / "report.json").read_text())
    for precision in ("f32", "int8"):
        assert report["other prompts"][precision]["largest difference"] == 0
    assert "# What it was" in (out / "source/model-card.md").read_text()
    assert (out / "edge-skin-lesion.bedside").exists()

    # The same command has nothing left to learn.
    before = (out / "train.csv").read_text()
    assert finetune.main(told) == 0
    assert (out / "train.csv").read_text() == before


def test_a_bundle_that_was_taught_before_goes_on(edge, start, tmp_path):
    """The student's own weights are found in it, and branches are not taken for them."""
    text_ = "skin lesion in skin dermoscopy"
    out = tmp_path / "grafted"
    shutil.copytree(start.folder, out)
    torch.manual_seed(7)
    learnt = graft.Branch(Student()).eval()
    image = np.random.default_rng(3).normal(size=(1, 3, 64, 64)).astype(np.float32)
    prompt = graft.mean_row(text.tokens(text_))[None]
    graft.graft(start.folder, learnt, prompt, 0.01, [image], out)
    for e in start.entries:
        e["trained"] |= base.words(e) == text_
    bundle = tmp_path / "taught.bedside"
    with zipfile.ZipFile(bundle, "w") as file:
        for part in out.glob("*.onnx"):
            file.write(part, part.name)
    taught = SimpleNamespace(
        folder=out, bundle=bundle, entries=start.entries, sides=start.sides
    )
    frame = SimpleNamespace(whole=lambda side: image)
    encoder = graft.Encoder(out / "encoder.f32.onnx")
    branch = tuning.branch_of(taught, encoder, [frame, frame])
    wanted = tuning.branch_of(start, encoder, [frame, frame])
    for a, b in zip(branch.decoder.parameters(), wanted.decoder.parameters()):
        assert torch.equal(a, b)


def test_self_tests_of_what_is_taught_anew_go_where_others_stay():
    form = next(t.form for t in forms.trained() if t.form.name == "colon polyp")
    mine, other = "polyp in colon endoscope", "fetal head in transperineal ultrasound"
    tests = [{"prompt": mine}, {"prompt": other}, {"prompt": mine, "side": 192}]
    said = {"input": {"side": 256}, "self_tests": tests}
    assert addition.outdated(said, form) == tests[:1]


def test_a_refusal_is_one_line_and_a_code(edge, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "program", lambda told: "bedside")
    told = [
        "--start",
        str(tmp_path / "none.bedside"),
        "--datasets",
        ".",
        "--object",
        "x",
    ]
    assert finetune.main([*told, "--modality", "ct", "--out", str(tmp_path)]) == 2
    assert "no such file; hint: --start" in capsys.readouterr().err
