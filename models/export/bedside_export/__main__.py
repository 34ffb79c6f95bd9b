"""Export BiomedParse v1 to a bundle: ``python -m bedside_export --help``."""

import argparse
import dataclasses
import pathlib
import sys

from . import LICENCE, checks, pack
from .errors import ExportError, run

# Modules that import numpy, onnxruntime or torch are imported where they are needed: help and
# errors in options come at once.

PRECISIONS = ("f32", "f16", "int8")
FEWEST = 4  # frames: some calibrate, others judge


def room():
    """What is needed beside the bundle, for the help."""
    told = ", ".join(
        f"{checks.sizes(p, 512)[1] / 1e9:.1f} GB for {'+'.join(p)}"
        for p in (PRECISIONS[:1], PRECISIONS[:2], PRECISIONS[::2], PRECISIONS)
    )
    return (
        "Free space is needed in the folder of --out while the bundle is made, the bundle among "
        f"it: {told}, at 512. Exit codes: 0, 2 for what was refused, 3 for a bundle without the "
        "int8 that was asked for."
    )


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m bedside_export", description=__doc__, epilog=room()
    )
    add = parser.add_argument
    add("--checkpoint", required=True, type=pathlib.Path, help=checks.CHECKPOINT)
    add("--tokenizer", type=pathlib.Path, help=checks.TOKENIZER)
    add("--out", type=pathlib.Path, required=True, help="bundle to write, NAME.bedside")
    add("--size", type=int, default=512, help="input side in pixels, a multiple of 32")
    add("--precision", default="f32", help="of f32, f16, int8, with commas; the first is default")
    add("--calibrate", help="folder of frames for int8, and for the report")
    add("--frames", type=int, default=24, help="how many of them to use at most")
    add("--labelled", help="folder with manifest.csv to fit the validity references on")
    add("--target-dist", help="BiomedParse's target_dist.json, carried over as it is")
    add("--meta", action="store_true", help="let the decoder answer meta objects too")
    add("--sensitivity", action="store_true", help="measure int8 part by part, protect the worst")
    add(
        "--allow-poor-int8",
        action="store_true",
        help="write int8 that loses more than 0.01 of Dice or 1 %% of the queries against f32",
    )
    add("--name", default="biomedparse-v1")
    add("--version", default="1.0.0", help="of the weights")
    add("--licence", default=LICENCE, help="of the weights")
    add("--lineage", help="where the weights come from; default: the checkpoint's name and date")
    add("--bedside", help="the `bedside` program; default: on PATH, or built in this checkout")
    add("--keep", type=pathlib.Path, help="folder to leave the unpacked source in")
    args = parser.parse_args(argv)
    args.precision = args.precision.split(",")
    return args


@dataclasses.dataclass
class Given:
    """What checking has read."""

    bedside: str  # the program
    words: object  # CLIP's tokenizer
    references: list  # of validity, carried over
    left: list  # upstream's references that have no form here


def check(args):
    """Everything that can be refused before minutes are spent; -> what was read meanwhile."""
    unknown = [p for p in args.precision if p not in PRECISIONS]
    if unknown or len(set(args.precision)) != len(args.precision):
        raise ExportError(
            f"--precision {','.join(args.precision)}; hint: each once, of {', '.join(PRECISIONS)}"
        )
    checks.check_side(args.size)
    if "int8" in args.precision and not args.calibrate:
        raise ExportError(
            "int8 needs frames to calibrate on; hint: --calibrate FOLDER with some tens of frames "
            "of the kinds that the device will see"
        )
    if args.frames < FEWEST:
        raise ExportError(f"--frames {args.frames}; hint: {FEWEST} at the very least")
    if args.labelled and args.target_dist:
        raise ExportError("--labelled and --target-dist exclude each other; hint: choose one")
    checks.writable(args.out)
    if args.keep and args.keep.exists() and any(args.keep.iterdir()):
        raise ExportError(f"--keep {args.keep} is not empty; hint: name a new folder")
    args.checkpoint, args.tokenizer = checks.located(args.checkpoint, args.tokenizer)
    checks.checkpoint_file(args.checkpoint)
    bedside = pack.program(args.bedside)
    if args.calibrate:
        count = len(checks.pictures(args.calibrate))
        if count < FEWEST:
            raise ExportError(
                f"{args.calibrate}: {count} frames, but some calibrate and others judge; hint: "
                f"{FEWEST} at the very least, some tens are good"
            )
    checks.space(args)
    from . import tokenizer

    given = Given(bedside, tokenizer.build(args.tokenizer), [], [])
    if args.labelled or args.target_dist:
        from . import manifest
    if args.labelled:
        manifest.check_labelled(args.labelled)
    if args.target_dist:
        given.references, given.left = manifest.carried(args.target_dist, args.precision)
    return given


def export(args):
    given = check(args)
    from . import exporter

    return exporter.export(args, given)


def main(argv=None):
    return run(lambda: export(arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
