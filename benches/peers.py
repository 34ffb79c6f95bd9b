"""Time bedside and its peers on the two graphs of the edge bundle, in the same run.

    cargo build --release --workspace
    pip install onnxruntime==1.32.0 numpy
    cargo install rten-cli --version 0.27.0
    python benches/peers.py [--threads 1,2] [--rounds 7] [--bundle FILE] [--rten rten]
        [--curves prompts.svg]

Rounds of the engines alternate, so that a machine whose speed drifts slows all. bedside and tract
alone run the whole path (frame to findings, `bedside bench --json`); onnxruntime and rten run
encoder and decoder alone, on the same inputs' shapes. Printed are medians over rounds in
milliseconds, and the median of the ratios of neighbouring rounds: above 1 means that bedside is
slower. A peer that cannot run a graph shows as "-".

For f32 on one thread, a last line gives the encoder's multiply-adds a second as a share of what
numpy's matrix product reaches on one thread in the same rounds. --curves also times bedside's
whole path over the number of prompts, and draws it.
"""

import argparse
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = ("encoder", "decoder", "path")
PROMPTS = (1, 2, 4, 8, 16, 32, 64, 82)
TOKENS = 12
WARM_UP = 3


def bedside_round(args, precision, threads, backend="tract-cpu", prompts=1):
    """Median milliseconds (encoder, decoder, whole path) of one `bedside bench`."""
    command = [
        args.command, "bench", "--json", "--against", "none", "--bundle", args.bundle, "--precision", precision,
        "--threads", str(threads), "--frames", str(args.iterations), "--backend", backend,
        *["--prompt", "polyp"] * prompts,
    ]  # fmt: skip
    out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stages = {s["stage"]: s["median"] for s in out["stages"]}
    return stages["encoder"], stages["decoder"], stages["total"]


class Onnxruntime:
    """Encoder and decoder in onnxruntime."""

    def __init__(self, encoder, decoder, threads):
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(graph, self.options) for graph in (encoder, decoder)
        )
        rng = np.random.default_rng(1)
        (image,) = self.encoder.get_inputs()
        self.image = {image.name: rng.standard_normal(image.shape, np.float32)}
        names = [o.name for o in self.encoder.get_outputs()]
        self.feed = dict(zip(names, self.encoder.run(None, self.image)))
        dim = next(i.shape[2] for i in self.decoder.get_inputs() if i.name == "tokens")
        self.feed["tokens"] = rng.standard_normal((1, TOKENS, dim), np.float32)
        self.feed["token_mask"] = np.ones((1, TOKENS), np.float32)
        self.round(WARM_UP)

    def round(self, iterations):
        """Median milliseconds (encoder, decoder, sum)."""
        times = []
        for _ in range(iterations):
            a = time.perf_counter()
            self.encoder.run(None, self.image)
            b = time.perf_counter()
            self.decoder.run(None, self.feed)
            c = time.perf_counter()
            times.append(((b - a) * 1e3, (c - b) * 1e3, (c - a) * 1e3))
        return tuple(statistics.median(t) for t in zip(*times))


def rten_round(args, encoder, decoder, threads):
    """Median milliseconds (encoder, decoder, sum) of the rten program; nan where it fails."""

    def graph_round(graph, *sizes):
        command = [
            args.rten, str(graph), "--prepack", "--num-threads", str(threads),
            "--n-iters", str(WARM_UP + args.iterations), *sizes,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"rten, {graph.name}: {done.stderr.strip()}", file=sys.stderr)
            return math.nan
        times = re.findall(r"outputs in ([\d.]+)ms", done.stdout)
        return statistics.median(map(float, times[WARM_UP:]))

    times = graph_round(encoder), graph_round(decoder, "-s", "P=1", "-s", f"T={TOKENS}")
    return *times, sum(times)


def multiply_adds(graph, image, folder):
    """Of a graph's convolutions, counted from the shapes in onnxruntime's profile."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(graph, options)
    session.run(None, image)
    count = 0
    for event in json.loads(pathlib.Path(session.end_profiling()).read_text()):
        said = event.get("args", {})
        if said.get("op_name") == "Conv" and "output_type_shape" in said:
            output, weights = said["output_type_shape"][0], said["input_type_shape"][1]
            count += math.prod(output["float"]) * math.prod(weights["float"][1:])
    return count


def matmul_round():
    """G multiply-adds a second of numpy's f32 matrix product on one thread."""
    program = """if True:
        import numpy, statistics, time
        a, times = numpy.ones((1024, 1024), numpy.float32), []
        for _ in range(10):
            start = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - start)
        print(statistics.median(times))
    """
    # a process of its own, because the number of threads is read when numpy is imported
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    return 1024**3 / 1e9 / float(done.stdout)


def compare(args, variants, folder):
    peers = ["onnxruntime", "tract alone"] + ["rten"] * bool(args.rten)
    print(f"onnxruntime {onnxruntime.__version__}; {args.rounds} rounds of {args.iterations}; ms")
    print("precision threads  stage    bedside" + "".join(f"  {p:>11}  ratio" for p in peers))
    for variant in variants:
        precision = variant["precision"]
        encoder, decoder = folder / variant["encoder"], folder / variant["decoder"]
        for threads in args.threads:
            ort = Onnxruntime(encoder, decoder, threads)
            of_peak = precision == "f32" and threads == 1
            rounds, peaks = [], []
            for _ in range(args.rounds):
                row = [
                    bedside_round(args, precision, threads),
                    ort.round(args.iterations),
                    bedside_round(args, precision, threads, "tract-stock"),
                ]
                if args.rten:
                    row.append(rten_round(args, encoder, decoder, threads))
                rounds.append(row)
                if of_peak:
                    peaks.append(matmul_round())
            for i, stage in enumerate(STAGES):
                ours = statistics.median(row[0][i] for row in rounds)
                line = f"{precision:9} {threads:7}  {stage:7} {ours:8.2f}"
                for peer in range(1, len(peers) + 1):
                    theirs = statistics.median(row[peer][i] for row in rounds)
                    ratio = statistics.median(row[0][i] / row[peer][i] for row in rounds)
                    line += f"  {theirs:11.2f}  {ratio:5.2f}".replace("nan", "  -")
                print(line, flush=True)
            if of_peak:
                count = multiply_adds(encoder, ort.image, folder) / 1e9
                peak = statistics.median(peaks)
                line = f"encoder {count:.2f} G multiply-adds, peak {peak:.0f} G/s; share of it:"
                for engine, name in enumerate(["bedside", *peers]):
                    share = statistics.median(
                        count * 1e3 / row[engine][0] / peak for row, peak in zip(rounds, peaks)
                    )
                    line += f" {name} {share:.0%}".replace("nan%", "-")
                print(line, flush=True)


def curves(args, precisions):
    """Print and draw the whole path's milliseconds over the number of prompts."""
    lines = [(precision, threads) for precision in precisions for threads in args.threads]
    names = [f"{precision}, threads={threads}" for precision, threads in lines]
    rounds = [
        [[bedside_round(args, *line, prompts=n)[2] for line in lines] for n in PROMPTS]
        for _ in range(args.rounds)
    ]
    times = np.median(rounds, axis=0)
    print("prompts" + "".join(f"  {name:>15}" for name in names))
    for prompts, row in zip(PROMPTS, times):
        print(f"{prompts:7}" + "".join(f"  {ms:15.2f}" for ms in row))
    pathlib.Path(args.curves).write_text(drawing(names, times.T))


def drawing(names, lines):
    """An SVG of milliseconds over PROMPTS, both axes linear from 0."""
    left, top, width, height = 50, 30, 440, 300
    highest = np.max(lines)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if highest / s <= 8)
    ticks = range(0, math.ceil(highest / step) * step + 1, step)

    def x(prompts):
        return round(left + width * prompts / PROMPTS[-1], 1)

    def y(ms):
        return round(top + height * (1 - ms / ticks[-1]), 1)

    def text(x, y, what, anchor="middle", colour="black"):
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{what}</text>'

    svg = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 375" font-size="12"',
        ' font-family="sans-serif"><rect width="620" height="375" fill="white"/>',
        text(left - 6, top - 14, "ms", "end"),
        text(left + width / 2, top + height + 36, "prompts in one pass"),
    ]
    for ms in ticks:
        svg.append(f'<path d="M{left} {y(ms)}h{width}" stroke="#ddd"/>')
        svg.append(text(left - 6, y(ms) + 4, ms, "end"))
    for prompts in PROMPTS:
        if prompts not in (2, 4):  # no room for these labels
            svg.append(text(x(prompts), top + height + 16, prompts))
    label = math.inf
    for i in sorted(range(len(lines)), key=lambda i: lines[i][-1]):
        colour = f"hsl({360 * i // len(lines)},60%,40%)"
        points = " ".join(f"{x(n)},{y(ms)}" for n, ms in zip(PROMPTS, lines[i]))
        svg.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = min(y(lines[i][-1]), label - 14)  # from the lowest line up, none over another
        svg.append(text(left + width + 8, round(label + 4, 1), names[i], "start", colour))
    return "\n".join([*svg, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=str(ROOT / "models/edge/edge.bedside"))
    parser.add_argument("--command", default=str(ROOT / "target/release/bedside"))
    parser.add_argument("--rten", help="the program of rten-cli; without it rten is left out")
    parser.add_argument("--curves", help="SVG file for the times over the number of prompts")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=30)
    args = parser.parse_args()
    args.threads = [int(n) for n in args.threads.split(",")]
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(args.bundle) as bundle:
        folder = pathlib.Path(folder)
        bundle.extractall(folder)
        variants = json.loads((folder / "manifest.json").read_text())["variants"]
        compare(args, variants, folder)
        if args.curves:
            curves(args, [v["precision"] for v in variants])


if __name__ == "__main__":
    main()
