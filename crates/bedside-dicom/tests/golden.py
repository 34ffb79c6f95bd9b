"""Writes the golden files of this folder: small DICOM files of every kind that is read, with the
frames that pydicom makes of them.

    python3 -m venv venv
    venv/bin/pip install pydicom numpy pillow pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg \
        pylibjpeg-rle pyjpegls python-gdcm
    venv/bin/python golden.py [FOLDER OF DICOM FILES]

golden/matrix.gz: records of three parts, each behind its length as a little-endian word of 32 bits:
a line of JSON, the file, and the CRC-32 of each of its frames as 8-bit gray or RGB, or where the
encoding is lossy the frames themselves.
golden/shared.json: of every frame of the files of the folder, the CRC-32, or some pixels where the
encoding is lossy. The files themselves are not ours to give away.
"""

import gzip
import io
import json
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import gdcm
import jpeg_ls
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, convert_color_space
from pydicom.pixels.processing import apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, RLELossless,
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian,
    ImplicitVRLittleEndian, generate_uid,
)  # fmt: skip

HERE = Path(__file__).parent / "golden"
SIZES = ((1, 1), (7, 3), (33, 17))
# Some encoders want an even number of pixels, others enough of them.
ENCODED = (*SIZES, (6, 3), (34, 33))
LARGE = (1023, 517)
US = "1.2.840.10008.5.1.4.1.1.6.1"
CT_WINDOWS = {"abdomen": (-150, 250), "lung": (-1000, 1000), "pelvis": (-55, 200),
              "liver": (-25, 230), "colon": (-68, 187), "pancreas": (-100, 200)}  # fmt: skip


def pattern(width, height, samples, bits, signed, frames):
    """Values that reach both ends of the range and differ along every axis."""
    y, x = np.mgrid[:height, :width]
    planes = [
        (x * 37 + y * 101 + s * 59 + f * 11 + (x * y) % 7) * max(1, (1 << bits) // 256) + x
        for f in range(frames)
        for s in range(samples)
    ]
    values = np.stack(planes).reshape(frames, samples, height, width) % (1 << bits)
    if signed:
        values = values - (1 << (bits - 1))
    return values


def smooth(width, height, samples, frames):
    """What JPEG keeps well: no sharp edges in colour."""
    y, x = np.mgrid[:height, :width]
    planes = [
        128 + 60 * np.sin(x / 9 + s + f / 3) + 50 * np.cos(y / 7 - s)
        for f in range(frames)
        for s in range(samples)
    ]
    return np.stack(planes).reshape(frames, samples, height, width).astype(int)


def dataset(width, height, photometric, bits, allocated, signed, frames, syntax, **more):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = US
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = "2.25.2"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = US, "2.25.1"
    ds.Modality = "US"
    ds.PatientName, ds.PatientID = "ZZNAME^ZZGIVEN", "ZZID"
    ds.Rows, ds.Columns = height, width
    ds.PhotometricInterpretation = photometric
    colour = photometric in ("RGB", "YBR_FULL", "YBR_FULL_422")
    ds.SamplesPerPixel = 3 if colour else 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    if colour:
        ds.PlanarConfiguration = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def pixel_bytes(values, ds):
    """Values [frames, samples, rows, columns] as native pixel data."""
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    kind = ("i" if ds.PixelRepresentation else "u") + str(ds.BitsAllocated // 8)
    if ds.PhotometricInterpretation == "YBR_FULL_422":
        frames = []
        for luma, blue, red in values:
            pairs = [luma[:, 0::2], luma[:, 1::2], blue[:, 0::2], red[:, 0::2]]
            frames.append(np.stack(pairs, -1).reshape(-1))
        values = np.concatenate(frames)
    elif ds.get("PlanarConfiguration") == 0:
        values = values.transpose(0, 2, 3, 1)
    # Bits above those stored are those of the sign or, unsigned, nothing.
    if ds.PixelRepresentation and ds.BitsStored < ds.BitsAllocated:
        values = values & ((1 << ds.BitsStored) - 1)
        kind = kind.replace("i", "u")
    data = values.astype(order + kind).tobytes()
    return data + b"\0" * (len(data) % 2)


def saved(ds):
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def encode(ds, syntax):
    plugin = "pydicom" if syntax == RLELossless else ""
    ds.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)


def by_charls(ds, values, mode, near):
    """Values [frames, samples, rows, columns] as CharLS encodes them: components one after the other
    (0), line by line (1) or sample by sample (2)."""
    samples = ds.SamplesPerPixel
    frames = []
    for frame in values:
        order = frame if mode == 0 else frame.transpose(1, 0, 2) if mode == 1 else frame.transpose(1, 2, 0)
        data = np.ascontiguousarray(order).astype(f"<u{ds.BitsAllocated // 8}").tobytes()
        try:
            coded = jpeg_ls.encode_buffer(
                data, ds.Rows, ds.Columns, samples, ds.BitsStored, near, mode if samples > 1 else None
            )
        except RuntimeError:
            return None  # what is noise gets larger, for which it has no room
        frames.append(bytes(coded))
    ds.file_meta.TransferSyntaxUID = JPEGLSNearLossless if near else JPEGLSLossless
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return saved(ds)


def by_gdcm(data, syntax, lossy=False):
    """Encoded as GDCM does it."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = f"{folder}/in.dcm", f"{folder}/out.dcm"
        Path(path).write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(path)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        if not change.Change():
            return None  # it refuses some sizes and depths
        writer = gdcm.ImageWriter()
        writer.SetFileName(out)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(out).read_bytes()


def site(ds):
    return ds.get("BodyPartExamined", "abdomen").lower()


def stretched(values):
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return ((values - low) / (high - low) * 255.0).astype(np.uint8)


def reference(ds):
    """Frames [frames, rows, columns] or [..., 3] as bedside is to give them."""
    stored = ds.pixel_array
    name = ds.PhotometricInterpretation
    if ds.HighBit >= ds.BitsStored:
        # pydicom takes the low bits whatever the header says.
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
        stored = (stored >> (ds.HighBit + 1 - ds.BitsStored)) & ((1 << ds.BitsStored) - 1)
    if int(ds.get("NumberOfFrames", 1)) == 1:
        stored = stored[None]
    if name == "PALETTE COLOR":
        rgb = apply_color_lut(stored, ds)
        bits = ds.RedPaletteColorLookupTableDescriptor[2]
        return (rgb >> 8 if bits > 8 else rgb).astype(np.uint8)
    if stored.ndim == 4:
        # pixel_array gives RGB already, whatever the file holds.
        return stored
    values = np.asarray(apply_modality_lut(stored, ds), float)
    bits, plain = ds.BitsStored, "RescaleSlope" not in ds and "ModalityLUTSequence" not in ds
    if "WindowCenter" in ds:
        low = -(1 << (bits - 1)) if ds.PixelRepresentation else 0
        high = low + (1 << bits) - 1
        if "ModalityLUTSequence" in ds:
            low, high = 0, (1 << ds.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        elif "RescaleSlope" in ds:
            low, high = (v * ds.RescaleSlope + ds.RescaleIntercept for v in (low, high))
        # pydicom would have any window of a list, this one the first.
        out = apply_windowing(values.copy(), ds, index=0)
        gray = np.floor((out - low) / (high - low) * 255 + 0.5)
    elif "VOILUTSequence" in ds:
        most = (1 << ds.VOILUTSequence[0].LUTDescriptor[2]) - 1
        gray = np.floor(apply_voi(values.astype(int), ds) / most * 255 + 0.5)
    elif ds.Modality == "CT":
        gray = np.stack([stretched(frame.clip(*CT_WINDOWS[site(ds)])) for frame in values])
    elif bits <= 8 and not ds.PixelRepresentation and plain:
        gray = np.floor(values / ((1 << bits) - 1) * 255 + 0.5)
    else:
        frames = []
        for frame in values:
            low, high = np.percentile(frame[frame > 0], [0.5, 99.5]) if (frame > 0).any() else (-np.inf, np.inf)
            frames.append(stretched(frame.clip(low, high)))
        gray = np.stack(frames)
    gray = gray.astype(np.uint8)
    return 255 - gray if name == "MONOCHROME1" else gray


def lut(entries, first, bits, data):
    item = Dataset()
    item.LUTDescriptor = [entries, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = list(data)
    item["LUTData"].VR = "US"
    return Sequence([item])


class Matrix:
    def __init__(self):
        self.out, self.count = io.BytesIO(), 0

    def add(self, name, data, most=0):
        if data is None:
            print("left out:", name)
            return
        ds = pydicom.dcmread(io.BytesIO(data))
        frames = reference(ds)
        head = json.dumps({"name": name, "frames": len(frames), "most": most}).encode()
        expected = frames.tobytes()
        if not most:
            sums = [zlib.crc32(frame.tobytes()) for frame in frames]
            expected = struct.pack(f"<{len(sums)}I", *sums)
        for part in (head, data, expected):
            self.out.write(struct.pack("<I", len(part)) + part)
        self.count += 1

    def native(self, name, size, photometric, bits, allocated, signed=False, frames=1,
               syntax=ExplicitVRLittleEndian, **more):  # fmt: skip
        ds = dataset(*size, photometric, bits, allocated, signed, frames, syntax, **more)
        values = pattern(*size, ds.SamplesPerPixel, bits, signed, frames)
        if ds.HighBit + 1 > bits:
            values = values << (ds.HighBit + 1 - bits)
        ds.PixelData = pixel_bytes(values, ds)
        # A big-endian file of bytes may have them as words.
        ds["PixelData"].VR = "OW" if allocated > 8 else "OB"
        return ds, f"{name} {size[0]}x{size[1]}"


def palette(bits, entries, first):
    tables = {}
    for shift, colour in enumerate(("Red", "Green", "Blue")):
        levels = (np.arange(entries) * (37 + 2 * shift) + 11 * shift) % (1 << bits)
        data = levels.astype("<u2" if bits > 8 else "u1").tobytes()
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [entries % 65536, first, bits]
        tables[f"{colour}PaletteColorLookupTableData"] = data + b"\0" * (len(data) % 2)
    return tables


def matrix():
    m = Matrix()
    natives = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
               DeflatedExplicitVRLittleEndian)  # fmt: skip
    grays = ((8, 8, False), (8, 8, True), (7, 8, False), (12, 16, False), (12, 16, True), (16, 16, False), (16, 16, True))
    for syntax in natives:
        for size in SIZES:
            for frames in (3, 1) if size == SIZES[1] else (1,):
                for name in ("MONOCHROME1", "MONOCHROME2"):
                    for bits, allocated, signed in grays:
                        ds, title = m.native(f"{name} {bits}/{allocated} {'signed' if signed else ''} {syntax.name} {frames}",
                                             size, name, bits, allocated, signed, frames, syntax)  # fmt: skip
                        m.add(title, saved(ds))
                for planar in (0, 1):
                    for name in ("RGB", "YBR_FULL"):
                        ds, title = m.native(f"{name} planar {planar} {syntax.name} {frames}", size, name, 8, 8,
                                             False, frames, syntax, PlanarConfiguration=planar)  # fmt: skip
                        m.add(title, saved(ds))
                for bits, entries, first in ((8, 256, 0), (16, 256, 0), (16, 100, 20), (8, 102, 3)):
                    if syntax == ExplicitVRBigEndian:
                        continue  # pydicom takes words of palettes as little-endian here
                    ds, title = m.native(f"palette {bits} {entries} {first} {syntax.name} {frames}", size, "PALETTE COLOR",
                                         8, 8, False, frames, syntax, **palette(bits, entries, first))  # fmt: skip
                    m.add(title, saved(ds))
    for syntax in natives:
        ds, title = m.native(f"YBR_FULL_422 {syntax.name}", (8, 3), "YBR_FULL_422", 8, 8, False, 2, syntax)
        m.add(title, saved(ds))
    ds, title = m.native("palette of 16-bit pixels", (33, 17), "PALETTE COLOR", 16, 16, **palette(16, 1024, 9000))
    m.add(title, saved(ds))

    # Contrast.
    wide = ((12, False), (12, True), (16, True))
    for bits, signed in wide:
        tables = {
            "window": dict(WindowCenter=[300, 5], WindowWidth=[900, 3]),
            "window rescaled": dict(WindowCenter="40", WindowWidth="400", RescaleSlope="1.5", RescaleIntercept="-1024"),
            "narrow window": dict(WindowCenter="40.5", WindowWidth="1"),
            "exact window": dict(WindowCenter="100", WindowWidth="777.5", VOILUTFunction="LINEAR_EXACT"),
            "sigmoid": dict(WindowCenter="100", WindowWidth="777", VOILUTFunction="SIGMOID"),
            "rescaled": dict(RescaleSlope="0.25", RescaleIntercept="-7.5"),
            "falling": dict(RescaleSlope="-2", RescaleIntercept="3000"),
            "VOI LUT": dict(VOILUTSequence=lut(256, -5 if signed else 7, 12, (np.arange(256) * 16 % 4096))),
            "modality LUT": dict(ModalityLUTSequence=lut(1000, 11, 16, (np.arange(1000) * 61 % 65536))),
        }
        for name, more in tables.items():
            for photometric in ("MONOCHROME1", "MONOCHROME2"):
                ds, title = m.native(f"{name} {photometric} {bits} {signed}", (33, 17), photometric, bits, 16, signed, **more)
                m.add(title, saved(ds))
        for part in CT_WINDOWS:
            ds, title = m.native(f"CT {part} {bits} {signed}", (33, 17), "MONOCHROME2", bits, 16, signed, Modality="CT",
                                 SOPClassUID="1.2.840.10008.5.1.4.1.1.2", BodyPartExamined=part.upper(),
                                 RescaleSlope="1", RescaleIntercept="0" if signed else "-1024")  # fmt: skip
            m.add(title, saved(ds))
    ds, title = m.native("high bits", (33, 17), "MONOCHROME2", 12, 16, HighBit=15)
    m.add(title, saved(ds))

    # Encoded.
    for size in ENCODED:
        for frames in (1,) if size == SIZES[2] else (1, 3):
            for bits, allocated, signed in grays:
                ds, title = m.native(f"gray {bits}/{allocated} {'signed' if signed else ''} {frames}", size, "MONOCHROME2",
                                     bits, allocated, signed, frames)  # fmt: skip
                plain = saved(ds)
                for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
                    if frames > 1 and size == ENCODED[-1] and (bits, signed) != (8, False):
                        continue  # large
                    if syntax != RLELossless and size != ENCODED[-1]:
                        continue  # the encoders refuse small frames
                    coded = pydicom.dcmread(io.BytesIO(plain))
                    if syntax == JPEG2000Lossless and signed and bits < allocated:
                        # Signed samples are to fill their words for this encoder.
                        coded.PixelData = np.ascontiguousarray(coded.pixel_array).tobytes()
                    encode(coded, syntax)
                    m.add(f"{title} {syntax.name}", saved(coded))
                if not signed and bits >= 8 and size != (1, 1):
                    m.add(f"{title} JPEG lossless", by_gdcm(plain, "JPEGLosslessProcess14_1"))
            if frames > 1 and size == ENCODED[-1]:
                continue
            for planar in (0, 1):
                ds, title = m.native(f"RGB planar {planar} {frames}", size, "RGB", 8, 8, False, frames,
                                     PlanarConfiguration=planar)  # fmt: skip
                plain = saved(ds)
                for syntax in (RLELossless, JPEG2000Lossless):
                    # pydicom leaves planes as they are for JPEG 2000, which then has them as rows.
                    if syntax != RLELossless and (planar or size != ENCODED[-1]):
                        continue
                    coded = pydicom.dcmread(io.BytesIO(plain))
                    encode(coded, syntax)
                    m.add(f"{title} {syntax.name}", saved(coded))
            ds, title = m.native(f"RGB {frames}", size, "RGB", 8, 8, False, frames)
            m.add(f"{title} JPEG lossless", by_gdcm(saved(ds), "JPEGLosslessProcess14_1"))
            # Lossy.
            for photometric in ("MONOCHROME2", "RGB", "YBR_FULL"):
                ds, title = m.native(f"{photometric} {frames}", size, photometric, 8, 8, False, frames)
                ds.PixelData = pixel_bytes(smooth(*size, ds.SamplesPerPixel, frames), ds)
                # Rounded before colours are converted: a step of chroma is nearly two of blue.
                most = 3 if photometric == "YBR_FULL" else 2
                m.add(f"{title} JPEG baseline", by_gdcm(saved(ds), "JPEGBaselineProcess1"), most)
    # JPEG-LS as CharLS makes it, in each way of interleaving.
    for mode in (0, 1, 2):
        for near in (0, 3):
            for size, frames in (((40, 21), 1), ((34, 33), 2), ((257, 65), 1)):
                make = smooth if size[0] > 200 else lambda w, h, s, f: pattern(w, h, s, 8, False, f)
                ds, title = m.native(f"RGB {frames}", size, "RGB", 8, 8, False, frames)
                values = make(*size, 3, frames)
                # Flat parts, where runs are coded.
                values[:, :, size[1] // 2 :, : size[0] // 2] //= 64
                m.add(f"{title} JPEG-LS {mode} near {near}", by_charls(ds, values, mode, near))
    for bits, near in ((2, 0), (3, 1), (5, 0), (7, 2), (10, 0), (12, 4), (16, 0)):
        allocated = 8 if bits <= 8 else 16
        ds, title = m.native(f"gray {bits}", (61, 47), "MONOCHROME2", bits, allocated)
        values = pattern(61, 47, 1, bits, False, 1)
        values[:, :, 20:] = values[:, :, :1, :1]
        m.add(f"{title} JPEG-LS near {near}", by_charls(ds, values, 0, near))
    ds, title = m.native("near lossless", (34, 33), "MONOCHROME2", 8, 8)
    ds.compress(JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)
    m.add(title, saved(ds))
    for bits, allocated, syntax in ((8, 8, RLELossless), (16, 16, ExplicitVRLittleEndian)):
        ds, title = m.native(f"large {bits} {syntax.name}", LARGE, "MONOCHROME2", bits, allocated)
        ds.PixelData = pixel_bytes(smooth(*LARGE, 1, 1) // 32 << (bits - 4), ds)
        if syntax != ExplicitVRLittleEndian:
            encode(ds, syntax)
        m.add(title, saved(ds))
    packed = gzip.compress(m.out.getvalue(), 9, mtime=0)
    (HERE / "matrix.gz").write_bytes(packed)
    print(f"{m.count} files in {len(packed)} bytes")


def shared(folder):
    files = {}
    for path in sorted(Path(folder).glob("*.dcm")):
        ds = pydicom.dcmread(path)
        frames = reference(ds)
        lossy = ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        told = []
        for frame in frames:
            flat = frame.reshape(-1)
            told.append(flat[:: len(flat) // 97].tolist() if lossy else zlib.crc32(flat.tobytes()))
        files[path.name] = {"size": [ds.Columns, ds.Rows], "lossy": lossy, "frames": told}
    (HERE / "shared.json").write_text(json.dumps(files, indent=None) + "\n")


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    matrix()
    if sys.argv[1:]:
        shared(sys.argv[1])
