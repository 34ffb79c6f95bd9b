"""The `bedside` program, which packs a source folder and verifies the bundle."""

import pathlib
import shutil
import subprocess
import tempfile

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
        raise ExportError(f"bedside {command[1]}: {said.stdout}{said.stderr.strip()}")
    return said.stdout.strip()


def pack(program, source, bundle):
    """Pack and verify; the bundle is the old file or the whole new one. -> what was said.

    Verifying runs the self-tests of every precision in the runtime that the device has, so a
    bundle that is there has passed them.
    """
    with tempfile.TemporaryDirectory(dir=bundle.absolute().parent) as scratch:
        new = pathlib.Path(scratch) / bundle.name
        _say(program, "pack", source, new)
        verified = _say(program, "verify", new)
        size = new.stat().st_size
        new.replace(bundle)
    return f"wrote {bundle}, {size} bytes\n{verified}"
