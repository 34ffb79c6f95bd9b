"""The `bedside` program, which packs a source folder and verifies the bundle."""

import pathlib
import shutil
import subprocess

from .errors import BadInput


def program(told):
    """The `bedside` program: as told, on PATH, or built in this checkout."""
    built = pathlib.Path(__file__).parents[3] / "target/release/bedside"
    found = told or shutil.which("bedside") or (str(built) if built.exists() else None)
    if found is None or shutil.which(found) is None:
        raise BadInput(
            "no `bedside` program to pack the bundle with; hint: cargo build --release --bin "
            "bedside in the checkout, or --bedside PATH"
        )
    return found


def say(*command):
    """Run it; -> what it said. What it refuses is bad input here, in its own words."""
    said = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if said.returncode:
        told = f"{said.stdout}{said.stderr}".strip()
        if said.returncode < 0:
            told = f"{told} ended by signal {-said.returncode}; hint: memory or disk may be short"
        raise BadInput(f"bedside {command[1]}: {told.strip()}")
    return said.stdout.strip()
