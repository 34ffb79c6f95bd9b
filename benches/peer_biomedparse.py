"""Time an exported BiomedParse in bedside, in onnxruntime and in PyTorch, in the same run.

    python benches/peer_biomedparse.py --checkpoint biomedparse_v1.pt --bundle biomedparse-512.bedside

PyTorch runs the network as it was published: the whole of it for every prompt, masks of all
queries at full size. bedside and onnxruntime run the bundle's f32 graphs: encoder once, decoder
with all prompts. Rounds alternate; printed are medians of seconds a frame, and peak memory.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
import zipfile

import numpy as np
import torch
from bedside_export import checkpoint, frames
from bedside_export.runner import Graphs
from bedside_train.text import ontology

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXTS = [r["text"] for r in ontology() if (r["modality"], r["site"]) != ("ultrasound", "heart")]


def bedside_round(args, prompts):
    """(seconds a frame, load seconds, peak MB)"""
    command = [args.command, "bench", "--json", "--against", "none", "--bundle", args.bundle]
    command += ["--precision", "f32", "--threads", str(args.threads), "--frames", "2"]
    command += [word for p in prompts for word in ("--prompt", p)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    total = next(s["median"] for s in said["stages"] if s["stage"] == "total")
    return total / 1000, said


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", default="1,8", help="numbers of prompts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--command", default=str(ROOT / "target/release/bedside"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = checkpoint.open_model(args.checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        with zipfile.ZipFile(args.bundle) as bundle:
            bundle.extractall(scratch)
        side = json.loads((scratch / "manifest.json").read_text())["input"]["side"]
        start = time.perf_counter()
        peer = Graphs(
            scratch / "encoder.f32.onnx", scratch / "decoder.f32.onnx", side, threads=args.threads
        )
        print(f"onnxruntime loads in {time.perf_counter() - start:.1f} s")
        frame = frames.synthetic(1, 480)
        image = torch.from_numpy(frames.encoder_input(frame, side))
        rng = np.random.default_rng(1)
        dim = model.config.dim
        for count in (int(n) for n in args.prompts.split(",")):
            rows = [rng.standard_normal((7, dim)).astype(np.float32) for _ in range(count)]

            def original():
                with torch.no_grad():
                    for r in rows:
                        model(image, torch.from_numpy(r))

            times = {"bedside": [], "onnxruntime": [], "PyTorch, as published": []}
            for _ in range(args.rounds):
                seconds, said = bedside_round(args, TEXTS[:count])
                times["bedside"].append(seconds)
                times["onnxruntime"].append(timed(lambda: peer(frame, rows)))
                times["PyTorch, as published"].append(timed(original))
            ours = statistics.median(times["bedside"])
            for name, values in times.items():
                middle = statistics.median(values)
                print(f"{count} prompts, {name}: {middle:.2f} s, {middle / ours:.2f} of bedside's")
            print({k: v for k, v in said.items() if k != "stages"})


if __name__ == "__main__":
    main()
