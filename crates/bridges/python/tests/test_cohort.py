"""An archive to a table."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import bedside
import numpy
import pytest
from PIL import Image

from conftest import SAMPLES

pytest.importorskip("pyarrow", reason="skipped: no pyarrow; hint: pip install 'bedside[cohort]'")
from bedside import cohort
from pyarrow import parquet

OPTIONS = {"precision": "int8", "side": 192}


def rows(out):
    return parquet.read_table(out).to_pylist()


def pictures(folder, number):
    """Pictures that differ in one pixel each."""
    folder.mkdir(exist_ok=True)
    polyp = bedside.read_image(SAMPLES / "polyp.png")
    for place in range(number):
        polyp[0, 0] = place // 256, place % 256, 7
        Image.fromarray(polyp).save(folder / f"{place:04}.png")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Pictures in folders, a clip, poison, and what is none of bedside's business."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(SAMPLES, folder / "pictures")
    shutil.copy(SAMPLES / "polyp.png", folder / "pictures/same-again.png")
    polyp = Image.open(SAMPLES / "polyp.png")
    frame = polyp.convert("YCbCr")
    planes = [plane.tobytes() for plane in frame.split()]
    header = f"YUV4MPEG2 W{polyp.width} H{polyp.height} F25:1 C444\n".encode()
    (folder / "clip.y4m").write_bytes(header + b"".join(b"FRAME\n" + b"".join(planes) for _ in range(3)))
    (folder / "cut.png").write_bytes((SAMPLES / "polyp.png").read_bytes()[:5000])
    Image.fromarray(numpy.zeros((8, 8), numpy.uint8)).save(folder / "tiny.png")
    (folder / "no-picture.jpg").write_text("not a picture")
    (folder / "notes.txt").write_text("no source")
    return folder


def test_rows_are_what_the_segmenter_says(archive, tmp_path):
    prompts = ["polyp", bedside.Prompt("tumor", "ultrasound", "breast")]
    summary = cohort.run(archive, prompts, tmp_path, workers=2, part=2, **OPTIONS)
    assert summary == cohort.Summary(sources=7, done_before=0, answered=7, unreadable=0)
    table = rows(tmp_path)
    segmenter = bedside.Segmenter.open(**OPTIONS)
    named = {Path(row["source"]).name for row in table}
    assert named == {
        "polyp.png",
        "breast-tumor.png",
        "fetal-head.png",
        "clip.y4m",
        "cut.png",
        "no-picture.jpg",
        "tiny.png",
    }
    for name in ("breast-tumor.png", "fetal-head.png"):
        of = [row for row in table if row["source"].endswith(name)]
        found = segmenter.segment(bedside.read_image(SAMPLES / name), prompts)
        for row, finding in zip(of, found, strict=True):
            for column in ("prompt", "object", "present", "withheld"):
                assert row[column] == getattr(finding, column)
            for column in ("presence", "mean_probability", "validity", "fit"):
                assert row[column] == pytest.approx(getattr(finding, column), abs=1e-6)
            assert row["area_px"] == finding.area and row["area_mm2"] is None
            box = tuple(row[f"box_{side}"] for side in ("x", "y", "width", "height"))
            assert box == (finding.bounding_box or (None,) * 4)
            assert (row["frame"], row["error"]) == (0, None)
            assert row["bundle_digest"] == segmenter.digest and row["precision"] == "int8"
            assert row["bedside_version"] == bedside.__version__ and len(row["source_sha256"]) == 64
    clip = [row for row in table if row["source"].endswith("clip.y4m")]
    assert [row["frame"] for row in clip] == [0, 0, 1, 1, 2, 2]
    assert all(row["present"] for row in clip[::2])
    for name, frame in (("cut.png", None), ("no-picture.jpg", None), ("tiny.png", 0)):
        (row,) = [row for row in table if row["source"].endswith(name)]
        assert "hint: " in row["error"] or frame == 0 and row["error"]
        assert row["frame"] == frame and row["prompt"] is None and row["source_sha256"]


def test_a_run_goes_on_by_content(tmp_path):
    folder, out = pictures(tmp_path / "pictures", 6), tmp_path / "out"
    cohort.run(folder, "polyp", out, workers=1, part=2, **OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    (folder / "0003.png").rename(folder / "renamed.png")
    Image.fromarray(numpy.full((64, 64), 9, numpy.uint8)).save(folder / "0000-new.png")
    summary = cohort.run(folder, "polyp", out, workers=1, part=2, **OPTIONS)
    assert (summary.done_before, summary.answered) == (6, 1)
    after = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    kept = {path for path in before if "unreadable" not in path.name}
    assert all(after[path] == before[path] for path in kept) and len(after) == len(before) + 1
    assert len(rows(out)) == 7
    with pytest.raises(bedside.ConfigError, match="another question"):
        cohort.run(folder, "fetal head", out, **OPTIONS)


def test_tables_name_sources(archive, tmp_path):
    table = archive / "table.csv"
    table.write_text("patient,path\n1,pictures/polyp.png\n2,not-there.png\n")
    try:
        summary = cohort.run(table, "polyp", tmp_path / "out", workers=1, **OPTIONS)
        assert (summary.sources, summary.answered, summary.unreadable) == (2, 1, 1)
        again = cohort.run([table, archive / "tiny.png"], "polyp", tmp_path / "out", workers=1, **OPTIONS)
        assert (again.done_before, again.answered, again.unreadable) == (1, 1, 1)
        missing = [row for row in rows(tmp_path / "out") if row["source_sha256"] is None]
        assert len(missing) == 1 and "not-there.png" in missing[0]["error"]
        parquet.write_table(
            parquet.read_table(tmp_path / "out").rename_columns(
                ["path" if name == "source" else name for name in cohort._parts.SCHEMA.names]
            ),
            archive / "table.parquet",
        )
        third = cohort.run(archive / "table.parquet", "polyp", tmp_path / "third", workers=1, **OPTIONS)
        assert (third.sources, third.unreadable) == (3, 1)
        table.write_text("file\nx.png\n")
        with pytest.raises(bedside.ConfigError, match="no column 'path'"):
            cohort.run(table, "polyp", tmp_path / "fourth", **OPTIONS)
    finally:
        table.unlink()
        (archive / "table.parquet").unlink(missing_ok=True)


def test_wrong_use(archive, tmp_path):
    for options, error in [
        ({"workers": 0}, bedside.ConfigError),
        ({"part": 0}, bedside.ConfigError),
        ({"every": 0}, bedside.ConfigError),
        ({"engine": "dask"}, bedside.ConfigError),
    ]:
        with pytest.raises(error, match="hint: "):
            cohort.run(archive, "polyp", tmp_path / "out", **OPTIONS, **options)
    with pytest.raises(bedside.PromptError, match="hint: "):
        cohort.run(archive, "tumor", tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def children(process):
    """The workers of a run."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def command(sources, out, *more):
    return [
        sys.executable,
        "-m",
        "bedside.cohort",
        sources,
        "--prompt",
        "polyp",
        "--out",
        out,
        "--precision",
        "int8",
        "--side",
        "192",
        *more,
    ]


def parts(out):
    return len([path for path in out.glob("part-*") if "unreadable" not in path.name])


def until(condition, process):
    while not condition():
        assert process.poll() is None, "the run ended early"
        time.sleep(0.005)


def test_rows_are_there_once_though_workers_and_the_run_are_killed(tmp_path):
    folder, out = pictures(tmp_path / "pictures", 160), tmp_path / "out"
    run = command(folder, out, "--workers", "2", "--part", "4")
    process = subprocess.Popen(run)
    for finished in (2, 8):
        until(lambda: parts(out) >= finished and len(children(process)) == 2, process)
        os.kill(children(process)[0], signal.SIGKILL)
    until(lambda: parts(out) >= 14, process)
    process.kill()
    process.wait()
    done = parts(out)
    assert done < 40
    said = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert f"160 sources: {160 - 4 * done} answered now, {4 * done} before, 0 unreadable" in said
    table = rows(out)
    assert all(row["error"] is None and row["present"] for row in table)
    assert len(table) == len({row["source_sha256"] for row in table}) == 160
    assert sorted(out.glob(".part-*")) == []


def test_a_source_that_ends_its_process_gets_an_error(tmp_path, monkeypatch):
    """A picture stands for it on which a worker, made to, kills itself."""
    folder, out = pictures(tmp_path / "pictures", 5), tmp_path / "out"
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'bedside.cohort._worker' in sys.orig_argv:\n"
        "    import bedside\n"
        "    class Frames:\n"
        "        def open(path, real=bedside.Frames.open):\n"
        "            if '0002' in path: os.kill(os.getpid(), 9)\n"
        "            return real(path)\n"
        "    bedside.Frames = Frames\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(spoilt))
    summary = cohort.run(folder, "polyp", out, workers=2, part=3, **OPTIONS)
    assert summary.answered == 5
    table = rows(out)
    assert len(table) == 5
    for row in table:
        assert (row["error"] is not None) == row["source"].endswith("0002.png")


def test_one_run_writes_at_a_time(archive, tmp_path):
    import fcntl

    cohort.run(archive / "tiny.png", "polyp", tmp_path, workers=1, **OPTIONS)
    with open(tmp_path / "_lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(bedside.ConfigError, match="another run"):
            cohort.run(archive, "polyp", tmp_path, **OPTIONS)


def dicom(path, pixels, kind="UltrasoundMultiFrameImageStorage", **fields):
    """A file of gray frames, (frames, height, width), as pydicom writes it."""
    pydicom = pytest.importorskip("pydicom", reason="skipped: no pydicom; hint: pip install 'bedside[dicom]'")
    uid = pydicom.uid
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = getattr(uid, kind)
    file.StudyInstanceUID, file.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    file.NumberOfFrames, file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path


def test_a_dicom_file_gives_frames_and_millimetres(tmp_path):
    """Two frames, of pixels 0.2 mm wide and 0.1 mm high; found by content."""
    breast = bedside.read_image(SAMPLES / "breast-tumor.png")
    pixels = numpy.stack([breast, breast[:, ::-1]])
    dicom(tmp_path / "without-an-ending", pixels, PixelSpacing=[0.1, 0.2])
    prompt = "tumor in breast ultrasound"
    cohort.run(tmp_path, prompt, tmp_path / "out", workers=1, **OPTIONS)
    table = rows(tmp_path / "out")
    segmenter = bedside.Segmenter.open(**OPTIONS)
    assert [row["frame"] for row in table] == [0, 1]
    file = bedside.Dicom.open(tmp_path / "without-an-ending")
    assert (len(file), file.modality, file.size) == (2, "ultrasound", breast.shape[::-1])
    for shown, frame in zip(file, pixels, strict=True):
        assert numpy.array_equal(shown, frame)
    with pytest.raises(IndexError):
        file[2]
    for row, frame in zip(table, pixels, strict=True):
        assert row["area_px"] == segmenter.segment(frame, prompt)[0].area > 0
        assert row["area_mm2"] == pytest.approx(row["area_px"] * 0.02)


def test_more_than_8_bits_go_through_the_files_window(tmp_path):
    """As PS3.3 C.11.2.1.2 has it: Hounsfield units of -160 to 240 become 0 to 255."""
    stored = numpy.linspace(-500, 1500, 64 * 64).astype(numpy.int16).reshape(1, 64, 64)
    scale = {"RescaleSlope": 0.5, "RescaleIntercept": -200}
    window = {"WindowCenter": 40, "WindowWidth": 400}
    kind = {"kind": "CTImageStorage"}
    (shown,) = bedside.Dicom.open(dicom(tmp_path / "ct.dcm", stored, **kind, **scale, **window))
    units = stored[0] * 0.5 - 200
    wanted = (((units - (40 - 0.5)) / (400 - 1) + 0.5) * 255).clip(0, 255)
    assert shown.dtype == numpy.uint8 and numpy.abs(shown - wanted).max() <= 0.5 + 1e-6
    negative = dicom(
        tmp_path / "x.dcm", stored, **kind, **scale, **window, PhotometricInterpretation="MONOCHROME1"
    )
    assert numpy.array_equal(bedside.Dicom.open(negative)[0], 255 - shown)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((tmp_path / "ct.dcm").read_bytes()[:-1000])
    with pytest.raises(bedside.FrameError, match="cut.dcm: .*hint: "):
        list(bedside.Dicom.open(cut))


def test_ultrasound_regions_have_scales_of_their_own(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="skipped: no pydicom; hint: pip install 'bedside[dicom]'")
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 10, 20
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 49, 59
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, -0.03
    path = tmp_path / "us.dcm"
    pixels = numpy.zeros((1, 64, 64), numpy.uint8)
    file = bedside.Dicom.open(dicom(path, pixels, SequenceOfUltrasoundRegions=[region]))
    assert file.picture == (0, 0, 64, 64)
    assert file.spacing((10, 20, 40, 40)) == pytest.approx((0.2, 0.3))
    assert file.spacing((10, 20, 41, 40)) is None and file.spacing((9, 20, 10, 10)) is None
    # Of tissue in two dimensions: the picture that the model is shown, whose places are told.
    region.RegionSpatialFormat = region.RegionDataType = 1
    pixels[0, 20:60, 10:50] = numpy.arange(1600).reshape(40, 40) % 251
    file = bedside.Dicom.open(dicom(path, pixels, SequenceOfUltrasoundRegions=[region]))
    assert file.picture == (10, 20, 40, 40) and numpy.array_equal(file[0], pixels[0, 20:60, 10:50])
    assert file.spacing((0, 0, 40, 40)) == pytest.approx((0.2, 0.3))
    region.PhysicalUnitsYDirection = 4
    file = bedside.Dicom.open(dicom(path, pixels, SequenceOfUltrasoundRegions=[region]))
    assert file.spacing((0, 0, 5, 5)) is None


@pytest.fixture(scope="module")
def cine(tmp_path_factory):
    """A folder with a cart's screen of two frames, a picture in its middle, and what is no DICOM."""
    folder = tmp_path_factory.mktemp("cine")
    breast = bedside.read_image(SAMPLES / "breast-tumor.png")
    height, width = breast.shape
    pixels = numpy.zeros((2, height + 50, width + 90), numpy.uint8)
    pixels[0, 20 : 20 + height, 60 : 60 + width] = breast
    pixels[1, 20 : 20 + height, 60 : 60 + width] = breast[:, ::-1]
    pixels[:, 5:15, 5:200] = 255
    pydicom = pytest.importorskip("pydicom", reason="skipped: no pydicom; hint: pip install 'bedside[test]'")
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 60, 20
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 59 + width, 19 + height
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
    region.RegionSpatialFormat = region.RegionDataType = 1
    dicom(folder / "cine.dcm", pixels, SequenceOfUltrasoundRegions=[region], PatientID="7")
    shutil.copy(SAMPLES / "polyp.png", folder)
    return folder


TUMOR = "tumor in breast ultrasound"


def masks_of(path, shape):
    """Masks by frame of the image, from 0, as pydicom reads them."""
    import pydicom

    file = pydicom.dcmread(path)
    frames = file.pixel_array.reshape(-1, *shape)
    found = {}
    for frame, groups in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        found[image.ReferencedFrameNumber - 1] = frame.astype(bool)
    return file, found


def test_masks_are_segmentation_objects_of_the_image(cine, tmp_path):
    summary = cohort.run(cine, TUMOR, tmp_path, workers=1, seg=True, **OPTIONS)
    assert summary.answered == 2
    table = [row for row in rows(tmp_path) if row["source"].endswith("cine.dcm")]
    (path,) = (tmp_path / "_seg").iterdir()
    assert path.name == table[0]["source_sha256"] + ".dcm"
    image = bedside.Dicom.open(cine / "cine.dcm")
    width, height = image.size
    file, found = masks_of(path, (height, width))
    assert (file.Modality, file.PatientID, file.SegmentSequence[0].SegmentLabel) == ("SEG", "7", TUMOR)
    segmenter = bedside.Segmenter.open(**OPTIONS)
    x, y, *_ = image.picture
    assert (x, y) == (60, 20) and set(found) == {0, 1}
    for row in table:
        mask = segmenter.segment(image[row["frame"]], TUMOR)[0].mask
        whole = numpy.zeros((height, width), bool)
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        assert numpy.array_equal(found[row["frame"]], whole)
        assert row["area_px"] == whole.sum() and row["area_mm2"] == pytest.approx(whole.sum() * 0.04)
        left, top = row["box_x"], row["box_y"]
        assert whole[top : top + row["box_height"], left : left + row["box_width"]].sum() == whole.sum()

    # A run that is interrupted, and begun again, writes the same object.
    uid = file.SOPInstanceUID
    for part in tmp_path.glob("part-*"):
        part.unlink()
    (tmp_path / "_seg" / ".left-over").touch()
    cohort.run(cine, TUMOR, tmp_path, workers=1, seg=True, **OPTIONS)
    assert [p.name for p in (tmp_path / "_seg").iterdir()] == [path.name]
    assert masks_of(path, (height, width))[0].SOPInstanceUID == uid
    assert cohort.run(cine, TUMOR, tmp_path, workers=1, seg=True, **OPTIONS).answered == 0
    with pytest.raises(bedside.ConfigError, match="another question"):
        cohort.run(cine, TUMOR, tmp_path, workers=1, **OPTIONS)


def test_segmentation_objects_are_the_commands(cine, tmp_path, command):
    if subprocess.run([command, "dicom", "info", cine / "cine.dcm"], capture_output=True).returncode:
        pytest.skip("skipped: the command can't read DICOM; hint: build it with --features bedside-cli/dicom")
    by_command = tmp_path / "by-command.dcm"
    precision = ["--bundle", bedside.EDGE_BUNDLE, "--precision", "int8"]
    wanted = ["--prompt", TUMOR, "--seg", by_command]
    subprocess.run([command, "segment", cine / "cine.dcm", *wanted, *precision], check=True)
    cohort.run(cine / "cine.dcm", TUMOR, tmp_path, workers=1, seg=True, precision="int8")
    (path,) = (tmp_path / "_seg").iterdir()
    width, height = bedside.Dicom.open(cine / "cine.dcm").size
    (_, ours), (_, theirs) = (masks_of(file, (height, width)) for file in (path, by_command))
    assert ours.keys() == theirs.keys() == {0, 1}
    assert all(numpy.array_equal(ours[frame], theirs[frame]) and ours[frame].any() for frame in ours)


def test_wrong_use_of_a_segmentation(cine, segmenter, colon, tmp_path):
    image = bedside.Dicom.open(cine / "cine.dcm")
    found = segmenter.segment(image[0], TUMOR)
    masks = bedside.Segmentation(image, segmenter)
    with pytest.raises(bedside.FrameError, match="no findings; hint: "):
        masks.to_bytes()
    masks.add(0, found)
    for frame in (0, 2, 2**32 - 1):
        with pytest.raises(bedside.FrameError):
            masks.add(frame, found)
    with pytest.raises(bedside.MismatchError, match="other prompts.*hint: "):
        masks.add(1, segmenter.segment(image[1], "fetal head"))
    polyp = bedside.Segmentation(image, segmenter)
    with pytest.raises(bedside.FrameError, match="where the picture has.*hint: "):
        polyp.add(0, segmenter.segment(colon[20:], "polyp"))
    for text in (cine / "polyp.png", tmp_path / "not-there.dcm"):
        with pytest.raises(bedside.FrameError):
            bedside.Dicom.open(text)


def test_ray_gives_the_same_rows(archive, cine, tmp_path):
    ray = pytest.importorskip("ray", reason="skipped: no Ray; hint: pip install 'bedside[ray]'")
    asked = ([archive, cine], ["polyp", TUMOR])
    cohort.run(*asked, tmp_path / "local", workers=1, part=3, seg=True, **OPTIONS)
    try:
        cohort.run(*asked, tmp_path / "ray", workers=2, part=2, engine="ray", seg=True, **OPTIONS)
    finally:
        ray.shutdown()
    ours, theirs = (sorted(rows(tmp_path / name), key=str) for name in ("local", "ray"))
    assert ours == theirs
    (ours,), (theirs,) = ([*(tmp_path / name / "_seg").iterdir()] for name in ("local", "ray"))
    shape = bedside.Dicom.open(cine / "cine.dcm").size[::-1]
    masks = [masks_of(path, shape)[1] for path in (ours, theirs)]
    assert ours.name == theirs.name and masks[0].keys() == masks[1].keys() == {0, 1}
    assert all(numpy.array_equal(masks[0][frame], masks[1][frame]) for frame in masks[0])
