"""Frames a second of `bedside.cohort` over 1, 2 and 4 workers, on local processes and on Ray.

usage: python throughput.py [PICTURES [WORKERS...]]

Everything is counted that a run does: hashes, PNG, the model's load, the model, the table; a cluster's
start is not. Core time is that of all processes of the run, which other work on the machine changes
little; frames a second are what was seen beside that work.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import bedside
import numpy
import ray
from bedside import cohort
from PIL import Image

PROMPT = "polyp"


def pictures(folder: Path, number: int) -> None:
    """Pictures of 320x240 with noise of a camera, which no two have in common."""
    sample = Image.fromarray(bedside.read_image("models/edge/samples/polyp.png")).resize((320, 240))
    noise = numpy.random.default_rng(1)
    for place in range(number):
        pixels = numpy.asarray(sample) + noise.normal(0, 3, (240, 320, 3))
        Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(folder / f"{place:05}.png")


def core_seconds() -> float:
    """Of this process and all below it, those that have ended among them."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    below, last = {os.getpid()}, 0
    while len(below) > last:
        last = len(below)
        below |= {pid for pid, parent in parents.items() if parent in below}
    return sum(used[pid] for pid in below)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    crews = [int(workers) for workers in sys.argv[2:]] or [1, 2, 4]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        archive.mkdir()
        pictures(archive, number)
        size = sum(path.stat().st_size for path in archive.iterdir()) / number
        print(f"{number} pictures of 320x240, {size / 1e3:.0f} kB each; {os.cpu_count()} cores")
        for precision in ("int8", "f32"):
            for engine in ("local", "ray"):
                for workers in crews:
                    if engine == "ray":
                        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
                    out = Path(folder, f"{precision}-{engine}-{workers}")
                    load, cores, begin = os.getloadavg()[0], core_seconds(), time.perf_counter()
                    done = cohort.run(
                        archive, PROMPT, out, workers=workers, engine=engine, precision=precision
                    )
                    seconds, cores = time.perf_counter() - begin, core_seconds() - cores
                    assert done.answered == number
                    print(
                        f"{precision:<5} {engine:<6} {workers} workers: {number / seconds:6.1f} frames/s, "
                        f"{cores / number * 1e3:5.1f} ms of a core a frame, load before {load:.1f}",
                        flush=True,
                    )
                    ray.shutdown()


if __name__ == "__main__":
    main()
