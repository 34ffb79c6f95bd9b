"""Export a trained student to the parts of a bundle: ``python -m bedside_train.export --help``.

Writes a source folder for ``bedside pack``: encoder in f32 and int8 (QDQ, per channel,
calibrated on training frames), decoder in f32, prompt tokens, validity parameters fitted on the
exported graphs' own outputs, self-test frames, and ``bundle.json``.
"""

import argparse
import collections
import json
import pathlib
import shutil
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization

from . import calibrate, data, familiar, forms, terms, text
from .bundle import (
    drop_dead,
    enlarge,
    rle,
    session,
    sigmoid,
    statistics,
    tensor,
    validity,
)
from .evaluate import auroc, some
from .model import (
    LAYERS,
    META_CLASSES,
    MODALITY_CLASSES,
    SUB,
    TOKEN_DIM,
    WIDTH,
    Student,
)
from .weights import load_start

SURE = 0.9  # probability from which the runtime goes by what a frame looks like
NORMAL_TAIL = 2.3263  # deviations above the mean that leave familiar.LEAST of a normal distribution
SIDES = (
    256,
    192,
    384,
    512,
)  # of the encoder's input; the first is the bundle's default
OPSET = 17
MIN_IOU = 0.95  # with a self-test's mask, on any device and precision
CLEAR_IOU = 0.97  # between precisions here, so that a device's own rounding does not tip the balance
# How much wider a domain is than its val frames, which are of one set, make it look. Frames of
# another cart's heart cine lie up to 3.6 deviations out and are outlined well; of 284 val frames of other
# ultrasound none gets an answer there.
WIDER = {("ultrasound", "heart"): 1.6}
PHANTOMS_LET_IN = 0.92  # share that is not withheld as unfamiliar
PHANTOMS_LOOKED_AT = 6  # one of so many


def simplify(path):
    """Fold constants and merge each Pad into its Conv with onnxruntime's basic level."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    )
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def fold_padding(model):
    """Merge each zero Pad that feeds a Conv into that Conv's own pads (exact)."""
    graph = model.graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    for conv in [n for n in graph.node if n.op_type == "Conv"]:
        pad = makers.get(conv.input[0])
        if pad is None or pad.op_type != "Pad":
            continue
        pads = constants[pad.input[1]].tolist()
        attribute = next(a for a in conv.attribute if a.name == "pads")
        assert pads[:2] == [0, 0] and pads[4:6] == [0, 0] and not any(attribute.ints)
        attribute.ints[:] = [pads[2], pads[3], pads[6], pads[7]]
        conv.input[0] = pad.input[0]


def export(module, args, path, inputs, outputs, dynamic):
    torch.onnx.export(
        module,
        args,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=dynamic,
        opset_version=OPSET,
        do_constant_folding=True,
        dynamo=False,
    )
    simplify(path)
    model = onnx.load(str(path))
    fold_padding(model)
    drop_dead(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


class Whole(torch.nn.Module):
    """The encoder with what it says of the whole frame: modality [1,M] and distance [1,K]."""

    def __init__(self, encoder, known):
        super().__init__()
        self.encoder, self.known = encoder, known

    def forward(self, image):
        levels = self.encoder.backbone(image)
        features = self.encoder.features(*self.encoder.top_down(levels))
        distance = self.known(levels[3].mean((2, 3)))
        return *features, self.encoder.modality(levels), distance


def export_graphs(student, out, sides=SIDES, token_dim=TOKEN_DIM, known=None):
    """encoder.f32.onnx and decoder.f32.onnx with the shapes of the model contract, for any side
    where there are several. known: a ``Familiar``, for an encoder that tells what frames it knows.
    """
    student.eval()
    encoder, decoder = student.encoder, student.decoder
    image = torch.randn(1, 3, sides[0], sides[0])
    with torch.no_grad():
        features = encoder(image)
    free = {"pixels": {2: "h", 3: "w"}, "keys": {3: "n"}, "values": {2: "n"}}
    free = free if len(sides) > 1 else {}
    names = ["pixels", "keys", "values"]
    axes = {"image": {2: "side", 3: "side"}, **free} if free else {}
    if known is None:
        export(encoder, (image,), out / "encoder.f32.onnx", ["image"], names, axes)
    else:
        whole, more = Whole(encoder, known).eval(), [*names, "modality", "distance"]
        export(whole, (image,), out / "encoder.f32.onnx", ["image"], more, axes)
    tokens = torch.randn(2, 7, token_dim)
    keep = torch.ones(2, 7)
    keep[1, 4:] = 0
    pixels, keys, values = features
    export(
        SplitDecoder(decoder),
        (pixels, keys, values, tokens, keep),
        out / "decoder.f32.onnx",
        [*names, "tokens", "token_mask"],
        ["logits", "score", "meta"],
        {
            **free,
            "tokens": {0: "P", 1: "T"},
            "token_mask": {0: "P", 1: "T"},
            "logits": {0: "P", 1: "H", 2: "W"} if free else {0: "P"},
            "score": {0: "P"},
            "meta": {0: "P"},
        },
    )


def export_text(path):
    """The package's text graph for one prompt at a time, as the model contract wants it."""
    model = onnx.load(str(text.text_graph()))
    for value in [*model.graph.input, *model.graph.output]:
        batch, length = value.type.tensor_type.shape.dim[:2]
        batch.dim_value = 1
        length.dim_param = "T"
    del model.graph.value_info[:]
    onnx.save(model, str(path))


class SplitDecoder(torch.nn.Module):
    """The decoder with the encoder's batch axis of one on keys and values."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, pixels, keys, values, tokens, token_mask):
        return self.decoder(pixels, keys[0], values[0], tokens, token_mask)


class Inputs(quantization.CalibrationDataReader):
    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


def quantise(out, inputs, **options):
    """encoder.int8.onnx: u8 activations and per-channel i8 weights around every convolution.

    inputs: of the graph, by name; options: more of onnxruntime's ``extra_options``.
    """
    # Squares of distances span decades: 256 steps of them would tell near frames from nothing.
    whole = [
        node.name
        for node in onnx.load(str(out / "encoder.f32.onnx")).graph.node
        if node.name.startswith("/known/")
    ]
    quantization.quantize_static(
        str(out / "encoder.f32.onnx"),
        str(out / "encoder.int8.onnx"),
        Inputs(inputs),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv", "Add", "Clip"],
        nodes_to_exclude=whole,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        extra_options={"CalibMovingAverage": True, **options},
    )
    model = onnx.load(str(out / "encoder.int8.onnx"))
    drop_dead(model)
    onnx.save(model, str(out / "encoder.int8.onnx"))


class Model:
    """The exported graphs run by onnxruntime on square-padded frames."""

    def __init__(self, out, precision):
        self.encoder = session(out / f"encoder.{precision}.onnx")
        self.decoder = session(out / "decoder.f32.onnx")
        self.features = [o.name for o in self.encoder.get_outputs()]
        self.read = [i.name for i in self.decoder.get_inputs()]

    def __call__(self, square, prompts, side):
        """square: u8 RGB [n,n,3]; -> logits [P,side/2,side/2], score [P], meta [P,16]."""
        return self.decode(self.encode(square, side), [text.tokens(p) for p in prompts])

    def encode(self, square, side):
        """The encoder's outputs by name."""
        # As near to the runtime's resize as OpenCV comes.
        way = cv2.INTER_AREA if side < len(square) else cv2.INTER_LINEAR
        x = cv2.resize(square, (side, side), interpolation=way).astype(np.float32)
        return self.look(data.normalise(x)[None])

    def look(self, image):
        """As ``encode``, of a normalised image [1,3,S,S]."""
        return dict(zip(self.features, self.encoder.run(None, {"image": image})))

    def decode(self, features, rows):
        """rows: the tokens of each prompt."""
        tokens, keep = text.pad(rows, None)
        found = {**features, "tokens": tokens, "token_mask": keep}
        return self.decoder.run(None, {name: found[name] for name in self.read})


def canonical():
    return [t.form.text for t in forms.trained()]


def squares(frame):
    """Square-padded image u8 RGB [n,n,3] and masks, bool [n,n] by trained form."""
    image, masks = frame.read()
    masks = data.square(masks) > 127
    return data.square(image), {
        form: masks[..., i] for i, form in enumerate(frame.masks)
    }


def check_parity(student, out, images):
    """Largest difference between PyTorch and onnxruntime on real frames, f32."""
    encoder, decoder = (
        session(out / "encoder.f32.onnx"),
        session(out / "decoder.f32.onnx"),
    )
    tokens, keep = text.pad([text.tokens(t) for t in canonical()], None)
    worst = 0.0
    for image in images:
        features = encoder.run(None, {"image": image})
        feed = dict(
            zip(["pixels", "keys", "values"], features), tokens=tokens, token_mask=keep
        )
        got = decoder.run(None, feed)
        with torch.no_grad():
            pixels, keys, values = student.encoder(torch.from_numpy(image))
            want = student.decoder(
                pixels,
                keys[0],
                values[0],
                torch.from_numpy(tokens),
                torch.from_numpy(keep),
            )
        for g, w in zip(got, want):
            w = w.numpy()
            assert np.isfinite(w).all() and w.std() > 0, "a dead network proves nothing"
            worst = max(worst, float(np.abs(g - w).max()))
    return worst


def answers(model, square, modality):
    """Logits and score of every trained form, those of the frame's modality each at the side that it
    is best at, others at the bundle's default."""
    found = [None] * len(forms.trained())
    sides = [
        t.side if t.form.modality == modality else SIDES[0] for t in forms.trained()
    ]
    for side in sorted(set(sides)):
        places = [i for i, own in enumerate(sides) if own == side]
        logits, score, _ = model(
            square, [forms.trained()[i].form.text for i in places], side
        )
        for i, mask, value in zip(places, logits, score):
            found[i] = mask, float(value)
    return found


@dataclass
class Seen:
    """What val frames say of one form."""

    dice: list = field(default_factory=list)  # of masks where it is, whatever the score
    shown: list = field(default_factory=list)  # scores of these
    empty: list = field(
        default_factory=list
    )  # scores where it was looked for and is not
    near: list = field(default_factory=list)  # scores in its modality where it can't be
    far: list = field(default_factory=list)  # scores in other modalities

    def presence(self):
        return calibrate.presence(self.shown, [self.empty, self.near, self.far])


def look(model, frames):
    """Seen for each trained form."""
    found = [Seen() for _ in forms.trained()]
    for frame in frames:
        square, masks = squares(frame)
        for i, (logits, score) in enumerate(answers(model, square, frame.modality)):
            form, seen = forms.trained()[i].form, found[i]
            if i in masks and masks[i].any():
                p = enlarge(logits, len(square)) > 0
                seen.dice.append(2 * (p & masks[i]).sum() / (p.sum() + masks[i].sum()))
                seen.shown.append(score)
            elif i in masks:
                seen.empty.append(score)
            elif form.modality != frame.modality:
                seen.far.append(score)
            elif forms.absent_for_sure(form, frame.modality, frame.site):
                seen.near.append(score)
    return found


def frames_known(model, places, frames, phantoms):
    """The manifest's ``familiarity``, and what it does to val frames: by domain, the share of its
    own frames that is withheld, and the share of frames of other domains that is not."""

    def at(frames):
        encode = lambda f: model.encode(squares(f)[0], SIDES[0])["distance"][0]  # noqa: E731
        return [(familiar.domain(f), encode(f)) for f in frames]

    def nearest(distances):
        near = {key: [] for key in places}
        for key, d in distances:
            near[key].append(familiar.nearest(d, places[key]))
        return near

    distances = at(frames)
    said, drawn = familiar.stated(places, nearest(distances)), nearest(at(phantoms))
    told = {}
    for row in said["domains"]:
        key = row["modality"], row["site"]
        row["std"] = round(row["std"] * WIDER.get(key, 1.0), 5)
        if drawn[key]:
            # Phantoms are for trying things out: nearly all of them have to be let in.
            far = float(np.log(np.quantile(drawn[key], PHANTOMS_LET_IN)))
            row["std"] = round(max(row["std"], (far - row["mean"]) / NORMAL_TAIL), 5)
        bound = row["mean"] + NORMAL_TAIL * row["std"]
        inside = lambda d: np.log(familiar.nearest(d, places[key])) <= bound  # noqa: E731
        own = [inside(d) for k, d in distances if k == key]
        others = [inside(d) for k, d in distances if k != key]
        told[" ".join(key)] = {
            "withheld": round(1 - float(np.mean(own)), 4),
            "others let in": round(float(np.mean(others)), 4),
        }
    return said, told


def figures(found, particulars):
    """What the runtime would answer, by form."""
    out = {}
    for t, seen, stated in zip(forms.trained(), found, particulars):
        p = stated["presence"]
        present = lambda scores: [  # noqa: E731
            sigmoid(p["slope"] * s + p["offset"]) >= p["threshold"] for s in scores
        ]
        mean = lambda values: round(float(np.mean(values)), 4) if len(values) else None  # noqa: E731
        found_there = present(seen.shown)
        out[t.form.text] = {
            "frames": len(seen.dice),
            "dice": mean(seen.dice),
            "median": round(float(np.median(seen.dice)), 4) if seen.dice else None,
            "gated": mean([d * g for d, g in zip(seen.dice, found_there)]),
            "withheld": mean([not g for g in found_there]),
            **{
                f"{name} reported": mean(present(getattr(seen, name)))
                for name in ("empty", "near", "far")
            },
            "auroc": auroc_of(seen),
        }
    return out


def auroc_of(seen):
    without = [*seen.empty, *seen.near]
    present = [True] * len(seen.shown) + [False] * len(without)
    value = (
        auroc([*seen.shown, *without], present)
        if without and seen.shown
        else float("nan")
    )
    return None if np.isnan(value) else round(value, 4)


def particulars(found):
    """The manifest's ``forms``: each trained form's side and what its scores mean."""
    return [
        {
            **named(t.form),
            **({"side": t.side} if t.side != SIDES[0] else {}),
            "presence": seen.presence(),
        }
        for t, seen in zip(forms.trained(), found)
    ]


def named(form):
    """A form's key in the manifest."""
    key = {"object": form.name, "modality": form.modality, "site": form.site}
    return {**key, "acquisition": form.acquisition} if form.acquisition else key


def fit_validity(model, frames, precision):
    """Beta references of mean probability and mean colour over correct masks."""
    found = collections.defaultdict(list)
    for frame in frames:
        square, masks = squares(frame)
        shown = [i for i in masks if masks[i].any()]
        if not shown:
            continue
        found_here = answers(model, square, frame.modality)
        for i in shown:
            logits, score = found_here[i]
            sample = statistics(square, logits, masks[i])
            if sample is not None and score > 0:
                found[forms.trained()[i].form].append(sample)
    return [
        validity(named(f), precision, samples)
        for f, samples in found.items()
        if len(samples) >= 8
    ]


def prompt_table():
    trained = {t.form for t in forms.trained()}
    entries = [
        {
            "object": f.name,
            "modality": f.modality,
            "site": f.site,
            "acquisition": f.acquisition,
            "trained": f in trained,
            **({"target": f.target} if f.target else {}),
            "tokens": [[float(v) for v in r] for r in text.tokens(f.text)],
        }
        for f in forms.forms()
    ]
    return {"token_dim": TOKEN_DIM, "entries": entries}


def withheld(modality, distance, form, familiarity, sure=SURE, tail=NORMAL_TAIL):
    """Whether the runtime would not answer for a form on a frame of these logits and distances, or,
    with smaller bounds than its own, whether that is a near thing."""
    p = np.exp(modality - modality.max()) / np.exp(modality - modality.max()).sum()
    other = p.max() >= sure and int(p.argmax()) != forms.MODALITIES.index(form.modality)
    rows = familiarity["domains"]
    row = next(
        (r for r in rows if (r["modality"], r["site"]) == (form.modality, form.site)),
        None,
    )
    if row is None:
        return bool(other)
    near = familiar.nearest(distance, (row["first"], row["count"]))
    return bool(other or np.log(near) > row["mean"] + tail * row["std"])


def self_tests(models, frames, out, familiarity):
    """Golden frames from the phantoms (ours to give away) with the first model's masks, which the
    other ones agree with, for each side."""
    (out / "selftest").mkdir(exist_ok=True)
    tests = []
    for side in SIDES:
        tests += tests_at(models, frames, out, side, len(tests), familiarity)
    return tests


def tests_at(models, frames, out, side, first, familiarity):
    model, *others = models
    tests, done = [], set()
    for whole in frames:
        square, masks = squares(whole)
        i = next((i for i in masks if masks[i].any() and i not in done), None)
        if i is None:
            continue
        prompt = forms.trained()[i].form.text
        frame = cv2.resize(square, (160, 160), interpolation=cv2.INTER_AREA)
        # Another precision, and the runtime's own resize, must not tip the balance.
        seen, form = model.encode(frame, side), forms.trained()[i].form
        if familiarity and withheld(
            seen["modality"][0],
            seen["distance"][0],
            form,
            familiarity,
            0.3,
            NORMAL_TAIL / 2,
        ):
            continue
        logits, score, _ = model(frame, [prompt], side)
        t = (
            cv2.resize(
                masks[i].astype(np.float32), (160, 160), interpolation=cv2.INTER_AREA
            )
            > 0.5
        )
        p = enlarge(logits[0], 160) > 0
        if sigmoid(score[0]) < 0.9 or 2 * (p & t).sum() < 0.9 * (p.sum() + t.sum()):
            continue
        alike = (enlarge(o(frame, [prompt], side)[0][0], 160) > 0 for o in others)
        if any((p & q).sum() < CLEAR_IOU * (p | q).sum() for q in alike):
            continue
        part = f"selftest/{first + len(tests)}.rgb"
        (out / part).write_bytes(frame.tobytes())
        tests.append(
            {
                "part": part,
                "width": 160,
                "height": 160,
                "prompt": prompt,
                "mask": rle(p),
                "min_iou": MIN_IOU,
                **({"side": side} if side != SIDES[0] else {}),
            }
        )
        done.add(i)
    if not tests:
        raise SystemExit(f"no frame is segmented well enough at {side} for a self-test")
    return tests


def golden(out, tests, folder):
    """Logits of onnxruntime on the self-test frames of the default side, for the runtime's tests.

    The frames are enlarged to the input side by taking the nearest pixel, which needs no resize
    code to repeat.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side = SIDES[0]
    for i, test in enumerate(t for t in tests if "side" not in t):
        at = np.arange(side) * 160 // side
        frame = np.frombuffer((out / test["part"]).read_bytes(), np.uint8).reshape(
            160, 160, 3
        )
        image = data.normalise(frame[at][:, at].astype(np.float32))[None]
        for precision in ("f32", "int8"):
            model = Model(out, precision)
            logits, *_ = model.decode(model.look(image), [text.tokens(test["prompt"])])
            (folder / f"{i}.{precision}.f32").write_bytes(
                logits.astype("<f4").tobytes()
            )


def described(sides=SIDES, token_dim=TOKEN_DIM, distances=None):
    """The manifest's ``graphs`` and ``variants``: an encoder each in f32 and int8, one decoder."""
    if len(sides) > 1:
        side, pixels, logits, memory = (
            "side",
            "side/4",
            f"side/{4 // SUB}",
            "side/16*side/16",
        )
    else:
        side = sides[0]
        pixels, logits, memory = side // 4, SUB * side // 4, (side // 16) ** 2
    features = [
        tensor("pixels", "f32", 1, WIDTH, pixels, pixels),
        tensor("keys", "f32", 1, LAYERS, WIDTH, memory),
        tensor("values", "f32", 1, LAYERS, memory, WIDTH),
    ]
    image = [tensor("image", "f32", 1, 3, side, side)]
    prompt = [
        tensor("tokens", "f32", "P", "T", token_dim),
        tensor("token_mask", "f32", "P", "T"),
    ]
    answer = [
        tensor("logits", "f32", "P", logits, logits),
        tensor("score", "f32", "P"),
        tensor("meta", "f32", "P", META_CLASSES),
    ]
    whole = [
        tensor("modality", "f32", 1, MODALITY_CLASSES),
        tensor("distance", "f32", 1, distances),
    ]
    outputs = features if distances is None else features + whole
    graphs = [
        {"part": f"encoder.{p}.onnx", "inputs": image, "outputs": outputs}
        for p in ("f32", "int8")
    ]
    graphs.append(
        {"part": "decoder.f32.onnx", "inputs": features + prompt, "outputs": answer}
    )
    variants = [
        {"precision": p, "encoder": f"encoder.{p}.onnx", "decoder": "decoder.f32.onnx"}
        for p in ("f32", "int8")
    ]
    return graphs, variants


def training_data(folders):
    """The manifest's ``training_data``, and the weights' licence that follows."""
    sets = [terms.of(folder) for folder in folders]
    return [{"name": t.name, "terms": t.text} for t in sets], terms.licence(sets)


def manifest(args, references, stated, familiarity, tests):
    ends = [d["first"] + d["count"] for d in familiarity["domains"]]
    graphs, variants = described(distances=max(ends))
    sets, licence = training_data(args.datasets)
    ids = [
        tensor(n, "i64", 1, "T")
        for n in ("input_ids", "attention_mask", "token_type_ids")
    ]
    bundle = {
        "format": 3,
        "name": args.name,
        "version": args.version,
        "description": "Edge student: EfficientNet-Lite0, FPN, text-conditioned mask decoder",
        "licence": licence,
        "lineage": args.lineage,
        "training_data": sets,
        "input": {
            "side": SIDES[0],
            "other_sides": list(SIDES[1:]),
            "mean": list(data.MEAN),
            "std": list(data.STD),
            "resize": "bilinear",
        },
        "graphs": graphs,
        "variants": variants,
        "default_precision": args.default_precision,
        "thresholds": {"mask_logit": 0.0, "presence": 0.5},
        "orientation": [],
        "validity": references,
        "forms": stated,
        "modalities": list(forms.MODALITIES),
        "familiarity": familiarity,
        "meta_objects": forms.meta_objects(),
        "self_tests": tests,
    }
    if args.text:
        tokens = [tensor("last_hidden_state", "f32", 1, "T", TOKEN_DIM)]
        graphs.append({"part": "text.onnx", "inputs": ids, "outputs": tokens})
        bundle["text"] = {"graph": "text.onnx", "tokenizer": "tokenizer.json"}
    return bundle


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=pathlib.Path, help="edge.safetensors of a run"
    )
    parser.add_argument(
        "--datasets", nargs="+", required=True, help="folders with manifest.csv"
    )
    parser.add_argument("--phantoms", required=True, help="folder of phantom frames")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="source folder to write"
    )
    parser.add_argument(
        "--golden", type=pathlib.Path, help="folder for onnxruntime's logits"
    )
    terms.add_argument(parser)
    parser.add_argument("--name", default="edge")
    parser.add_argument("--version", default="0.2.0")
    parser.add_argument("--lineage", default="models/train")
    parser.add_argument("--card", type=pathlib.Path, help="model-card.md to put in")
    parser.add_argument("--default-precision", default="f32")
    parser.add_argument(
        "--calibrate", type=int, default=240, help="frames for int8 calibration"
    )
    parser.add_argument(
        "--per-dataset", type=int, default=10**9, help="most val frames of each"
    )
    parser.add_argument(
        "--text", action="store_true", help="include text graph and tokenizer"
    )
    args = parser.parse_args()
    args.datasets = terms.allowed(args.datasets, args.terms)
    args.out.mkdir(parents=True, exist_ok=True)

    student = Student()
    if load_start(student, args.checkpoint, None):
        raise SystemExit(f"{args.checkpoint} lacks weights")
    train = data.load(args.datasets, "train")
    val = some(data.load(args.datasets, "val"), args.per_dataset)
    rng, _ = data.seeded(7)
    phantoms = data.load([args.phantoms], "val")
    drawn = data.load([args.phantoms], "train")[::PHANTOMS_LOOKED_AT]
    student.eval()
    known = familiar.fit(student, train, phantoms, SIDES)
    export_graphs(student, args.out, known=known)
    views = (
        data.WHOLE.render(frame.read()[0], rng.choice(SIDES)).astype(np.float32)
        for frame in rng.sample(train, min(args.calibrate, len(train)))
    )
    inputs = [data.normalise(v)[None] for v in views]
    print(
        "f32 graph against PyTorch, largest difference:",
        check_parity(student, args.out, inputs[:8]),
    )
    quantise(args.out, [{"image": image} for image in inputs])

    references, report = [], {}
    for precision in ("f32", "int8"):
        model = Model(args.out, precision)
        references += fit_validity(
            model, rng.sample(train, min(900, len(train))), precision
        )
        found = look(model, val)
        # The scores of int8, which is quicker and less exact, say what scores mean.
        stated = particulars(found)
        report[precision] = figures(found, stated)
        for k, v in report[precision].items():
            print(precision, k, v, flush=True)
    familiarity, report["fit"] = frames_known(model, known.places, val, drawn)
    print("fit", report["fit"], flush=True)
    (args.out / "report.json").write_text(json.dumps(report, indent=1))
    models = [Model(args.out, precision) for precision in ("f32", "int8")]
    tests = self_tests(models, phantoms, args.out, familiarity)
    (args.out / "prompts.json").write_text(json.dumps(prompt_table()))
    if args.golden:
        golden(args.out, tests, args.golden)
    if args.text:
        export_text(args.out / "text.onnx")
        shutil.copy(text.tokenizer_file(), args.out / "tokenizer.json")
    if args.card:
        shutil.copy(args.card, args.out / "model-card.md")
    (args.out / "bundle.json").write_text(
        json.dumps(manifest(args, references, stated, familiarity, tests), indent=1)
    )


if __name__ == "__main__":
    main()
