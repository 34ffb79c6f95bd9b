"""The `bedside` program, which packs a source folder and verifies the bundle."""

import pathlib
import shutil
import subprocess

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


def pack(program, source, bundle):
    """Pack and verify; the bundle is the old file or the whole new one. -> what was said."""
    said = subprocess.run(
        [program, "pack", str(source), str(bundle)], capture_output=True, text=True
    )
    if said.returncode:
        raise ExportError(f"bedside pack: {said.stderr.strip()}")
    return said.stdout.strip()
