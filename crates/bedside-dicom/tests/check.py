"""Independent readers on what the crate writes: pydicom, highdicom and dciodvfy.

    python3 -m venv venv && venv/bin/pip install pydicom highdicom
    apt-get install dicom3tools
    venv/bin/python crates/bedside-dicom/tests/check.py [IMAGE.dcm ...]

Writes objects of phantoms, and of the images given, with the example `objects`. Masks must be
equal bit by bit, read by pydicom and by highdicom without a warning; patient and study must be the
image's; measurements must be those that numpy finds; dciodvfy must find no error. Ends with 0 where
all is so, 1 where not, 77 where a reader is not installed.
"""

import collections
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

try:
    import highdicom as hd
    import numpy as np
    import pydicom
    from pydicom.sr._concepts_dict import concepts
except ImportError as missing:
    print(f"can't run: {missing}; see the head of this file")
    sys.exit(77)
if not shutil.which("dciodvfy"):
    print("can't run: dciodvfy is not installed; see the head of this file")
    sys.exit(77)

# Not in pydicom's dictionary, which has only what the standard names.
KNOWN = {
    "41329004": "polyp",
    "74281007": "myocardium",
    "4212006": "epithelial cell",
    "276214006": "finding category",
}
counts = collections.Counter()
wrong = collections.Counter()


def check(name, what, good):
    counts[what] += 1
    if not good:
        wrong[f"{name}: {what}"] += 1


def levels(width, height, segment, frame):
    """As in phantom.rs."""
    if (segment + frame) % 3 == 0:
        return np.zeros((height, width), np.uint8)
    i = np.arange(width * height, dtype=np.uint64)
    h = (i + 1000003 * segment + 7919 * frame) * 2654435761 % 2**32
    return (h >> 24).astype(np.uint8).reshape(height, width)


def expected(image, binary, segments, drawn):
    frames = int(image.get("NumberOfFrames", 1))
    size = (frames, image.Rows, image.Columns, segments)
    out = np.zeros(size, np.uint8)
    for s in range(segments if drawn else 0):
        for f in range(frames):
            out[f, :, :, s] = levels(image.Columns, image.Rows, s + 1, f + 1)
    return (out >= 100).astype(np.uint8) if binary else out


def carried(name, image, object):
    for element in image:
        if element.tag.group == 0x10 or element.keyword in (
            "SpecificCharacterSet", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
            "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
        ):  # fmt: skip
            same = element.tag in object and object[element.tag].value == element.value
            check(name, "patient and study are the image's", same)


MEANINGS_OF = [scheme for scheme in ("SCT", "DCM", "LN") if scheme in concepts]
MEANINGS = collections.defaultdict(set, {("SCT", c): {m} for c, m in KNOWN.items()})
for scheme in MEANINGS_OF:
    for by_value in concepts[scheme].values():
        for value, (meaning, _) in by_value.items():
            MEANINGS[scheme, value].add(meaning.lower())


def known(name, object):
    def visit(dataset):
        if "CodingSchemeDesignator" in dataset:
            scheme, value = dataset.CodingSchemeDesignator, dataset.CodeValue
            if scheme in MEANINGS_OF:
                same = dataset.CodeMeaning.lower() in MEANINGS[scheme, value]
                check(f"{name}, {value} {dataset.CodeMeaning}", "codes mean what is written", same)
        for element in dataset:
            if element.VR == "SQ":
                for item in element.value:
                    visit(item)

    visit(object)


def segmentation(name, folder, image, drawn):
    path = folder / f"{name}.seg.dcm"
    seg = pydicom.dcmread(path)
    binary = seg.SegmentationType == "BINARY"
    n = len(seg.SegmentSequence)
    masks = expected(image, binary, n, drawn)
    carried(name, image, seg)
    known(name, seg)

    raw = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    seen = np.zeros_like(masks)
    for data, group in zip(raw, seg.PerFrameFunctionalGroupsSequence, strict=True):
        s = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        check(name, "frames refer to the image", source.ReferencedSOPInstanceUID == image.SOPInstanceUID)
        seen[int(source.get("ReferencedFrameNumber", 1)) - 1, :, :, s - 1] = data
    check(name, "masks equal, pydicom", np.array_equal(seen, masks))
    full = int((masks.reshape(masks.shape[0], -1, n) > 0).any(axis=1).sum())
    check(name, "empty frames left out", len(raw) == max(full, 1))

    read = hd.seg.segread(path)
    arguments = dict(assert_missing_frames_are_empty=True, rescale_fractional=False)
    if image.get("NumberOfFrames", 1) > 1:
        numbers = list(range(1, int(image.NumberOfFrames) + 1))
        got = read.get_pixels_by_source_frame(image.SOPInstanceUID, numbers, **arguments)
    else:
        got = read.get_pixels_by_source_instance([image.SOPInstanceUID], **arguments)
    check(name, "masks equal, highdicom", np.array_equal(got, masks))
    check(name, "segments, highdicom", read.number_of_segments == n)
    return seg, masks if binary else (masks > 127).astype(np.uint8)


def report(name, folder, image, seg, masks):
    path = folder / f"{name}.sr.dcm"
    sr = hd.sr.srread(path)
    carried(name, image, sr)
    # highdicom gives names to content that it reads without one.
    known(name, pydicom.dcmread(path))
    groups = sr.content.get_planar_roi_measurement_groups()
    check(name, "a group for each mask", len(groups) == int(masks.any(axis=(1, 2)).sum()))
    others = sr.content.get_image_measurement_groups()
    absent = [group for group in others if not group.get_measurements()]
    ventricle(name, image, seg, [group for group in others if group.get_measurements()])
    never = int((~masks.any(axis=(0, 1, 2))).sum())
    check(name, "what is on no frame is absent", len(absent) == never)
    by_uid = {s.TrackingUID: i for i, s in enumerate(seg.SegmentSequence)}
    for group in groups:
        s = by_uid[group.tracking_uid]
        frame = group.referenced_segmentation_frame
        at = int(frame[0].ReferencedSOPSequence[0].ReferencedFrameNumber)
        per_frame = seg.PerFrameFunctionalGroupsSequence[at - 1]
        check(name, "refers to the segment", per_frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == s + 1)
        source = per_frame.DerivationImageSequence[0].SourceImageSequence[0]
        f = int(source.get("ReferencedFrameNumber", 1)) - 1
        own = frame[1].ReferencedSOPSequence[0]
        check(name, "refers to the frame", int(own.get("ReferencedFrameNumber", 1)) == f + 1)
        unit, scale = "{pixels}", 1.0
        values = {m.name.meaning: m for m in group.get_measurements()}
        area = values["Area"]
        unit = area.unit.value
        if unit == "mm2":
            spacing = image.get("PixelSpacing")
            region = [r for r in image.get("SequenceOfUltrasoundRegions", []) if r.RegionSpatialFormat == 1]
            scale = (
                float(spacing[0]) * float(spacing[1])
                if spacing
                else region[0].PhysicalDeltaX * region[0].PhysicalDeltaY * 100
            )
        counts[f"areas in {unit}"] += 1
        check(name, "areas equal", abs(area.value - masks[f, :, :, s].sum() * scale) < 1e-3)
        check(name, "diameters in order", values["Long axis"].value >= values["Short axis"].value > 0)
        points = [i for i in group[0].ContentSequence if i.ValueType == "SCOORD"]
        y, x = np.nonzero(masks[f, :, :, s])
        middle = (x.mean() + 0.5, y.mean() + 0.5)
        (point,) = points
        check(name, "centres equal", point.GraphicType == "POINT" and np.allclose(point.GraphicData, middle, atol=1e-3))
        selected = point.ContentSequence[0].ReferencedSOPSequence[0]
        check(name, "centres are in the frame", int(selected.get("ReferencedFrameNumber", 1)) == f + 1)


def ventricle(name, image, seg, groups):
    """As in phantom.rs: two beats and their mean, of clips of four frames and more."""
    if int(image.get("NumberOfFrames", 1)) < 4:
        check(name, "no ventricle", not groups)
        return
    edv, esv = "Left Ventricular End Diastolic Volume", "Left Ventricular End Systolic Volume"
    ef = "Left Ventricular Ejection Fraction by US"
    known = [{edv: (120.5, "mL"), esv: (48.25, "mL"), ef: (62.5, "%")}, {ef: (50.0, "%")}, {ef: (56.25, "%")}]
    told = [{m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()} for group in groups]
    check(name, "ventricle's measurements", told == known)
    for group in groups:
        check(name, "ventricle is the segment", group.tracking_uid == seg.SegmentSequence[0].TrackingUID)
        check(name, "ventricle's method", group.method.meaning == "Method of Disks, Single Plane")
    frames = lambda items: [int(i.ReferencedSOPSequence[0].ReferencedFrameNumber) for i in items]
    images = [frames(i for i in g[0].ContentSequence if i.ValueType == "IMAGE") for g in groups[:2]]
    check(name, "ventricle's frames", images == [[1, 2], [3, 4]])
    volumes = [i for i in groups[0][0].ContentSequence if i.ValueType == "NUM" and "ContentSequence" in i]
    check(name, "volumes' frames", frames(i.ContentSequence[0] for i in volumes) == [1, 2])


def stack(folder):
    """Slices of one series: a segmentation in the patient's space, and volumes."""
    images = [pydicom.dcmread(folder / f"stack.{n}.dcm", stop_before_pixels=True) for n in range(7)]
    masks = np.stack([levels(30, 20, 1, n + 1) >= 100 for n in range(7)])
    name, path = "stack", folder / "stack.vol.dcm"
    seg = pydicom.dcmread(path)
    carried(name, images[0], seg)
    known(name, seg)
    check(name, "frame of reference", seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID)
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        image = [i for i in images if i.SOPInstanceUID == source.ReferencedSOPInstanceUID]
        place = group.PlanePositionSequence[0].ImagePositionPatient
        check(name, "positions are the slices'", place == image[0].ImagePositionPatient)
    read = hd.seg.segread(path)
    uids = [i.SOPInstanceUID for i in images]
    got = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    check(name, "masks equal, highdicom", np.array_equal(got[..., 0], masks) and not got[..., 1].any())
    volume = read.get_volume(allow_missing_positions=True, combine_segments=False)
    # Frames where nothing is set are not there; those that are lie where their slices do.
    some = np.flatnonzero(masks.any(axis=(1, 2)))
    inner = slice(some[0], some[-1] + 1)
    there = volume.array[..., 0]
    same = np.array_equal(there, masks[inner]) or np.array_equal(there[::-1], masks[inner])
    check(name, "a volume, highdicom", same and np.allclose(volume.spacing, (2.5, 0.5, 0.25)))
    sr = hd.sr.srread(folder / "stack.vol-sr.dcm")
    carried(name, images[0], sr)
    known(name, sr)
    groups = sr.content.get_volumetric_roi_measurement_groups()
    check(name, "a group for each volume", len(groups) == 1)
    for group in groups:
        check(name, "refers to the segment", group.tracking_uid == seg.SegmentSequence[0].TrackingUID)
        (measured,) = group.get_measurements()
        value = (measured.name.meaning, measured.value, measured.unit.value)
        check(name, "volumes equal", value == ("Volume", 12.25, "mL"))
    absent = sr.content.get_image_measurement_groups()
    check(name, "what is on no frame is absent", len(absent) == 1)
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    check(name, "all slices are evidence", named == {*uids, seg.SOPInstanceUID})
    valid(path)
    valid(folder / "stack.vol-sr.dcm")


def clean(name, folder, seg):
    """What is left of a de-identified segmentation, and of its image where that has pixels."""
    own = pydicom.dcmread(folder / f"{name}.clean-seg.dcm")
    check(name, "clean: no patient", not str(own.PatientName) and own.PatientIdentityRemoved == "YES")
    check(name, "clean: the same masks", own.PixelData == seg.PixelData)
    valid(folder / f"{name}.clean-seg.dcm")
    path = folder / f"{name}.clean-image.dcm"
    if path.exists():
        image, before = pydicom.dcmread(path), pydicom.dcmread(folder / f"{name}.dcm")
        left = [e for e in image if e.tag.group == 0x10 and e.value or e.tag.is_private]
        check(name, "clean: nothing of the patient's group", [e.keyword for e in left] == ["PatientID"])
        check(name, "clean: the same pixels", image.PixelData == before.PixelData)
        series = own.ReferencedSeriesSequence[0]
        check(name, "clean: image and masks together", series.SeriesInstanceUID == image.SeriesInstanceUID)


def valid(path):
    ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    lines = (ran.stdout + ran.stderr).splitlines()
    check(path.name, "dciodvfy knows the class", any(l in ("Segmentation", "ComprehensiveSR") for l in lines))
    check(path.name, "dciodvfy finds no error", not any(l.startswith("Error") for l in lines))
    for line in lines:
        if line.startswith(("Error", "Warning")):
            counts[f"dciodvfy: {line}"] += 1


def main():
    warnings.simplefilter("error")
    root = pathlib.Path(__file__).resolve().parents[3]
    given = [str(pathlib.Path(path).resolve()) for path in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        run = "cargo run -q --release --example objects --".split() + [folder]
        subprocess.run(run + given, cwd=root, check=True)
        folder = pathlib.Path(folder)
        for path in sorted(folder.glob("*.seg.dcm")):
            name = path.name.removesuffix(".seg.dcm")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore" if name.startswith("given") else "error")
                image = pydicom.dcmread(folder / f"{name}.dcm", stop_before_pixels=True)
                list(image.iterall())
            try:
                seg, masks = segmentation(name, folder, image, not name.startswith("nothing"))
                report(name, folder, image, seg, masks)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore" if name.startswith("given") else "error")
                    clean(name, folder, seg)
            except Exception as error:
                wrong[f"{name}: {type(error).__name__}: {error}"] += 1
            valid(path)
            valid(folder / f"{name}.sr.dcm")
        try:
            stack(folder)
        except Exception as error:
            wrong[f"stack: {type(error).__name__}: {error}"] += 1
    for what, n in sorted(counts.items()):
        print(f"{n:7} {what}")
    print(f"{wrong.total():7} wrong")
    for what, n in wrong.most_common(40):
        print(f"{n:7} wrong: {what}")
    return 1 if wrong else 0


sys.exit(main())
