"""Frames of DICOM files, by pydicom."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from .. import FrameError

Box = tuple[int, int, int, int]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


class Dicom:
    """A file's frames, as 8-bit gray or RGB.

    8 bits stay as they are; more go through the file's own modality and window, and are refused where
    it has none, as it would take a guess.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pydicom import dcmread
        except ImportError as error:
            raise FrameError(f"{path}: DICOM needs pydicom; hint: pip install 'bedside[dicom]'") from error
        self._path = path
        try:
            self._header = dcmread(path, stop_before_pixels=True)
        except Exception as error:
            raise self._refused(error) from error

    def __iter__(self) -> Iterator[NDArray[numpy.uint8]]:
        from pydicom.pixels import iter_pixels

        try:
            for pixels in iter_pixels(self._path):
                yield self._shown(pixels)
        except FrameError:
            raise
        # Decoders are plugins, and a damaged file may break them in any way.
        except Exception as error:
            raise self._refused(error) from error

    def spacing(self, box: Box) -> tuple[float, float] | None:
        """Width and height in millimetres of a pixel within a box (x, y, width, height)."""
        if spacing := self._header.get("PixelSpacing"):
            return float(spacing[1]), float(spacing[0])
        x, y, width, height = box
        for region in self._header.get("SequenceOfUltrasoundRegions", []):
            left, top = region.RegionLocationMinX0, region.RegionLocationMinY0
            right, bottom = region.RegionLocationMaxX1, region.RegionLocationMaxY1
            inside = left <= x and top <= y and x + width - 1 <= right and y + height - 1 <= bottom
            centimetres = region.PhysicalUnitsXDirection == region.PhysicalUnitsYDirection == 3
            if inside and centimetres:
                return abs(region.PhysicalDeltaX) * 10, abs(region.PhysicalDeltaY) * 10
        return None

    def _shown(self, pixels: NDArray[Any]) -> NDArray[numpy.uint8]:
        from pydicom.pixels import apply_modality_lut, apply_windowing

        header = self._header
        if pixels.ndim == 2 and header.get("WindowWidth") is not None:
            values = apply_windowing(apply_modality_lut(pixels, header), header)
            low, high = self._range(values)
            pixels = ((values - low) * (255 / (high - low))).round().clip(0, 255).astype(numpy.uint8)
        if pixels.dtype != numpy.uint8 or header.PhotometricInterpretation == "PALETTE COLOR":
            raise FrameError(
                f"{self._path}: pixels of {pixels.dtype} without a window, or a palette; hint: export it as a picture, "
                "or ask `bedside segment`, which has rules for such files"
            )
        return 255 - pixels if header.PhotometricInterpretation == "MONOCHROME1" else pixels

    def _range(self, values: NDArray[Any]) -> tuple[float, float]:
        """Of what a window gives: that of the stored values, after the modality's slope."""
        bits, signed = self._header.BitsStored, self._header.PixelRepresentation
        slope = float(self._header.get("RescaleSlope", 1))
        offset = float(self._header.get("RescaleIntercept", 0))
        low = -(2 ** (bits - 1)) if signed else 0
        return low * slope + offset, (low + 2**bits - 1) * slope + offset

    def _refused(self, error: Exception) -> FrameError:
        why = " ".join(str(error).split()) or type(error).__name__
        return FrameError(
            f"{self._path}: {why}; hint: copy the file again, or see which decoders pydicom has"
        )
