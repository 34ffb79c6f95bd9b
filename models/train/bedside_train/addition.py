"""The bundle that a fine-tuning ends in, and its report."""

import collections
import copy
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from . import command, data, export, familiar, forms, graft, text
from .base import is_of, words, write_prompts
from .errors import BadInput

CALIBRATED = 120  # train frames, for int8
REPLAYED = 64  # features drawn around each prototype
STRAY = 0.01  # share of own frames that may pass for another modality before the head is taught


def write(args, program, base, form, encoder, branch, own, drawn, seen):
    source = args.out / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(base.folder, source)
    entries = told_of(base, form)
    mine = next(e for e in entries if e["mine"])
    others = np.array([graft.mean_row(e["tokens"]) for e in entries if not e["mine"]])
    prompt = graft.mean_row(mine["tokens"])[None]
    rng, _ = data.seeded(args.seed)
    sides = [s for s in export.SIDES if s in base.sides]
    images = [
        f.whole(rng.choice(sides))
        for f in rng.sample(own["train"], min(CALIBRATED, len(own["train"])))
    ]
    radius = graft.reach(prompt, others)
    part = graft.graft(base.folder, branch.eval(), prompt, radius, images, source)

    said = copy.deepcopy(base.manifest)
    del said["parts"]
    describe(said, part)
    known = knows(base, form, encoder, own, source, said) if encoder.arrays else {}
    before, after, references = {}, {}, []
    judged = [*own["val"], *drawn["val"]]
    for precision in ("f32", "int8"):
        old, new = (export.Model(f, precision) for f in (base.folder, source))
        picked = rng.sample(own["train"], min(600, len(own["train"])))
        references += export.fit_validity(new, picked, precision)
        found = export.look(new, judged)
        # The scores of int8 say what scores mean, as they do for the forms of the start.
        stated = export.particulars(found)
        after[precision] = export.figures(found, stated)[form.text]
        before[precision] = export.figures(export.look(old, judged), stated)[form.text]
    if known:
        known["withheld"] = withheld_own(source, said, form, own["val"])
    kept = unchanged(base, source, said, entries, drawn["val"][:24], own["val"][:8])
    place = export.named(form)
    for key, rows in (("forms", stated), ("validity", references)):
        said[key] = [r for r in said.get(key, []) if not is_of(r, place)] + rows
    numbers = [int(re.sub(r"\D", "", t["part"])) for t in said["self_tests"]]
    for test in outdated(said, form):
        said["self_tests"].remove(test)
        (source / test["part"]).unlink()
    if args.self_test:
        said["self_tests"] += export.tests_at(
            [export.Model(source, precision) for precision in ("f32", "int8")],
            [f for f in own["val"] if f.masks[0] is not None],
            source,
            forms.trained()[0].side,
            1 + max(numbers),
            said.get("familiarity"),
        )

    name = args.name or re.sub(
        "[^a-z0-9]+", "-", f"{said['name']}-{form.name}".lower()
    ).strip("-")
    report = {
        "prompt": form.text,
        "start": {k: said[k] for k in ("name", "version")},
        "train": counts(own["train"]),
        "val": counts(own["val"]),
        "frames seen": seen,
        "before": before,
        "after": after,
        "the frame": known,
        "other prompts": kept,
    }
    licence = said["licence"].removesuffix("; own data")
    said.update(
        format=3,
        name=name,
        version=args.version,
        description=f"{said['description']}; with {form.text}",
        licence=args.licence or f"{licence}; own data",
        lineage=(
            f"{said['lineage']}; then {form.text} from {len(own['train'])} frames of its user, by "
            f"bedside_train.finetune from {base.manifest['name']} {base.manifest['version']} "
            f"(SHA-256 of its manifest {base.digest})"
        ),
    )
    told = page(report, said)
    card = source / "model-card.md"
    old_card = card.read_text() if card.exists() else ""
    card.write_text(f"{told}\n---\n\n{old_card}")
    (source / f"{part}.json").write_text(json.dumps(report, indent=1))
    (args.out / "report.json").write_text(json.dumps(report, indent=1))
    (args.out / "report.md").write_text(told)
    write_prompts([{k: v for k, v in e.items() if k != "mine"} for e in entries],
                  source / "prompts.json")  # fmt: skip
    (source / "bundle.json").write_text(json.dumps(said, indent=1))
    out = args.out / f"{name}.bedside"
    made = args.out / f".part.{name}.bedside"
    try:
        command.say(program, "pack", source, made)
        verified = command.say(program, "verify", made)
        made.replace(out)
    finally:
        made.unlink(missing_ok=True)
    print(f"{told}\n{verified}\nwrote {out}", flush=True)


def describe(said, part):
    """Add a branch's tensors to the manifest's graphs."""
    number = part.removeprefix("own.")
    for graph in said["graphs"]:
        decoder = graph["part"].startswith("decoder")
        tensors = graph["inputs" if decoder else "outputs"]
        tensors += [
            {**t, "name": f"{t['name']}.{number}"}
            for t in tensors
            if t["name"] in graft.FEATURES
        ]


def outdated(said, form):
    """Self-tests of the start that the branch answers now, where each side keeps another."""
    side = lambda test: test.get("side", said["input"]["side"])  # noqa: E731
    mine = [t for t in said["self_tests"] if t["prompt"].lower() == form.text.lower()]
    kept = {side(t) for t in said["self_tests"] if t not in mine}
    return [t for t in mine if side(t) in kept]


def told_of(base, form):
    """The table with the form among the trained; ``mine`` marks it."""
    place = export.named(form)
    entries = [{**e, "mine": is_of(e, place)} for e in base.entries]
    for e in entries:
        e["trained"] |= e["mine"]
    if not any(e["mine"] for e in entries):
        new = {"target": form.target, "acquisition": "", "trained": True, "mine": True}
        entries.append({**place, **new, "tokens": text.tokens(form.text)})
    return entries


def knows(base, form, encoder, own, source, said):
    """Let the encoder know the form's frames: prototypes of them, and their modality where it takes
    them for another. -> figures for the report."""
    rng = np.random.default_rng(5)
    sides = [s for s in export.SIDES if s in base.sides]
    frames = familiar.some(own["train"], familiar.FRAMES, rng)
    pooled = np.array([
        encoder(f.whole(sides[n % len(sides)]))[1]["pooled"][0] for n, f in enumerate(frames)
    ])  # fmt: skip
    fresh = familiar.clusters(
        pooled @ encoder.arrays[graft.WHITENING], familiar.PROTOTYPES, rng
    )
    place = form.modality, form.site
    old = base.domains.get(place)
    if old:
        fresh = np.concatenate(
            [encoder.prototypes[old["first"] :][: old["count"]], fresh]
        )
    head, told = modality_head(base, form, encoder, pooled, rng)
    for precision in ("f32", "int8"):
        part = f"encoder.{precision}.onnx"
        graft.extend(source / part, fresh, head)
    first = len(encoder.prototypes)
    for tensor in (
        t for g in said["graphs"] for t in g["outputs"] if t["name"] == "distance"
    ):
        tensor["shape"][1] = first + len(fresh)
    spot = first, len(fresh)
    model = export.Model(source, "int8")
    near = [
        familiar.nearest(
            model.encode(export.squares(f)[0], base.sides[0])["distance"][0], spot
        )
        for f in own["val"]
    ]
    (row,) = familiar.stated({place: spot}, {place: near})["domains"]
    if old:  # frames that were known stay so
        bound = lambda r: r["mean"] + export.NORMAL_TAIL * r["std"]  # noqa: E731
        widest = max(row, old, key=bound)
        row.update(mean=widest["mean"], std=widest["std"])
    rows = said["familiarity"]["domains"]
    rows[:] = [r for r in rows if (r["modality"], r["site"]) != place] + [row]
    return told


def modality_head(base, form, encoder, pooled, rng):
    """The encoder's head of modalities (weight, bias), taught where it would withhold the form's
    frames; frames of other places are stood for by features drawn around their prototypes."""
    weight, bias = (torch.tensor(encoder.arrays[name]) for name in graft.HEAD)
    own = torch.from_numpy(pooled)
    at = forms.MODALITIES.index(form.modality)

    def astray(weight, bias):
        p, best = (own @ weight.T + bias).softmax(1).max(1)
        return round(float(((p >= export.SURE) & (best != at)).float().mean()), 4)

    told = {"taken for another modality before": astray(weight, bias)}
    if told["taken for another modality before"] <= STRAY:
        return (weight.numpy(), bias.numpy()), told
    back = np.linalg.inv(encoder.arrays[graft.WHITENING])
    drawn = []
    for row in base.domains.values():
        for centre_ in encoder.prototypes[row["first"] :][: row["count"]]:
            way = rng.normal(size=(REPLAYED, len(centre_)))
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            far = np.exp(rng.normal(row["mean"], row["std"], (REPLAYED, 1)))
            drawn.append((centre_ + way * far) @ back)
    others = torch.from_numpy(np.concatenate(drawn).astype(np.float32))
    wanted = (others @ weight.T + bias).softmax(1)
    # The form's modality alone: between the others nothing moves.
    row = [weight[at].clone().requires_grad_(), bias[at].clone().requires_grad_()]
    optimiser = torch.optim.LBFGS(row, max_iter=200, line_search_fn="strong_wolfe")
    rest = torch.arange(len(bias)) != at

    def logits(x):
        own_ = x @ row[0] + row[1]
        return torch.where(rest, x @ weight.T + bias, own_[:, None])

    def loss():
        optimiser.zero_grad()
        mine = F.cross_entropy(logits(own), torch.full((len(own),), at))
        kept = F.cross_entropy(logits(others), wanted)
        value = mine + kept + 1e-3 * ((row[0] - weight[at]) ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    new = weight.clone(), bias.clone()
    for whole, learnt in zip(new, row):
        whole[at] = learnt.detach()
    same = (others @ new[0].T + new[1]).argmax(1) == wanted.argmax(1)
    told["and after"] = astray(*new)
    told["other places told as before"] = round(float(same.float().mean()), 4)
    return [t.numpy() for t in new], told


def withheld_own(source, said, form, frames):
    """Share of own val frames that the runtime would not answer on, by precision."""
    out = {}
    for precision in ("f32", "int8"):
        model = export.Model(source, precision)
        told = []
        for frame in frames:
            seen = model.encode(export.squares(frame)[0], export.SIDES[0])
            told.append(withheld(seen, form, said))
        out[precision] = round(float(np.mean(told)), 4)
    return out


def unchanged(base, source, said, entries, drawn, own):
    """Every other trained prompt, by the graphs of the start and of the new bundle: the largest
    difference of answers, which is none or the graphs were put together wrongly; and how many on
    drawn frames are withheld now and were not, and how many are given now. (On own frames that is as it
    should be: they are known now for what they are.)"""
    asked = [e for e in entries if e["trained"] and not e["mine"]]
    by_side = collections.defaultdict(list)
    for entry in asked:
        by_side[base.side_of(entry)].append(entry)
    out = {"frames": len(drawn) + len(own), "prompts": len(asked)}
    for precision in ("f32", "int8"):
        old, new = (export.Model(f, precision) for f in (base.folder, source))
        worst, fewer, more = 0.0, 0, 0
        for frame in [*drawn, *own]:
            square, _ = export.squares(frame)
            for side, some_ in by_side.items():
                prompts = [words(e) for e in some_]
                pairs = zip(old(square, prompts, side), new(square, prompts, side))
                worst = max(worst, *(float(np.abs(a - b).max()) for a, b in pairs))
            if base.domains and frame in drawn:
                before, after = (m.encode(square, base.sides[0]) for m in (old, new))
                places = [
                    SimpleNamespace(modality=e["modality"], site=e["site"])
                    for e in asked
                ]
                for p in places:
                    was, now = (
                        withheld(before, p, base.manifest),
                        withheld(after, p, said),
                    )
                    fewer, more = fewer + (now and not was), more + (was and not now)
        out[precision] = {
            "largest difference": worst,
            "withheld now": fewer,
            "given now": more,
        }
        if worst > 1e-3:
            raise BadInput(
                f"other prompts are answered otherwise, by {worst}; hint: report this"
            )
    return out


def withheld(seen, form, said):
    """Whether the runtime would not answer for a form, by what the encoder tells of a frame."""
    return export.withheld(
        seen["modality"][0], seen["distance"][0], form, said["familiarity"]
    )


def counts(frames):
    shown = sum(f.masks[0] is not None for f in frames)
    return {"with": shown, "without": len(frames) - shown}


def page(report, said):
    """The report for people; it becomes the head of the model card."""
    train, val = report["train"], report["val"]
    rows = []
    for precision in ("f32", "int8"):
        b, a = report["before"][precision], report["after"][precision]
        cells = [
            b["dice"],
            a["dice"],
            a["median"],
            a["gated"],
            a["withheld"],
            a["empty reported"],
        ]
        shown = " | ".join("none there" if c is None else f"{c:.3f}" for c in cells)
        rows.append(f"| {precision} | {shown} |")
    known, kept = report["the frame"], report["other prompts"]
    lines = [
        f"# {said['name']} {said['version']}",
        "",
        "**Research use only. Not a medical device. Not for clinical decisions.**",
        "",
        f"{report['start']['name']} {report['start']['version']} with a branch for "
        f"**{report['prompt']}**, learnt from {train['with']} frames with it and "
        f"{train['without']} without ({report['frames seen']} views of them). "
        f"Licence: {said['licence']}.",
        "",
        f"Figures of {val['with']} val frames with the object and {val['without']} without, on "
        "which presence was calibrated, too. `bedside eval` has more.",
        "",
        "| precision | Dice before | Dice | median | Dice with presence | missed | false alarms |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Other prompts: {kept['prompts']} on {kept['frames']} frames, the largest difference of "
        "any answer from the start's is "
        + ", ".join(
            f"{kept[p]['largest difference']:.2g} at {p}" for p in ("f32", "int8")
        )
        + "; on drawn frames, "
        + ", ".join(
            f"{kept[p]['withheld now']} answers are withheld at {p} that were not, and "
            f"{kept[p]['given now']} given that were withheld"
            for p in ("f32", "int8")
        )
        + ".",
    ]
    if known:
        shares = ", ".join(f"{v:.1%} at {p}" for p, v in known["withheld"].items())
        lines += [
            "",
            f"Val frames withheld as unfamiliar or of another modality: {shares}.",
        ]
        if "and after" in known:
            lines += [
                "",
                f"The encoder took {known['taken for another modality before']:.1%} of the train "
                f"frames for another modality and was taught: {known['and after']:.1%} now.",
            ]
    if not val["without"]:
        lines += [
            "",
            "**No val frame without the object: nothing is known of false alarms on frames of this "
            "kind.** Add such frames, with label `normal`.",
        ]
    return "\n".join(lines) + "\n"
