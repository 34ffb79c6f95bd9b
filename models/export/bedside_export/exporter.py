"""From a checkpoint to a bundle and a report of what each precision does to masks."""

import datetime
import json
import shutil
import sys
import time

import numpy as np
import torch
from bedside_train.text import ontology

from . import (
    checkpoint,
    frames,
    graphs,
    manifest,
    pack,
    precision,
    prompts,
    report,
    scratch,
    tokenizer,
)
from .errors import ExportError
from .model import Config
from .runner import Graphs
from .selftest import self_tests
from .split import Decoder, Encoder, class_embeddings

REPORT_PROMPTS = 5
INCOMPLETE = 3  # exit code of a bundle that lacks int8, which was asked for
INT8_SHARE = 0.30  # int8 graphs may weigh this share of f32's; what is left protects nodes


class Progress:
    """One line a step, with the time it took, on standard error."""

    def __init__(self):
        self.start = time.time()

    def __call__(self, text):
        print(f"[{time.time() - self.start:6.0f} s] {text}", file=sys.stderr, flush=True)


def parity(model, runner, frame, rows, limit=1e-4):
    """Largest relative difference of onnxruntime's f32 logits to the plain network's.

    The median over the prompts must be within ``limit``. A single prompt may be a hundred times
    further off: where a logit of an attention mask is next to 0, rounding decides what a query
    sees, in the plain network as well.
    """
    image = torch.from_numpy(frames.encoder_input(frame, runner.side))
    got = runner(frame, rows)["logits"]
    errors = []
    for row, logits in zip(rows, got):
        with torch.no_grad():
            want = model(image, torch.from_numpy(row)).logits.numpy()
        errors.append(precision.relative_error(logits, want))
    worst, usual = max(errors), float(np.median(errors))
    if usual > limit or worst > 100 * limit:
        raise ExportError(
            f"the exported graphs differ from the network by {usual:.2g}, more than {limit}, and "
            f"by {worst:.2g} at worst; "
            "hint: use the versions that pyproject.toml pins"
        )
    return worst


def int8(args, work, runner, calibration, held, rows, note):
    """int8 graphs; -> what was done and why, for the report.

    Both ways of quantizing matrix products are made, and the one whose logits are nearer to
    f32's on two frames of ``held``, which are not calibrated on, is kept.
    """
    held = held[-2:]
    feeds = [{"image": frames.encoder_input(f, args.size)} for f in calibration]
    judge = lambda feature: runner.decode(feature, rows)["logits"]  # noqa: E731
    wanted = [judge(runner.encode(f)) for f in held]
    runner.encoder = None  # gigabytes that calibration needs

    keep, table = [], []
    ranges = work.parent / "ranges.json"
    if args.sensitivity:
        note("int8: sensitivity of each part")
        asked = [{"image": frames.encoder_input(f, args.size)} for f in held]
        table = precision.sensitivity(work / "encoder.f32.onnx", feeds, asked, judge, ranges)
        keep = precision.protect(work / "encoder.f32.onnx", table, INT8_SHARE)
    errors = {}
    for way, static in (("dynamic", ("Conv",)), ("static", ("Conv", "MatMul"))):
        note(f"int8: convolutions static, matrix products {way}")
        target = work / f"encoder.{way}.onnx"
        precision.to_int8(work / "encoder.f32.onnx", target, feeds, static, keep, ranges)
        lower = Graphs(target, work / "decoder.f32.onnx", args.size)
        got = [judge(lower.encode(f)) for f in held]
        del lower
        errors[way] = max(precision.relative_error(g, w) for g, w in zip(got, wanted))
    best = min(errors, key=errors.get)
    for way in errors:
        path = work / f"encoder.{way}.onnx"
        path.replace(work / "encoder.int8.onnx") if way == best else path.unlink()
    note("int8: decoder, matrix products dynamic")
    precision.to_int8(work / "decoder.f32.onnx", work / "decoder.int8.onnx", [], ())
    return {
        "convolutions": "static QDQ, activations u8 by frames, weights i8 per channel",
        "matrix products": best,
        "logit error by way": errors,
        "sensitivity": [{"part": p, "nodes": len(n), "logit error": e} for p, n, e in table],
        "kept in f32 as most sensitive": keep,
    }


def refuse_poor(args, table, notes, facts):
    """Take int8 out of ``args.precision`` where it loses too much, unless it was asked for so."""
    why = report.poor(table)
    if not why:
        return
    if args.allow_poor_int8:
        facts.append(f"int8 is poor: {why}. It is here by --allow-poor-int8.")
        print(f"warning: int8 is poor: {why}", file=sys.stderr)
        return
    said = (
        f"int8 is left out of the bundle: {why}; hint: calibrate on more frames of the kinds that "
        "the device sees, try --sensitivity, or take it as it is with --allow-poor-int8"
    )
    if args.precision == ["int8"]:
        raise ExportError(said)
    print(f"warning: {said}", file=sys.stderr)
    notes["int8"]["left out"] = why
    args.precision.remove("int8")


def card(args, facts):
    lines = [
        f"# Model card: {args.name} {args.version}",
        "",
        "**Research use only. Not a medical device. Not for clinical decisions.**",
        "",
        f"BiomedParse v1 at {args.size} x {args.size}, {', '.join(args.precision)}.",
        f"Weights: {args.licence}. {args.lineage}.",
        "",
        *(f"* {fact}" for fact in facts),
        "* The model was trained on present objects only: it answers every prompt with a mask.",
        "* Accuracy at sizes other than 1024 is not published; measure it with `bedside eval`.",
        "",
    ]
    return "\n".join(lines)


def export(args, given):
    """From what ``__main__.check`` has accepted to the bundle and its report. -> exit code"""
    note, words = Progress(), given.words
    shown = frames.folder(args.calibrate, args.frames) if args.calibrate else []
    if not shown:
        shown = [frames.synthetic(100 + i) for i in range(4)]
    held = shown[-max(2, len(shown) // 3) :]
    note("reading the checkpoint")
    config = getattr(args, "config", Config.v1())
    model = checkpoint.open_model(args.checkpoint, config)
    if args.lineage is None:
        written = datetime.date.fromtimestamp(args.checkpoint.stat().st_mtime)
        args.lineage = f"BiomedParse v1, exported from {args.checkpoint.name} of {written}"
    note("prompt table")
    table = prompts.table(prompts.encoder(model.text_encoder, words), config.dim)
    rows = [np.array(e["tokens"], np.float32) for e in table["entries"]]
    meta = list(dict.fromkeys(r["meta_object"] for r in ontology()))
    classes = None
    if args.meta:
        texts = [[tokenizer.ids(words, m)] for m in [*meta, "background"]]
        classes = class_embeddings(model.text_encoder, texts)

    with scratch.beside(args.out) as made:
        work, folder = made / "source", made / "report"
        work.mkdir()
        note("graphs in f32")
        encoder, decoder = Encoder(model, args.size), Decoder(model, class_embeddings=classes)
        signatures = {
            "encoder": graphs.export_encoder(encoder, work / "encoder.f32.onnx"),
            "decoder": graphs.export_decoder(decoder, encoder, work / "decoder.f32.onnx"),
            "text": graphs.export_text(model.text_encoder, work / "text.onnx"),
        }
        del encoder, decoder
        texts = [r["text"] for r in ontology()]
        spread = range(0, len(rows), len(rows) // REPORT_PROMPTS)
        choices = [(texts[i], rows[i]) for i in spread][:REPORT_PROMPTS]
        asked = [row for _, row in choices]
        paths = {"f32": ("encoder.f32.onnx", "decoder.f32.onnx")}
        runner = Graphs(*(work / p for p in paths["f32"]), args.size)
        note("f32 against the plain network")
        off = parity(model, runner, shown[0], asked)
        facts = [f"f32 graphs differ from the PyTorch network by {off:.1e} of the largest logit."]
        del model
        notes = {}
        for p in args.precision:
            if p == "f32":
                continue
            paths[p] = (f"encoder.{p}.onnx", f"decoder.{p}.onnx")
            if p == "f16":
                note("f16")
                for a, b in zip(paths["f32"], paths[p]):
                    precision.to_f16(work / a, work / b)
            else:
                notes[p] = int8(args, work, runner, shown[: -len(held)], held, asked, note)
        del runner
        runners = {p: Graphs(*(work / part for part in two), args.size) for p, two in paths.items()}
        sizes = {p: sum((work / part).stat().st_size for part in two) for p, two in paths.items()}
        note("against f32")
        compared = report.compare(runners, held, choices)
        if "int8" in args.precision:
            refuse_poor(args, compared["int8"], notes, facts)
        note("self-tests")
        wanted = {p: runners[p] for p in {"f32", *args.precision}}
        tests, told = self_tests(work, wanted, choices)
        note("report")
        if not args.calibrate:
            facts.append("Frames of this report are synthetic: --calibrate FOLDER shows real ones.")
        title = f"{args.name} {args.version} at {args.size}"
        report.write(folder, title, facts, runners, compared, held, choices, sizes, notes, told)
        shutil.copy(folder / "report.json", work / "report.json")

        references = [r for r in given.references if r["precision"] in args.precision]
        if args.target_dist:
            facts.append(
                "Validity references are upstream's, fitted on its own outputs at 1024 in f32."
            )
        if args.labelled:
            keys = [(e["object"], e["modality"], e["site"]) for e in table["entries"]]
            for p in args.precision:
                note(f"validity at {p}")
                references += manifest.fitted(args.labelled, p, runners[p], dict(zip(keys, rows)))
        for entry in given.left:
            note(f"no form for validity reference {entry}")
        described, variants = [], []
        for p in args.precision:
            encoder, decoder = paths[p]
            variants.append({"precision": p, "encoder": encoder, "decoder": decoder})
            described += [
                signatures["encoder"] | {"part": encoder},
                signatures["decoder"] | {"part": decoder},
            ]
        described.append(signatures["text"])
        for p in set(paths) - set(args.precision):
            for part in paths[p]:
                (work / part).unlink()
        tokenizer.save(words, work / "tokenizer.json")
        (work / "prompts.json").write_text(json.dumps(table))
        (work / "model-card.md").write_text(card(args, facts))
        text = {"graph": "text.onnx", "tokenizer": "tokenizer.json"}
        said = manifest.manifest(
            args, described, variants, references, tests, meta if args.meta else [], text
        )
        (work / "bundle.json").write_text(json.dumps(said, indent=1))
        del runners
        note("packing, and the self-tests in bedside")
        if args.keep:
            scratch.copy(work, args.keep)
        note(pack.pack(given.bedside, work, folder, args.out))
    return INCOMPLETE if "left out" in notes.get("int8", {}) else 0
