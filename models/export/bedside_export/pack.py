"""The `bedside` program, which packs a source folder and verifies the bundle."""

import pathlib
import shutil
import subprocess

from . import checks, scratch
from .errors import ExportError


def program(told):
    """The `bedside` program, which packs and verifies."""
    built = pathlib.Path(__file__).parents[3] / "target/release/bedside"
    found = told or shutil.which("bedside") or (str(built) if built.exists() else None)
    if found is None or shutil.which(found) is None:
        raise ExportError(
            "no `bedside` program to pack the bundle with; hint: cargo build --release --bin "
            "bedside in the checkout, or --bedside PATH"
        )
    return found


def _say(*command):
    said = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if said.returncode:
        told = f"{said.stdout}{said.stderr}".strip()
        if said.returncode < 0:
            told = f"{told} ended by signal {-said.returncode}; hint: memory or disk may be short"
        raise ExportError(f"bedside {command[1]}: {told.strip()}")
    return said.stdout.strip()


def pack(program, source, report, out):
    """Pack, verify, and put bundle and report where they belong. -> what was said.

    Verifying runs the self-tests of every precision in the runtime that the device has, so a
    bundle that is there has passed them. What was there before is replaced by renaming, which
    needs no space, when all the rest has been done.
    """
    with scratch.beside(out) as made:
        bundle, ready = made / out.name, scratch.copy(report, made / "report")
        _say(program, "pack", source, bundle)
        verified = _say(program, "verify", bundle)
        size = bundle.stat().st_size
        folder = checks.report_of(out)
        folder.mkdir(exist_ok=True)
        bundle.replace(out)
        for file in ready.iterdir():
            file.replace(folder / file.name)
    return f"{verified}\nwrote {out}, {size} bytes; report in {folder}"
