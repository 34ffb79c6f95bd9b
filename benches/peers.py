"""Time bedside, onnxruntime and tract alone on the two graphs of the edge bundle, in the same run.

    cargo build --release --workspace
    pip install onnxruntime==1.32.0 numpy
    python benches/peers.py [--threads 1,2] [--rounds 7] [--bundle FILE]

Rounds of the engines alternate, so that a machine whose speed drifts slows all. bedside and tract
alone run the whole path (frame to findings, `bedside bench --json`); onnxruntime runs encoder and
decoder alone, on the same inputs' shapes. Printed are medians over rounds in milliseconds, and the
median of the ratios of neighbouring rounds: above 1 means that bedside is slower.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time
import zipfile

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[1]


def bedside_round(args, backend, precision, threads):
    """Milliseconds (encoder, decoder, whole path) of one `bedside bench`."""
    command = [
        args.command, "bench", "--json", "--bundle", args.bundle, "--precision", precision,
        "--threads", str(threads), "--frames", str(args.iterations), "--prompt", "polyp",
        "--backend", backend,
    ]  # fmt: skip
    out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stages = {s["stage"]: s["median"] for s in out["stages"]}
    return stages["encoder"], stages["decoder"], stages["total"]


class Peer:
    """Encoder and decoder in onnxruntime."""

    def __init__(self, bundle, precision, threads):
        manifest = json.loads(bundle.read("manifest.json"))
        variant = next(v for v in manifest["variants"] if v["precision"] == precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        load = lambda part: onnxruntime.InferenceSession(bundle.read(part), options)  # noqa: E731
        self.encoder, self.decoder = load(variant["encoder"]), load(variant["decoder"])
        rng = np.random.default_rng(1)
        side = manifest["input"]["side"]
        self.image = rng.standard_normal((1, 3, side, side), np.float32)
        names = [o.name for o in self.encoder.get_outputs()]
        self.feed = dict(zip(names, self.encoder.run(None, {"image": self.image})))
        dim = next(i.shape[2] for i in self.decoder.get_inputs() if i.name == "tokens")
        self.feed["tokens"] = rng.standard_normal((1, 12, dim), np.float32)
        self.feed["token_mask"] = np.ones((1, 12), np.float32)

    def round(self, iterations):
        """Median milliseconds (encoder, decoder, sum)."""
        times = []
        for _ in range(iterations):
            a = time.perf_counter()
            self.encoder.run(None, {"image": self.image})
            b = time.perf_counter()
            self.decoder.run(None, self.feed)
            c = time.perf_counter()
            times.append(((b - a) * 1e3, (c - b) * 1e3, (c - a) * 1e3))
        return tuple(statistics.median(t) for t in zip(*times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=str(ROOT / "models/edge/edge.bedside"))
    parser.add_argument("--command", default=str(ROOT / "target/release/bedside"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=30)
    args = parser.parse_args()
    bundle = zipfile.ZipFile(args.bundle)
    manifest = json.loads(bundle.read("manifest.json"))
    print(f"onnxruntime {onnxruntime.__version__}; {args.rounds} rounds of {args.iterations}; ms")
    print("precision threads  stage    bedside  onnxruntime  ratio  tract alone  ratio")
    for precision in (v["precision"] for v in manifest["variants"]):
        for threads in map(int, args.threads.split(",")):
            peer = Peer(bundle, precision, threads)
            peer.round(3)
            rounds = []
            for _ in range(args.rounds):
                ours = bedside_round(args, "tract-cpu", precision, threads)
                stock = bedside_round(args, "tract-stock", precision, threads)
                rounds.append((ours, peer.round(args.iterations), stock))
            for i, stage in enumerate(("encoder", "decoder", "path")):
                ours, theirs, stock = (statistics.median(r[e][i] for r in rounds) for e in range(3))
                to_theirs, to_stock = (
                    statistics.median(r[0][i] / r[e][i] for r in rounds) for e in (1, 2)
                )
                print(
                    f"{precision:9} {threads:7}  {stage:7} {ours:8.2f} {theirs:12.2f} "
                    f"{to_theirs:6.2f} {stock:12.2f} {to_stock:6.2f}"
                )


if __name__ == "__main__":
    main()
