"""Teach a bundle an object on frames of one's own: ``python -m bedside_train.finetune --help``.

The form gets a decoder of its own, which begins as the bundle's. Encoder and old decoder stay as
they are, so every other prompt is answered as before, bit for bit. Calling the same command again
goes on from where it stopped; the last things it does are a bundle, verified, and its report.
"""

import argparse
import pathlib
import sys

from .errors import run

EDGE = pathlib.Path(__file__).parents[2] / "edge/edge.bedside"


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m bedside_train.finetune", description=__doc__
    )
    add = parser.add_argument
    add("--start", type=pathlib.Path, default=EDGE, help="bundle to begin from")
    add(
        "--datasets",
        type=pathlib.Path,
        nargs="+",
        required=True,
        help="folders with manifest.csv",
    )
    add("--object", required=True, help="as manifest.csv spells it")
    add("--modality", required=True, help="as manifest.csv spells it")
    add(
        "--site",
        help="part of the body; may be left out where the bundle knows but one",
    )
    add(
        "--target",
        help="its word in the prompt TARGET in SITE MODALITY; default: the object",
    )
    add("--meta", help="meta object, for an object beyond the ontology")
    add("--fine", action="store_true", help="thin or tiny: looked for in larger inputs")
    add(
        "--thin", action="store_true", help="a net of lines: its centre lines count too"
    )
    add("--out", type=pathlib.Path, required=True, help="folder of the run")
    add(
        "--minutes",
        type=float,
        default=60,
        help="of training; some more are for the bundle",
    )
    add("--frames", type=int, help="to see at most")
    add("--name", help="of the bundle; default: that of the start and the object")
    add("--version", default="0.1.0", help="of the weights")
    add("--licence", help="of the weights; default: that of the start, and own data")
    add(
        "--self-test",
        action="store_true",
        help="put a val frame into the bundle as a self-test",
    )
    add(
        "--bedside",
        help="the `bedside` program; default: on PATH, or built in this checkout",
    )
    add("--threads", type=int, default=1, help="no more than there are idle cores")
    add("--seed", type=int, default=1)
    return parser.parse_args(argv)


def finetune(args):
    from . import command

    program = command.program(args.bedside)
    from . import tuning  # with torch, which takes seconds

    return tuning.tune(args, program)


def main(argv=None):
    return run(lambda: finetune(arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
