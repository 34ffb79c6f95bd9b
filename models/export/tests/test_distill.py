"""The student comes nearer to a small random teacher on frames that it did not learn from."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bedside_export import distill, frames, pack, student, teachers
from bedside_export.errors import ExportError
from bedside_train import data
from inputs import CONFIG, write

PROMPTS = ["polyp in colon endoscope", "tumor in breast ultrasound"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write(tmp_path_factory.mktemp("distill"), 40)


def arguments(inputs, *more):
    prompts = [word for p in PROMPTS for word in ("--prompt", p)]
    return distill.arguments(
        ["--teacher", str(inputs / "small.pt"), "--tokenizer", str(inputs / "clip")]
        + ["--frames", str(inputs / "frames"), "--run", str(inputs / "run")]
        + ["--out", str(inputs / "student.bedside"), "--size", "64", "--side", "64"]
        + ["--batch", "8", "--save-every", "30", "--from-scratch", *prompts, *more]
    )


def packed(program, source, report, out):
    shutil.copytree(report, out.with_suffix(".report"), dirs_exist_ok=True)
    return "packed"


@pytest.fixture(autouse=True)
def unpacked(monkeypatch):
    monkeypatch.setattr(pack, "program", lambda told: "bedside")
    monkeypatch.setattr(pack, "pack", packed)


@pytest.mark.export
def test_error_on_held_out_frames_falls_and_a_run_resumes(inputs, monkeypatch):
    with torch.enable_grad():
        before, middle = distill.distill(arguments(inputs, "--steps", "60"), CONFIG)
        remembered = sorted((inputs / "run/teacher").iterdir())
        assert len(remembered) == 40
        # The teacher is not asked again, and the run goes on from its last step.
        monkeypatch.setattr(teachers.CheckpointTeacher, "__call__", None)
        first, after = distill.distill(arguments(inputs, "--steps", "120"), CONFIG)
    assert first == before
    assert torch.load(inputs / "run/last.pt", weights_only=True)["step"] == 120
    assert middle["error"] < before["error"] and after["error"] < middle["error"]
    assert after["dice"] > before["dice"]
    report = json.loads((inputs / "student.report/report.json").read_text())
    assert "Held-out frames" in report["facts"][0]
    assert set(report["precisions"]) == {"f32", "int8"}


@pytest.mark.parametrize("side", [64, 256])
def test_the_student_sees_frames_as_the_runtime_resizes_them(side):
    """Bilinear, widened when shrinking, as the bundle's manifest says; to one level of 255."""
    frame = frames.synthetic(0, 192)
    exact = F.interpolate(
        torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None],
        size=(side, side),
        mode="bilinear",
        antialias=True,
    )
    wanted = data.normalise(exact[0].permute(1, 2, 0).numpy())
    assert np.abs(student.student_input(frame, side)[0] - wanted).max() <= 1 / min(data.STD)


@pytest.mark.export
def test_a_run_folder_serves_one_teacher_and_one_set_of_prompts(inputs):
    other = arguments(inputs, "--steps", "1", "--prompt", "liver in abdomen ct")
    with pytest.raises(ExportError, match="another"):
        distill.distill(other, CONFIG)


@pytest.mark.parametrize(
    "more, words",
    [
        (["--prompt", "warts"], "no form"),
        (["--prompt", "left heart ventricle in heart ultrasound"], "orientations"),
        (["--side", "50"], "multiples of 32"),
        (["--frames", "/nowhere"], "no such folder"),
        (["--teacher", "/nowhere.pt"], "no such file"),
    ],
)
def test_bad_input_is_refused(inputs, more, words):
    with pytest.raises(ExportError, match=words):
        distill.distill(arguments(inputs, *more), CONFIG)


def test_the_exit_code_of_a_run_that_went_well_is_0(monkeypatch):
    monkeypatch.setattr(distill, "arguments", lambda argv: argv)
    monkeypatch.setattr(distill, "distill", lambda args: ({"error": 0.2}, {"error": 0.1}))
    assert distill.main([]) == 0
