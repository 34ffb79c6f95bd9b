"""What the manifest of a BiomedParse bundle says; see docs/bundle-format.md."""

import collections
import json
import pathlib

from bedside_train.bundle import statistics, validity
from bedside_train.text import ontology

from .checks import labels
from .errors import ExportError
from .frames import MEAN, STD, labelled

# Frames of these kinds were fed with rows and columns swapped in training: CAMUS' echo frames
# come in the array order of NIfTI, the apex of the probe on the left.
ORIENTATION = [{"modality": "ultrasound", "site": "heart", "transpose": True}]

# Hounsfield units that training windowed CT to, by site (upstream's processing_utils.py).
WINDOWS = [
    {"site": site, "low": low, "high": high}
    for site, low, high in (
        ("abdomen", -150, 250),
        ("lung", -1000, 1000),
        ("chest", -1000, 1000),
        ("pelvis", -55, 200),
        ("liver", -25, 230),
        ("colon", -68, 187),
        ("pancreas", -100, 200),
    )
]

# Keys of upstream's target_dist.json -> modality, sites and acquisition of the forms they are of.
DISTRIBUTIONS = {
    "CT-Abdomen": ("ct", {"abdomen", "pelvis"}, ""),
    "CT-Chest": ("ct", {"lung", "chest"}, ""),
    "CT-Liver": ("ct", {"liver"}, ""),
    "MRI-Abdomen": ("mri", {"abdomen"}, ""),
    "MRI-Cardiac": ("mri", {"heart"}, ""),
    "MRI-FLAIR-Brain": ("mri", {"brain"}, "FLAIR"),
    "MRI-T1-Gd-Brain": ("mri", {"brain"}, "T1-Gd"),
    "Pathology": ("pathology", None, ""),
    "X-Ray-Chest": ("x-ray", {"chest"}, ""),
    "Ultrasound-Cardiac": ("ultrasound", {"heart"}, ""),
    "Endoscopy": ("endoscopy", None, ""),
    "Fundus": ("fundus", None, ""),
    "Dermoscopy": ("dermoscopy", None, ""),
    "OCT": ("oct", None, ""),
}
STATISTICS = ("prob", "red", "green", "blue")


def form(row):
    """The fields that name a form, from a row of the ontology."""
    named = {k: row[k] for k in ("object", "modality", "site", "acquisition") if row.get(k)}
    return {"object": row["name"], **named}


def carried(path, precisions):
    """Validity rows from upstream's target_dist.json, and the entries that have no form here."""
    try:
        table = json.loads(pathlib.Path(path).read_text())
        entries = [(k, t, v) for k, targets in table.items() for t, v in targets.items()]
        good = all(len(v) == 4 and all(a > 0 and b > 0 for a, b in v) for _, _, v in entries)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ExportError(f"{path}: {error}; hint: BiomedParse's target_dist.json") from error
    if not entries or not good:
        raise ExportError(f"{path}: no Beta parameters; hint: BiomedParse's target_dist.json")
    rows, left = [], []
    for key, target, values in entries:
        modality, sites, acquisition = DISTRIBUTIONS.get(key, (None, None, None))
        forms = [
            form(r)
            for r in ontology()
            if r["modality"] == modality
            and (sites is None or r["site"] in sites)
            and r["acquisition"] == acquisition
            and r["target"] == target
        ]
        if not forms:
            left.append(f"{key}: {target}")
        for f in forms:
            for precision in precisions:
                rows.append({**f, "precision": precision, **dict(zip(STATISTICS, values))})
    return rows, left


def form_of(row, path):
    """The one form that a labelled frame's ``modality`` and ``object`` name."""
    found = [
        r
        for r in ontology()
        if r["modality"] == row["modality"]
        and row["object"] in (r["name"], r["target"])
        and row.get("site", r["site"]) == r["site"]
    ]
    if len(found) != 1:
        raise ExportError(
            f"{path}/manifest.csv: '{row['object']}' in {row['modality']} names {len(found)} "
            "forms of the ontology, not one; hint: `bedside prompts` lists them; a column `site` "
            "tells them apart"
        )
    return found[0]


def check_labelled(path):
    """Refuse now what :func:`fitted` would refuse after minutes."""
    for row in labels(path):
        form_of(row, path)


def fitted(path, precision, graphs, tokens):
    """Validity rows fitted on correct masks of a labelled folder, at this size and precision.

    tokens: rows [T, D] by (object, modality, site).
    """
    turned = {(o["modality"], o["site"]) for o in ORIENTATION if o["transpose"]}
    samples = collections.defaultdict(list)
    for frame, truth, row in labelled(path):
        r = form_of(row, path)
        if (r["modality"], r["site"]) in turned:
            frame, truth = frame.transpose(1, 0, 2).copy(), truth.T
        logits = graphs(frame, [tokens[r["name"], r["modality"], r["site"]]])["logits"][0]
        sample = statistics(frame, logits, truth)
        if sample is not None:
            samples[json.dumps(form(r))].append(sample)
    few = [k for k, v in samples.items() if len(v) < 10]
    if few or not samples:
        raise ExportError(
            f"{path}: fewer than 10 correct masks for {', '.join(few) or 'any object'} at "
            f"{precision}; hint: label more frames, or carry over --target-dist"
        )
    return [validity(json.loads(k), precision, v) for k, v in samples.items()]


def manifest(args, graphs, variants, references, tests, meta, text):
    """``bundle.json``."""
    out = {
        "format": 2,  # tokens in f32: rounding them costs more than all else that is done here
        "name": args.name,
        "version": args.version,
        "description": f"BiomedParse v1 at {args.size} x {args.size}: FocalNet-L, 82 object types",
        "licence": args.licence,
        "lineage": args.lineage,
        "input": {
            "side": args.size,
            "mean": list(MEAN),
            "std": list(STD),
            "resize": "bicubic",
        },
        "graphs": graphs,
        "variants": variants,
        "default_precision": variants[0]["precision"],
        # The model knows no absence: every prompt gets a mask, and its score is for comparing.
        "thresholds": {"mask_logit": 0.0, "presence": 0.0},
        "orientation": ORIENTATION,
        "windows": WINDOWS,
        "validity": references,
        "meta_objects": meta,
        "self_tests": tests,
    }
    if text:
        out["text"] = text
    return out
