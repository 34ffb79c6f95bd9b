"""Writes golden/video: DICOM objects around the H.264 clips of bedside-video's tests, as pydicom makes
them.

    python3 -m venv venv && venv/bin/pip install pydicom
    venv/bin/python video.py
"""

import json
from pathlib import Path

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

HERE = Path(__file__).parent
CLIPS = HERE / "../../bedside-video/tests/golden"
OUT = HERE / "golden/video"
# Video Endoscopic Image Storage.
CLASS = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
H264 = "1.2.840.10008.1.2.4."


def write(name, clip, syntax, photometric="YBR_PARTIAL_420", pieces=1, **more):
    about = {c["file"]: c for c in json.loads((CLIPS / "golden.json").read_text())["mp4"]}
    about = about[Path(clip).with_suffix(".mp4").name]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASS, "2.25.1"
    meta.TransferSyntaxUID, meta.ImplementationClassUID = H264 + syntax, "2.25.2"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CLASS, "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.3", "2.25.4"
    ds.Modality, ds.PatientName, ds.PatientID = "ES", "ZZNAME^ZZGIVEN", "ZZID"
    ds.Rows, ds.Columns = about["height"], about["width"]
    ds.NumberOfFrames, ds.CineRate, ds.FrameTime = len(about["crc32"]), "25", "40"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, photometric, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "01"
    for key, value in more.items():
        setattr(ds, key, value)
    data = (CLIPS / clip).read_bytes()
    ds.PixelData = encapsulate([data], fragments_per_frame=pieces, has_bot=False)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.save_as(OUT / f"{name}.dcm", enforce_file_format=True)


OUT.mkdir(exist_ok=True)
write("high.mp4", "high.mp4", "102")
write("high.ts", "high.ts", "104")
write("baseline.mp4", "baseline.mp4", "103")
write("full.mp4", "full.mp4", "106", photometric="YBR_FULL_422")
write("pieces.mp4", "high.mp4", "102.1", pieces=5)
# What is refused: a size and a number of frames that are not the video's.
write("size", "baseline.mp4", "102", Rows=64)
write("frames", "baseline.mp4", "102", NumberOfFrames=99)
