"""What can be refused at once is refused without waiting for torch."""

import argparse
import pathlib
import shutil
import subprocess
import sys

import pytest
from bedside_export import checks
from bedside_export.errors import ExportError

EXPORT = ["--checkpoint", "/nowhere.pt", "--tokenizer", "/nowhere", "--out", "x.bedside"]
DISTILL = ["--teacher", "/nowhere.pt", "--frames", "/nowhere", "--prompt", "polyp"]
DISTILL += ["--run", "run", "--out", "x.bedside"]
SLOW = ["torch", "onnx", "onnxruntime", "cv2", "numpy"]


def without(modules, command, argv, folder):
    """Run a command where some modules cannot be imported. -> exit code, output"""
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r})); "
    code += f"from bedside_export.{command} import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, cwd=folder
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command, argv, words",
    [
        ("__main__", ["--help"], "--checkpoint"),
        ("__main__", EXPORT, "/nowhere.pt: no such file"),
        ("__main__", [*EXPORT, "--size", "100"], "multiple of 32"),
        ("__main__", [*EXPORT, "--out", "x.onnx"], "NAME.bedside"),
        ("distill", ["--help"], "--teacher"),
        ("distill", DISTILL, "/nowhere.pt: no such file"),
        ("distill", [*DISTILL, "--side", "50"], "multiples of 32"),
    ],
)
def test_help_and_wrong_options_load_nothing_slow(tmp_path, command, argv, words):
    more = ["--bedside", "true"] if "--help" not in argv else []
    code, said = without(SLOW, command, [*argv, *more], tmp_path)
    assert code == (0 if "--help" in argv else 2)
    assert words in said, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "more, words",
    [
        ([], "vocab.json"),
        (["--calibrate", "/nowhere"], "no such folder"),
    ],
)
def test_wrong_files_are_refused_before_torch_is_there(tmp_path, more, words):
    (tmp_path / "x.pt").write_bytes(b"\x80\x02}.")
    argv = [*EXPORT, "--bedside", "true", "--checkpoint", "x.pt", *more]
    code, said = without(["torch"], "__main__", argv, tmp_path)
    assert code == 2 and words in said and "Traceback" not in said, said


def room(tmp_path, monkeypatch, free, keep=None):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: argparse.Namespace(free=free))
    args = argparse.Namespace(precision=["f32"], size=512, keep=keep, sensitivity=False)
    args.out = pathlib.Path(tmp_path / "x.bedside")
    checks.space(args)


def test_room_is_made_sure_of_before_the_work(tmp_path, monkeypatch):
    """Twice the bundle, as measured, and the unpacked source where that is kept."""
    _, most = checks.sizes(["f32"], 512)
    assert 2.7e9 < most < 3.1e9, "2.8 GB were measured"
    room(tmp_path, monkeypatch, most)
    with pytest.raises(ExportError, match=r"1.0 GB free, but f32 at 512 needs \d.\d GB.*hint: "):
        room(tmp_path, monkeypatch, 1e9)
    with pytest.raises(ExportError, match="GB free"):
        room(tmp_path, monkeypatch, most, keep=tmp_path / "new" / "folder")


def test_every_precision_more_needs_more_room():
    few, more = (checks.sizes(p, 512) for p in (["f32"], ["f32", "f16"]))
    assert all(a < b for a, b in zip(few, more))
    assert checks.sizes(["int8"], 512)[0] < few[0] < checks.sizes(["int8"], 512)[1]


def test_one_folder_may_be_located_for_checkpoint_and_vocabulary(tmp_path):
    for name in ("vocab.json", "merges.txt", "model.pt"):
        (tmp_path / name).touch()
    file, other = tmp_path / "model.pt", tmp_path / "clip"
    assert checks.located(tmp_path, None) == (file, tmp_path)
    assert checks.located(file, None) == (file, tmp_path)
    assert checks.located(tmp_path, other) == (file, other)
    (tmp_path / "more.pth").touch()
    with pytest.raises(ExportError, match="one checkpoint is wanted.*model.pt, more.pth; hint: "):
        checks.located(tmp_path, None)
