"""Make the segmentations in `golden/masks`, which another library writes, highdicom:

    venv/bin/python crates/bedside-dicom/tests/masks.py

Segment s, pixel i: set, or of that level, by the formula of phantom.rs for frame 1.
"""

import pathlib

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes

WIDTH, HEIGHT = 5, 3
OUT = pathlib.Path(__file__).parent / "golden/masks"


def level(segment):
    i = np.arange(WIDTH * HEIGHT, dtype=np.uint64)
    h = (i + 1000003 * segment + 7919) * 2654435761 % 2**32
    return (h >> 24).astype(np.uint8).reshape(HEIGHT, WIDTH)


def image():
    image = pydicom.Dataset()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    image.Rows, image.Columns, image.Modality = HEIGHT, WIDTH, "US"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(image, keyword, "")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.file_meta = meta
    return image


def write(name, kind, pixels):
    algorithm = hd.AlgorithmIdentificationSequence(
        name="phantom", version="1", family=codes.cid7162.ArtificialIntelligence
    )
    segments = [
        hd.seg.SegmentDescription(
            n, f"segment {n}", codes.SCT.AnatomicalStructure, codes.SCT.Liver, "AUTOMATIC", algorithm
        )
        for n in (1, 3, 4)
    ]
    for n, segment in enumerate(segments):
        segment.SegmentNumber = n + 1
    made = hd.seg.Segmentation(
        [image()], pixels[np.newaxis], kind, segments, "2.25.4", 1, f"2.25.{hash_of(name)}", 1, "m", "m", "1", "1"
    )
    made.save_as(OUT / f"{name}.dcm")


def hash_of(name):
    return int.from_bytes(name.encode()[:8], "big")


OUT.mkdir(parents=True, exist_ok=True)
levels = np.stack([level(s) for s in (1, 3, 4)], axis=-1)
write("binary", "BINARY", (levels >= 100).astype(np.uint8))
write("fractional", "FRACTIONAL", levels / 255.0)
