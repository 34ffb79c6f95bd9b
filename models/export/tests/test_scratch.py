"""What can't be written ends in one line; what was there before stays; nothing half-made is left."""

import contextlib
import errno
import os
import pathlib
import resource
import shutil
import signal

import pytest
from bedside_export import __main__ as command
from bedside_export import checks, errors, pack, scratch
from bedside_export.errors import ExportError
from inputs import CONFIG, write

FULL = OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def largest_file(size):
    """Writes past so many bytes of a file fail, as the kernel fails them."""
    kept, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def out(tmp_path):
    """A bundle and a report that were there before."""
    (tmp_path / "x.report").mkdir()
    (tmp_path / "x.report/report.json").write_text("old")
    (tmp_path / "x.bedside").write_text("old")
    return tmp_path / "x.bedside"


def left(out):
    """What is in the folder of ``out``, relative to it; both old files are as they were."""
    assert out.read_text() == "old" and (checks.report_of(out) / "report.json").read_text() == "old"
    return sorted(str(p.relative_to(out.parent)) for p in out.parent.rglob("*"))


OLD = ["x.bedside", "x.report", "x.report/report.json"]


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, ["No space left", "hint: free some space"]),
        (errno.EACCES, ["Permission denied", "hint: ask for the right"]),
        (errno.EROFS, ["Read-only", "hint: name a folder"]),
        (errno.EIO, ["Input/output error", "hint: "]),
    ],
)
def test_an_error_of_the_system_names_cause_and_remedy(out, number, words):
    with pytest.raises(ExportError) as caught, scratch.beside(out) as made:
        (made / "half").write_text("half")
        raise OSError(number, os.strerror(number))
    said = str(caught.value)
    assert said.startswith(f"{out.parent}: ") and all(w in said for w in words) and "\n" not in said
    assert left(out) == OLD


def test_an_error_of_a_library_on_a_full_disk_is_that_of_the_disk(out, monkeypatch):
    def fail():
        with scratch.beside(out) as made:
            (made / "half").write_text("half")
            raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(RuntimeError):
        fail()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(ExportError, match="No space left"):
        fail()
    assert left(out) == OLD


def test_no_folder_can_be_made(out, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(out.parent / "tmp"))

    monkeypatch.setattr(scratch.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(ExportError, match="Permission denied; hint: "), scratch.beside(out):
        pass


def test_libraries_put_their_files_on_the_same_disk(out):
    with scratch.beside(out) as made:
        assert pathlib.Path(scratch.tempfile.gettempdir()) == made
    assert pathlib.Path(scratch.tempfile.gettempdir()) != made


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "last.pt"
    for error in (FULL, KeyboardInterrupt()):
        with pytest.raises(type(error)), scratch.whole(path) as part:
            part.write_text("half")
            raise error
        assert not list(tmp_path.iterdir())
    with scratch.whole(path) as part:
        part.write_text("all")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("last.pt", "all")]


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_that_fails_leaves_the_folder_as_it_was(tmp_path, there):
    source, target = tmp_path / "source", tmp_path / "kept"
    source.mkdir()
    for name, size in (("a", 10), ("b", 5000)):
        (source / name).write_bytes(bytes(size))
    if there:
        target.mkdir()
    with largest_file(4096), pytest.raises(OSError) as caught:
        scratch.copy(source, target)
    assert "File too large; hint: " in str(scratch.refusal(caught.value, tmp_path))
    assert target.exists() == there and not (there and list(target.iterdir()))


def test_a_report_that_is_there_keeps_what_else_is_in_it(out):
    (checks.report_of(out) / "notes.txt").write_text("mine")
    for name in ("new", "source"):
        (out.parent / name).mkdir()
    (out.parent / "new/report.json").write_text("new")
    program = out.parent / "bedside"
    program.write_text('#!/bin/sh\n[ $1 = pack ] && echo bundle > "$3"\nexit 0\n')
    program.chmod(0o755)
    pack.pack(program, out.parent / "source", out.parent / "new", out)
    found = {p.name: p.read_text() for p in checks.report_of(out).iterdir()}
    assert found == {"report.json": "new", "notes.txt": "mine"}
    assert out.read_text() == "bundle\n"


def test_what_is_in_the_way_is_told_at_once(tmp_path):
    (tmp_path / "x.report").write_text("a file")
    with pytest.raises(ExportError, match="in the way"):
        checks.writable(tmp_path / "x.bedside")
    (tmp_path / "y.bedside").mkdir()
    with pytest.raises(ExportError, match="in the way"):
        checks.writable(tmp_path / "y.bedside")


def test_rights_are_looked_at_first(out, monkeypatch):
    for bad in (out.parent, checks.report_of(out)):
        monkeypatch.setattr(checks.os, "access", lambda path, _, bad=bad: path != bad)
        with pytest.raises(ExportError, match="cannot be written to; hint: ") as caught:
            checks.writable(out)
        assert str(caught.value).startswith(str(bad))


@pytest.mark.export
@pytest.mark.parametrize("size", [1 << 20, 4 << 20, 12 << 20], ids=["encoder", "text", "bundle"])
def test_an_export_that_can_not_be_written_leaves_all_as_it_was(
    out, tmp_path_factory, capsys, size
):
    try:
        pack.program(None)
    except ExportError:
        pytest.skip("no `bedside` program; cargo build --release --bin bedside")
    inputs = write(tmp_path_factory.mktemp("inputs"), 4)
    args = command.arguments(
        ["--checkpoint", str(inputs / "small.pt"), "--tokenizer", str(inputs / "clip")]
        + ["--out", str(out), "--size", "64"]
    )
    args.config = CONFIG
    capsys.readouterr()
    with largest_file(size):
        assert errors.run(lambda: command.export(args)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(said) == 1 and said[0].startswith("error: ") and "hint: " in said[0], said
    assert left(out) == OLD
