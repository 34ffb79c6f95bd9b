"""The `bedside` program, which packs a source folder and verifies the bundle."""

from bedside_train.command import program, say

from . import checks, scratch

__all__ = ["pack", "program"]


def pack(program, source, report, out):
    """Pack, verify, and put bundle and report where they belong. -> what was said.

    Verifying runs the self-tests of every precision in the runtime that the device has, so a
    bundle that is there has passed them. What was there before is replaced by renaming, which
    needs no space, when all the rest has been done.
    """
    with scratch.beside(out) as made:
        bundle, ready = made / out.name, scratch.copy(report, made / "report")
        say(program, "pack", source, bundle)
        verified = say(program, "verify", bundle)
        size = bundle.stat().st_size
        folder = checks.report_of(out)
        folder.mkdir(exist_ok=True)
        bundle.replace(out)
        for file in ready.iterdir():
            file.replace(folder / file.name)
    return f"{verified}\nwrote {out}, {size} bytes; report in {folder}"
