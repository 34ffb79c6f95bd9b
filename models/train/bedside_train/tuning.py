"""The work of a fine-tuning: what is taught, by what frames, for how long."""

import collections
import hashlib
import json
import logging
import shutil
import signal
import time
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from . import addition, batches, command, data, export, forms, graft, labelled, text
from .base import Base, words
from .errors import BadInput
from .evaluate import mean, some
from .losses import losses
from .model import Student
from .run import Run, append
from .train import Steps, rate
from .weights import load_start

RATE = 1e-3
WARM_UP = 50  # steps
OWN_SIDE = (
    0.7  # share of the steps at the form's side; the others are at the next smaller one
)
PHANTOMS = 120
REPORTS = 8  # figures of val frames while it learns
JUDGED = 60  # val frames for these


def tune(args, program):
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    logging.getLogger().setLevel(
        logging.ERROR
    )  # onnxruntime's advice on what is done already
    if args.minutes <= 0:
        raise BadInput("--minutes is not above 0; hint: 60 is usual")
    base = Base(args.start, args.out / "base")
    command.say(program, "verify", base.bundle)
    form = form_of(args, base)
    forms.only([forms.Trained(form, (form.text,), fine=args.fine, thin=args.thin)])
    side = forms.trained()[0].side
    if side not in base.sides:
        raise BadInput(
            f"{base.bundle} has no side {side}; hint: leave out --fine and --thin"
        )
    identity(args, form)
    own = labelled.read(args.datasets, form, args.object)
    drawn = phantoms(args, program, base, form)
    encoder = graft.Encoder(base.folder / "encoder.f32.onnx", args.threads)
    start = branch_of(base, encoder, some(own["train"], 16))
    print(
        f"{form.text}: {len(own['train'])} train and {len(own['val'])} val frames; begins from "
        f"{base.manifest['name']} {base.manifest['version']}",
        flush=True,
    )
    learnt, seen = learn(args, encoder, start, own, drawn)
    if learnt is None:
        print("stopped; the same command goes on", flush=True)
        return 130
    return addition.write(args, program, base, form, encoder, learnt, own, drawn, seen)


def form_of(args, base):
    """The form that is taught, as the bundle's table, the ontology or the options say."""
    if args.modality not in forms.MODALITIES:
        raise BadInput(
            f"--modality {args.modality}; hint: one of {', '.join(forms.MODALITIES)}"
        )
    name = forms.ALIASES.get(args.object, args.object)
    found = [
        e
        for e in base.entries
        if (e["object"], e["modality"]) == (name, args.modality)
        and args.site in (None, e["site"])
        and not e["acquisition"]
    ]
    if len(found) > 1:
        sites = ", ".join(e["site"] for e in found)
        raise BadInput(
            f"'{name}' in {args.modality} is a form at {sites}; hint: --site"
        )
    if not found and not args.site:
        raise BadInput(
            f"'{name}' in {args.modality} is new to the bundle; hint: --site"
        )
    site, target = args.site, args.target or name
    if found:
        site, target = found[0]["site"], found[0]["target"]
    metas = {row["name"]: row["meta_object"] for row in text.ontology()}
    metas |= {extra[0]: extra[4] for extra in forms.EXTRA}
    meta = args.meta or metas.get(name)
    if meta not in forms.meta_objects():
        told = ", ".join(forms.meta_objects())
        raise BadInput(f"--meta {meta}, what kind of object it is; hint: one of {told}")
    prompt = text.prompt(target, args.modality, site)
    if len(text.tokens(prompt)) > batches.TOKENS:
        raise BadInput(
            f"'{prompt}' is too long a prompt; hint: a shorter --target or --site"
        )
    taken = [e["object"] for e in base.entries if words(e).lower() == prompt.lower()]
    if taken and not found:
        raise BadInput(
            f"'{prompt}' asks for '{taken[0]}' in the bundle; hint: --target with another word"
        )
    at = forms.meta_objects().index(meta)
    return forms.Form(name, args.modality, site, "", prompt, at, target)


def identity(args, form):
    """A folder serves one start and one form."""
    with args.start.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    mine = {"start": digest, "prompt": form.text, "fine": args.fine, "thin": args.thin}
    said = args.out / "identity.json"
    if said.exists() and json.loads(said.read_text()) != mine:
        raise BadInput(
            f"{args.out} belongs to another start or object; hint: another --out"
        )
    said.write_text(json.dumps(mine, indent=1))


def phantoms(args, program, base, form):
    """Drawn frames that surely lack the form, in halves for train and val."""
    folder = args.out / "phantoms"
    if not (folder / "manifest.csv").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command.say(program, "phantom", "--count", str(PHANTOMS), "--out", folder)
    sites = {
        (e["object"], e["modality"]): e["site"] for e in base.entries if e["trained"]
    }
    found = {}
    for _, row in labelled.rows(folder / "manifest.csv"):
        name = forms.ALIASES.get(row["object"], row["object"])
        site = sites.get((name, row["modality"]), "")
        frame = data.Frame(
            folder / row["file"],
            "phantoms",
            row["modality"],
            site,
            data.Policy(),
            {0: None},
        )
        if forms.absent_for_sure(form, frame.modality, frame.site):
            found[frame.file] = frame
    found = list(found.values())
    # Of val frames nothing is looked for: what is reported there is a false alarm.
    return {"train": found[::2], "val": [replace(f, masks={}) for f in found[1::2]]}


def branch_of(base, encoder, frames):
    """What the form begins from: the bundle's own pixel and mask decoders, which have to answer as
    its graphs do."""
    images = [f.whole(base.sides[0]) for f in frames]
    student = Student()
    try:
        load_start(student, base.bundle, torch.from_numpy(np.concatenate(images)))
    except (RuntimeError, SystemExit) as error:
        raise BadInput(f"{base.bundle}: {error}; {OTHER}") from error
    branch = graft.Branch(student).eval()
    model = export.Model(base.folder, "f32")
    rows = [e["tokens"] for e in base.entries if e["trained"]]
    tokens, keep = (torch.from_numpy(a)[None] for a in text.pad(rows, None))
    plain = model.decode(model.look(images[0]), rows)
    with torch.no_grad():
        mine = branch(levels_of(encoder, images[:1]), tokens, keep)
    pairs = [(p, m[0].numpy()) for p, m in zip(plain, mine)]
    if any(p.shape != m.shape for p, m in pairs):
        raise BadInput(f"{base.bundle}: masks of another size; {OTHER}")
    # Forms that were added have a branch of their own: it is enough that others agree.
    logits, own = pairs[0]
    far = np.abs(logits - own).max((1, 2)).min() / np.abs(logits).max()
    if far > 0.01:
        raise BadInput(
            f"{base.bundle}: graphs and weights differ by {far:.2g}; {OTHER}"
        )
    return branch


OTHER = "hint: start from a bundle that this version of models/train exported"


def levels_of(encoder, images):
    """The backbone's levels of B images, each a tensor [B,C,h,w]."""
    found = zip(*(encoder(image)[0] for image in images))
    return [torch.from_numpy(np.concatenate(level)) for level in found]


def learn(args, encoder, start, own, drawn):
    """-> the averaged decoder after the whole time, None when told to stop; frames seen."""
    normal = [f for f in own["train"] if f.masks[0] is None]
    # Drawn frames are never more than half of those without the object, of which there are some.
    few = some(drawn["train"], max(len(normal), 20))
    sampler = batches.Sampler([*own["train"], *few])
    side = forms.trained()[0].side
    smaller = max(s for s in batches.SIZES if s < side)
    sizes = {
        side: (OWN_SIDE, batches.SIZES[side][1]),
        smaller: (1 - OWN_SIDE, batches.SIZES[smaller][1]),
    }
    judged = some(own["val"], JUDGED)
    run = Run(
        args.out,
        start,
        {"branch": (start.parameters(), RATE)},
        torch.device("cpu"),
        lambda: None,
    )
    stop = []
    before = {
        number: signal.signal(number, lambda *_: stop.append(True))
        for number in (signal.SIGTERM, signal.SIGINT)
    }

    def done():
        share = run.frames / args.frames if args.frames else 0.0
        return max(share, run.seconds / 60 / args.minutes)

    # As many steps as there could be: time ends them.
    steps = Steps(
        sampler, run.step, run.step + 10**9, args.seed, prompts=1, sizes=sizes
    )
    began, recent = time.time() - run.seconds, collections.deque(maxlen=100)
    told = int(done() * REPORTS)
    run.student.train()
    for batch in DataLoader(steps, batch_size=None):
        if stop or done() >= 1:
            break
        levels = levels_of(encoder, batch.images.numpy()[:, None])
        found = run.student(levels, batch.tokens, batch.token_mask)
        parts = run.descend(
            losses(found, batch), rate(run.step, done(), WARM_UP), len(batch.images)
        )
        recent.append(parts["loss"])
        run.seconds = time.time() - began
        if int(done() * REPORTS) > told:
            told = int(done() * REPORTS)
            progress(args, run, encoder, judged, mean(recent))
            run.save()
    run.save()
    for number, handler in before.items():
        signal.signal(number, handler)
    return (None if stop else run.average), run.frames


def progress(args, run, encoder, frames, loss):
    dice = mean(
        [dice_of(run.average, encoder, f) for f in frames if f.masks[0] is not None]
    )
    row = {
        "step": run.step,
        "frames": run.frames,
        "minutes": round(run.seconds / 60, 2),
        "loss": round(loss, 4),
        "val_dice": round(dice, 4),
    }
    append(args.out / "train.csv", row)
    print(
        f"{row['minutes']:.1f} of {args.minutes:g} min, {run.frames} frames, loss {loss:.3f}, "
        f"val Dice {dice:.3f}",
        flush=True,
    )


def dice_of(branch, encoder, frame):
    t = forms.trained()[0]
    square, masks = export.squares(frame)
    tokens, keep = (
        torch.from_numpy(a)[None] for a in text.pad([text.tokens(t.form.text)])
    )
    with torch.no_grad():
        logits, *_ = branch(levels_of(encoder, [frame.whole(t.side)]), tokens, keep)
    mine = export.enlarge(logits[0, 0].numpy(), len(square)) > 0
    return 2 * (mine & masks[0]).sum() / (mine.sum() + masks[0].sum())
