"""Whether memory grows over many calls, wrong ones among them.

usage: python many_calls.py CALLS [BUNDLE]

A call with the edge bundle takes milliseconds; with that of `bedside pack
crates/bedside-cli/tests/golden/bundle FILE`, 100,000 are done within a minute.
"""

import contextlib
import sys
from pathlib import Path

import bedside
import numpy

SAMPLE = Path(__file__).resolve().parents[4] / "models/edge/samples/polyp.png"


def resident() -> int:
    """Bytes of memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def run(segmenter: bedside.Segmenter, image: numpy.ndarray, calls: int) -> None:
    """Calls with an answer; one in ten is followed by one that is refused."""
    for call in range(calls):
        findings = segmenter.segment(image, "polyp")
        assert findings[0].mask is not None
        if call % 10 == 0:
            with contextlib.suppress(bedside.FrameError):
                segmenter.segment(image.astype(numpy.float32), "polyp")
            with contextlib.suppress(bedside.PromptError):
                segmenter.segment(image, f"no such thing {call}")


def main() -> None:
    calls = int(sys.argv[1])
    segmenter = bedside.Segmenter.open(*sys.argv[2:], threads=1)
    image = bedside.read_image(SAMPLE)
    run(segmenter, image, calls // 100)
    print(f"{0:>7} calls {resident() / 1e6:8.1f} MB", flush=True)
    for part in range(1, 11):
        run(segmenter, image, calls // 10)
        print(f"{calls // 10 * part:>7} calls {resident() / 1e6:8.1f} MB", flush=True)


if __name__ == "__main__":
    main()
