"""What a call from Python costs beyond the time that the segmenter itself took, at 640 x 480.

usage: python overhead.py [CALLS]
"""

import statistics
import sys
import time

import bedside
import numpy


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    segmenter = bedside.Segmenter.open(precision="int8", threads=1)
    sample = bedside.read_image("models/edge/samples/polyp.png")
    image = numpy.zeros((480, 640, 3), numpy.uint8)
    image[120:360, 144:496] = sample
    kinds = {
        "rgb": image,
        "bgr": image,
        "rows with gaps": numpy.pad(image, ((0, 0), (0, 8), (0, 0)))[:, :640],
    }
    for name, image in kinds.items():
        order = "bgr" if name == "bgr" else "rgb"
        beyond, own = [], []
        for _ in range(calls):
            begin = time.perf_counter()
            findings = segmenter.segment(image, "polyp", order=order)
            mask = findings[0].mask
            wall = (time.perf_counter() - begin) * 1e3
            assert order == "bgr" or mask is not None
            own.append(findings.milliseconds["total"])
            beyond.append(wall - own[-1])
        low, median, high = (
            statistics.quantiles(beyond, n=20)[0],
            statistics.median(beyond),
            statistics.quantiles(beyond, n=20)[-1],
        )
        print(
            f"{name:<15} own {statistics.median(own):6.2f} ms; beyond it {median:.3f} ms (5 % {low:.3f}, 95 % {high:.3f})"
        )


if __name__ == "__main__":
    main()
