"""``python -m bedside.cohort``: see `bedside.cohort.run`."""

import argparse
import sys

from .. import Error
from . import run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bedside.cohort",
        description="Find objects in every frame of an archive; the findings become a Parquet table.",
        epilog="Research use only. Not a medical device. Not for clinical decisions.",
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="file, folder, or table with a column path"
    )
    parser.add_argument(
        "--prompt", action="append", required=True, metavar="TEXT", help="object to find; may be repeated"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the table; a run goes on where it was"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes [default: one per core]")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--bundle", metavar="PATH", help="model bundle [default: the edge model]")
    parser.add_argument("--precision", choices=("f32", "f16", "int8"))
    parser.add_argument("--side", type=int, metavar="PIXELS", help="side of the model's input")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="every Nth frame of clips [default: 1]"
    )
    parser.add_argument(
        "--seg", action="store_true", help="write the masks of DICOM files as Segmentation objects to DIR/_seg"
    )
    parser.add_argument(
        "--part", type=int, default=100, metavar="N", help="most sources of a part [default: 100]"
    )
    options = vars(parser.parse_args())
    shown = sys.stderr.isatty()

    def progress(done: int, of: int) -> None:
        if shown:
            print(f"\r{done} of {of} sources", end="", file=sys.stderr, flush=True)

    try:
        done = run(options.pop("sources"), options.pop("prompt"), **options, progress=progress)
    except (Error, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{done.sources} sources: {done.answered} answered now, {done.done_before} before, "
        f"{done.unreadable} unreadable"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
