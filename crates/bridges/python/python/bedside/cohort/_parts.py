"""Parts: some sources, and the Parquet file with their rows."""

import dataclasses
import functools
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from .. import Dicom, EngineError, FrameError, Frames, Prompt, Segmentation, Segmenter
from ._sources import is_dicom

SEG = "_seg"
"""Folder of Segmentation objects within that of the table."""

SCHEMA = pyarrow.schema(
    [
        ("source", pyarrow.string()),
        ("source_sha256", pyarrow.string()),
        ("frame", pyarrow.int32()),
        ("prompt", pyarrow.string()),
        ("object", pyarrow.string()),
        ("present", pyarrow.bool_()),
        ("presence", pyarrow.float32()),
        ("area_px", pyarrow.int64()),
        ("area_mm2", pyarrow.float64()),
        ("box_x", pyarrow.int32()),
        ("box_y", pyarrow.int32()),
        ("box_width", pyarrow.int32()),
        ("box_height", pyarrow.int32()),
        ("mean_probability", pyarrow.float32()),
        ("validity", pyarrow.float32()),
        ("fit", pyarrow.float32()),
        ("withheld", pyarrow.string()),
        ("bundle_digest", pyarrow.string()),
        ("precision", pyarrow.string()),
        ("bedside_version", pyarrow.string()),
        ("error", pyarrow.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of every frame, and of which model."""

    prompts: list[tuple[str, Any, str | None]]
    bundle: str
    bundle_digest: str
    precision: str
    side: int | None
    every: int
    seg: bool
    bedside_version: str


class Part:
    """Some sources, as (path, sha256), named by their content: the same sources, the same file."""

    def __init__(self, sources: list[tuple[str, str]]) -> None:
        self.sources = sources
        contents = "".join(sha256 for _, sha256 in sources)
        self.name = "part-" + hashlib.sha256(contents.encode()).hexdigest()[:32]

    def is_in(self, out: Path) -> bool:
        return (out / f"{self.name}.parquet").exists()


def answered(out: Path) -> set[str]:
    """Hashes of the sources that the parts in a folder answer."""
    done: set[str] = set()
    for path in out.glob("part-*.parquet"):
        done.update(parquet.read_table(path, columns=["source_sha256"])["source_sha256"].to_pylist())
    return done


def write(
    out: Path, name: str, rows: list[dict[str, Any]], unless: Callable[[], bool] = lambda: False
) -> None:
    """Put the file of a part in its place, whole, unless there is a reason not to when it is written."""
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), file)
    _put(file.getvalue(), out / f"{name}.parquet", unless)


def _put(content: bytes, path: Path, unless: Callable[[], bool] = lambda: False) -> None:
    aside = path.with_name(f".{path.stem}-{os.getpid()}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if unless():
        aside.unlink()
    else:
        aside.replace(path)


def answer(part: Part, question: Question, out: Path) -> list[dict[str, Any]]:
    """The rows of a part, whose Segmentation objects are in their place then. The model is loaded by the
    first part of a process, be it an empty one."""
    model = _model(question.bundle, question.precision, question.side)
    prompts = [Prompt(*prompt) for prompt in question.prompts]
    rows = [_rows(path, sha256, question, model, prompts, out) for path, sha256 in part.sources]
    return list(itertools.chain.from_iterable(rows))


def failed(path: str, sha256: str | None, frame: int | None, question: Question, why: str) -> dict[str, Any]:
    """The row of what has no answer."""
    return _who(path, sha256, frame, question) | {"error": why}


def _who(path: str, sha256: str | None, frame: int | None, question: Question) -> dict[str, Any]:
    return {
        "source": path,
        "source_sha256": sha256,
        "frame": frame,
        "bundle_digest": question.bundle_digest,
        "precision": question.precision,
        "bedside_version": question.bedside_version,
    }


def _rows(
    path: str, sha256: str, question: Question, segmenter: Segmenter, prompts: list[Prompt], out: Path
) -> Iterator[dict[str, Any]]:
    frame = None
    try:
        source = Dicom.open(path) if is_dicom(Path(path)) else Frames.open(path)
        dicom = source if isinstance(source, Dicom) else None
        left, top, *_ = dicom.picture if dicom else (0, 0)
        masks = Segmentation(dicom, segmenter) if dicom and question.seg else None
        for frame, image in _frames(source, question.every):
            findings = segmenter.segment(image, prompts)
            for finding in findings:
                box = finding.bounding_box
                spacing = dicom.spacing(box) if box and dicom else None
                place: tuple[int, ...] = (box[0] + left, box[1] + top, *box[2:]) if box else ()
                yield _who(path, sha256, frame, question) | {
                    "prompt": finding.prompt,
                    "object": finding.object,
                    "present": finding.present,
                    "presence": finding.presence,
                    "area_px": finding.area,
                    "area_mm2": finding.area * spacing[0] * spacing[1] if spacing else None,
                    **dict(zip(("box_x", "box_y", "box_width", "box_height"), place)),
                    "mean_probability": finding.mean_probability,
                    "validity": finding.validity,
                    "fit": finding.fit,
                    "withheld": finding.withheld,
                }
            if masks:
                masks.add(frame, findings)
        if masks:
            _put(masks.to_bytes(), out / SEG / f"{sha256}.dcm")
    except (FrameError, EngineError) as error:
        yield failed(path, sha256, frame, question, str(error))


def _frames(source: Dicom | Frames, every: int) -> Iterator[tuple[int, NDArray[numpy.uint8]]]:
    if isinstance(source, Dicom):
        return ((frame, source[frame]) for frame in range(0, len(source), every))
    return itertools.islice(enumerate(source), 0, None, every)


@functools.cache
def _model(bundle: str, precision: Any, side: int | None) -> Segmenter:
    """One thread: others answer other parts."""
    return Segmenter.open(bundle, precision=precision, side=side, threads=1)
