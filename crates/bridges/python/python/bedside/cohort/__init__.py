"""Findings on an archive: folders and tables of pictures, clips and DICOM to a Parquet table.

    from bedside import cohort

    cohort.run("archive", ["polyp"], "findings", workers=8)
    pandas.read_parquet("findings")

The same from a shell: ``python -m bedside.cohort archive --prompt polyp --out findings``. Needs pyarrow
(``pip install 'bedside[cohort]'``), and Ray for ``engine="ray"``.

The output is a folder of Parquet files, which together are the table. Each holds the rows of one part, some
sources, and appears whole or not at all. A run that is begun again goes on where it was: a source whose
content has been answered is not read again, whatever it is called now. The table has these columns:

source          absolute path of the file; of several with the same content, the first
source_sha256   hash of the file's content; null where it could not be read
frame           index from 0; null where no frame could be read
prompt, object, present, presence, mean_probability, validity, fit, withheld
                as in `bedside.Finding`; null in rows with an error
area_px, area_mm2
                area of the mask; in square millimetres where a DICOM file tells the size of a pixel there
box_x, box_y, box_width, box_height
                extents of the mask in pixels
bundle_digest, precision, bedside_version
                what answered: the same three, the same answers
error           why a source or one of its frames has no answer; null elsewhere
"""

import dataclasses
import fcntl
import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy

from .. import ConfigError, Prompt, Segmenter, __version__
from ._engines import Local, Ray
from ._parts import SEG, Part, Question, answered, failed, write
from ._sources import files

__all__ = ["Summary", "run"]

# A part that has ended so many processes is answered source by source, to find the one that does it.
_MOST_DEATHS = 3


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did: numbers of sources."""

    sources: int
    """All that were named, each content once."""
    done_before: int
    """Answered by earlier runs: not read again but for their hash."""
    answered: int
    """Answered by this run, with or without an error."""
    unreadable: int
    """Could not be read at all: tried again by the next run."""


def run(
    sources: str | PathLike[str] | Iterable[str | PathLike[str]],
    prompts: str | Prompt | Iterable[str | Prompt],
    out: str | PathLike[str],
    *,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    bundle: str | PathLike[str] | None = None,
    precision: Literal["f32", "f16", "int8"] | None = None,
    side: int | None = None,
    every: int = 1,
    seg: bool = False,
    part: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Answer prompts on every frame of the sources, and write what is found to the folder `out`.

    sources: files, folders, and tables (CSV or Parquet) with a column `path`, relative to the table.
        Folders are searched with theirs for pictures, clips and DICOM files.
    prompts: as for `Segmenter.segment`; each must name one object by itself.
    workers: processes, each with one thread; without it, one per core.
    engine: "local", processes of this machine, or "ray", tasks of the cluster that Ray is connected
        to, else of this machine. Workers of a cluster read sources and write `out` by the same paths.
    bundle, precision, side: as for `Segmenter.open`.
    every: of each clip and multi-frame file, only every so manieth frame.
    seg: write the masks of each DICOM file as a Segmentation object, `_seg/` in `out` with
        `source_sha256` and `.dcm` as its name. What was found is in the table all the same where that
        can't be made, and why not.
    part: most sources of a part, the least that is answered again after a worker died.
    progress: called with the sources that are done and all that are to be done.

    A source that can't be decoded gives a row with its error and stops no other.
    """
    for name, number in (("workers", workers), ("every", every), ("part", part)):
        if number is not None and number < 1:
            raise ConfigError(f"{name}={number}; hint: at least 1")
    if engine not in ("local", "ray"):
        raise ConfigError(f"no engine '{engine}'; hint: 'local' or 'ray'")
    workers = workers or os.cpu_count() or 1
    question = _question(prompts, bundle, precision, side, every, seg)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if seg:
        (folder / SEG).mkdir(exist_ok=True)
    with open(folder / "_lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: another run writes here; hint: wait for it") from None
        _same_question(folder, question)
        for left in [*folder.glob(".part-*"), *folder.glob(f"{SEG}/.*")]:
            left.unlink()
        contents, unreadable = _hashed(files(sources), workers)
        done = answered(folder)
        pending = [(str(path), sha256) for sha256, path in contents.items() if sha256 not in done]
        rows = [failed(path, None, None, question, why) for path, why in unreadable]
        write(folder, "part-unreadable", rows)
        parts = [Part(sources) for sources in _chunks(pending, part)]
        if parts:
            _answer(parts, question, folder, min(workers, len(parts)), engine, progress)
    return Summary(
        sources=len(contents) + len(unreadable),
        done_before=len(contents) - len(pending),
        answered=len(pending),
        unreadable=len(unreadable),
    )


def _answer(
    parts: list[Part],
    question: Question,
    out: Path,
    workers: int,
    engine: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    """See every part through, whatever happens to the processes that answer it."""
    queue = deque(parts)
    deaths: dict[str, int] = {}
    ended, all_sources = 0, sum(len(part.sources) for part in parts)
    crew = (Ray if engine == "ray" else Local)(question, out, workers)
    try:
        running = 0
        while queue or running:
            while queue and running < workers:
                crew.start(queue.popleft())
                running += 1
            part = crew.wait()
            running -= 1
            if not part.is_in(out):
                deaths[part.name] = deaths.get(part.name, 0) + 1
                if deaths[part.name] < _MOST_DEATHS:
                    queue.append(part)
                    continue
                if len(part.sources) > 1:
                    queue.extend(Part([source]) for source in part.sources)
                    continue
                why = f"the process that answered it ended {_MOST_DEATHS} times without a word"
                rows = [failed(*source, None, question, why) for source in part.sources]
                write(out, part.name, rows)
            ended += len(part.sources)
            if progress:
                progress(ended, all_sources)
    finally:
        crew.close()


def _question(
    prompts: str | Prompt | Iterable[str | Prompt],
    bundle: str | PathLike[str] | None,
    precision: Literal["f32", "f16", "int8"] | None,
    side: int | None,
    every: int,
    seg: bool,
) -> Question:
    """What is asked, seen to be askable; and the bundle is proved here, which workers find remembered."""
    several = [prompts] if isinstance(prompts, (str, Prompt)) else prompts
    asked = [p if isinstance(p, Prompt) else Prompt(p) for p in several]
    segmenter = Segmenter.open(bundle, precision=precision, side=side, threads=1)
    segmenter.segment(numpy.zeros((16, 16), numpy.uint8), asked)
    return Question(
        prompts=[(prompt.text, prompt.modality, prompt.site) for prompt in asked],
        bundle=str(segmenter.path.absolute()),
        bundle_digest=segmenter.digest,
        precision=segmenter.precision,
        side=side,
        every=every,
        seg=seg,
        bedside_version=__version__,
    )


def _same_question(out: Path, question: Question) -> None:
    """One table answers one question."""
    asked = dataclasses.asdict(question)
    del asked["bundle"]  # where it lies does not matter, its digest does
    text = json.dumps(asked, indent=1)
    path = out / "_question.json"
    if not path.exists():
        path.write_text(text)
    elif path.read_text() != text:
        raise ConfigError(
            f"{out} holds answers to another question, told in {path.name}; hint: name another folder"
        )


def _hashed(paths: Iterable[Path], workers: int) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """The first path of each content by its hash, and the paths that can't be read with the reason."""

    def hashed(path: Path) -> tuple[Path, str | None, str]:
        try:
            with path.open("rb") as file:
                return path, hashlib.file_digest(file, "sha256").hexdigest(), ""
        except OSError as error:
            return path, None, f"{path}: {error.strerror}; hint: check the path and who may read it"

    contents: dict[str, Path] = {}
    unreadable = []
    with ThreadPoolExecutor(workers) as pool:
        for path, sha256, why in pool.map(hashed, paths):
            if sha256 is None:
                unreadable.append((str(path), why))
            else:
                contents.setdefault(sha256, path)
    return contents, unreadable


def _chunks(sources: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    several = iter(sources)
    while chunk := list(itertools.islice(several, size)):
        yield chunk
