"""Compare bedside's optical flow with OpenCV's DIS on phantoms whose movement is known.

    cargo build --release -p bedside-vision --example flow
    pip install opencv-python-headless==5.0.0.93 numpy
    python benches/peer_flow.py [--frames 24] [--seeds 1,2] [--size 1280x720] [--example FILE]

Both find, for each pixel of a frame, where it was in the frame before. OpenCV runs on one thread, on
luminance at bedside's reduced size (its resize with INTER_AREA counted) and at full size. Printed are
the mean end-point error inside the target in pixels of the frame, the median milliseconds a frame,
and that time over bedside's. bedside's time holds the reduction, the flow, and the flow the other way
round for its check; OpenCV's holds one way.
"""

import argparse
import csv
import io
import pathlib
import statistics
import subprocess
import tempfile
import time

import cv2
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 240  # bedside_vision::flow::LONGEST_SIDE
KINDS = ["polyp", "breast-tumor", "fetal-head"]
PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class Clip:
    """A phantom's frames, its movement, and what bedside made of them."""

    def __init__(self, args, kind, seed, folder):
        width, height = args.size
        command = [args.example, kind, seed, width, height, args.frames, folder]
        done = subprocess.run([str(a) for a in command], check=True, capture_output=True, text=True)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        self.times = [float(r["reduce_ms"]) + float(r["flow_ms"]) for r in rows]

        def read(name, kind, *shape):
            return np.fromfile(pathlib.Path(folder) / name, kind).reshape(args.frames, *shape)

        self.luma = read("luma.u8", np.uint8, height, width)
        self.mask = read("mask.u8", np.uint8, height, width) == 1
        self.truth = read("truth.f32", np.float32, height, width, 2)
        scale = -(-max(width, height) // LONGEST)
        self.reduced = -(-width // scale), -(-height // scale)
        self.flow = read("flow.f32", np.float32, *self.reduced[::-1], 2)

    def errors(self, index, flow):
        """End-point errors inside the target of a flow of any size."""
        height, width = self.luma.shape[1:]
        flow = flow * (width / flow.shape[1])
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        miss = (flow - self.truth[index])[self.mask[index]]
        return np.hypot(miss[:, 0], miss[:, 1])

    def ours(self):
        errors = [self.errors(i, self.flow[i]) for i in range(1, len(self.luma))]
        return errors, self.times

    def opencv(self, preset, reduce):
        method, errors, times = cv2.DISOpticalFlow_create(preset), [], []
        before = None
        for index, luma in enumerate(self.luma):
            start = time.perf_counter()
            if reduce:
                luma = cv2.resize(luma, self.reduced, interpolation=cv2.INTER_AREA)
            if before is not None:
                flow = method.calc(luma, before, None)
                times.append((time.perf_counter() - start) * 1e3)
                errors.append(self.errors(index, flow))
            before = luma
        return errors, times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--example", default=str(ROOT / "target/release/examples/flow"))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--size", default="1280x720")
    args = parser.parse_args()
    args.size = [int(n) for n in args.size.split("x")]
    cv2.setNumThreads(1)
    print(f"OpenCV {cv2.__version__}, one thread; {args.frames} frames of {args.size}")
    print("phantom       flow                 error/px      ms  ratio")
    for kind in KINDS:
        rows = {}

        def add(name, result):
            errors, times = rows.setdefault(name, ([], []))
            errors.extend(result[0])
            times.extend(result[1])

        for seed in args.seeds.split(","):
            with tempfile.TemporaryDirectory() as folder:
                clip = Clip(args, kind, seed, folder)
            add("bedside", clip.ours())
            for name, preset in PRESETS.items():
                add(f"{name}, reduced", clip.opencv(preset, True))
                add(f"{name}, full size", clip.opencv(preset, False))
        own = statistics.median(rows["bedside"][1])
        for name, (errors, times) in rows.items():
            ms = statistics.median(times)
            error = np.concatenate(errors).mean()
            print(f"{kind:13} {name:20} {error:8.2f} {ms:7.2f}  {ms / own:5.2f}", flush=True)


if __name__ == "__main__":
    main()
