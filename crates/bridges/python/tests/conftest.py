"""What the tests share. They run on the installed wheel."""

import os
import shutil
from pathlib import Path

import bedside
import numpy
import pytest

ROOT = Path(__file__).resolve().parents[4]
SAMPLES = ROOT / "models/edge/samples"


@pytest.fixture(scope="session")
def segmenter() -> bedside.Segmenter:
    return bedside.Segmenter.open(threads=2)


@pytest.fixture(scope="session")
def colon() -> numpy.ndarray:
    return bedside.read_image(SAMPLES / "polyp.png")


@pytest.fixture(scope="session")
def command() -> str:
    """The command `bedside`; CI names it."""
    named = os.environ.get("BEDSIDE_COMMAND") or shutil.which("bedside")
    if not named:
        pytest.skip("skipped: no command `bedside`; hint: BEDSIDE_COMMAND names one")
    return named
