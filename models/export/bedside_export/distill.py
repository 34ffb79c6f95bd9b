"""Distil BiomedParse into the edge student: ``python -m bedside_export.distill --help``.

The teacher looks at unlabelled frames once; its logits and features are kept in the run folder.
The student (models/train) learns both with the teacher's own prompt tokens. Calling the same
command again goes on from where it stopped; the last thing it does is a bundle and its report.
"""

import argparse
import dataclasses
import pathlib
import sys

from . import LICENCE, checks, pack
from .errors import ExportError, run

FEWEST = 4  # frames: two are held out


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m bedside_export.distill", description=__doc__)
    add = parser.add_argument
    add("--teacher", type=pathlib.Path, required=True, help=f"{checks.CHECKPOINT}, or a .bedside")
    add("--tokenizer", type=pathlib.Path, help=checks.TOKENIZER)
    add("--frames", required=True, help="folder of unlabelled frames")
    add("--most", type=int, default=2000, help="frames to use at most")
    add("--prompt", action="append", required=True, help="as `bedside prompts` spells it in full")
    add("--run", type=pathlib.Path, required=True, help="folder of the run; resumes what is there")
    add("--out", type=pathlib.Path, required=True, help="bundle to write, NAME.bedside")
    add("--size", type=int, default=512, help="teacher's input side, for a checkpoint")
    add("--side", type=int, default=256, help="student's input side, a multiple of 32")
    add("--steps", type=int, default=4000)
    add("--batch", type=int, default=12)
    add("--rate", type=float, default=1e-3, help="learning rate")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--from-scratch", action="store_true", help="do without ImageNet weights")
    add("--name", default="edge-distilled")
    add("--version", default="0.1.0")
    add("--licence", default=LICENCE, help="of the weights: the teacher's")
    add("--bedside", help="the `bedside` program")
    return parser.parse_args(argv)


@dataclasses.dataclass
class Given:
    """What checking has read."""

    bedside: str  # the program
    words: object  # CLIP's tokenizer, for a checkpoint
    chosen: list  # rows of the ontology
    turned: bool  # whether frames are fed with rows and columns swapped


def check(args):
    """Everything that can be refused before minutes are spent; -> what was read meanwhile."""
    bedside = pack.program(args.bedside)
    if args.side % 32 or args.size % 32:
        raise ExportError("--side and --size are multiples of 32; hint: 256 and 512")
    checks.writable(args.out)
    words = None
    if args.teacher.suffix != ".bedside":
        args.teacher, args.tokenizer = checks.located(args.teacher, args.tokenizer)
        checks.checkpoint_file(args.teacher)
        from . import tokenizer

        words = tokenizer.build(args.tokenizer)
    elif not args.teacher.is_file():
        raise ExportError(f"{args.teacher}: no such file; hint: a checkpoint or a bundle")
    found = len(checks.pictures(args.frames))
    if found < FEWEST:
        raise ExportError(f"{args.frames}: {found} frames; hint: some hundreds at least")
    from bedside_train.text import ontology

    from . import manifest

    forms = {r["text"]: r for r in ontology()}
    for prompt in args.prompt:
        if prompt not in forms:
            raise ExportError(f"'{prompt}' is no form of the ontology; hint: `bedside prompts`")
    chosen = [forms[p] for p in args.prompt]
    turned = {(o["modality"], o["site"]) for o in manifest.ORIENTATION}
    ways = {(r["modality"], r["site"]) in turned for r in chosen}
    if len(ways) > 1:
        raise ExportError("prompts want frames in different orientations; hint: one run for each")
    return Given(bedside, words, chosen, ways == {True})


def distill(args, config=None):
    given = check(args)
    from . import student  # with torch, which takes seconds
    from .model import Config

    return student.distill(args, given, config or Config.v1())


def main(argv=None):
    def command():
        distill(arguments(argv))  # whose figures are no exit code

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
