"""A clinic's own frames of one form, checked before anything is learnt from them.

The folder is one that ``bedside eval`` reads: ``manifest.csv`` with the columns file, mask, split,
modality and object, and possibly group and label. All that is wrong is told at once, by line.
"""

import csv
import hashlib

import cv2

from . import data
from .errors import BadInput

COLUMNS = ("file", "mask", "split", "modality", "object")
TOLD = 8  # faults at most, of many
LEAST = {"train": 20, "val": 5}  # frames that show the object
NORMAL = "normal"


def policy(form):
    """What may be done to frames of a form that nothing more is known of."""
    sided = {"left", "right"} & set(form.name.split()) or form.site in (
        "heart",
        "chest",
    )
    mirror = 0.0 if sided or form.modality in ("ct", "mri", "x-ray") else 0.5
    kinds = {
        "endoscopy": dict(data.ANY_WAY_UP),
        "dermoscopy": dict(data.ANY_WAY_UP),
        "pathology": dict(data.ANY_WAY_UP),
        "fundus": dict(data.FUNDUS),
        "ct": dict(contrast=True),
        "mri": dict(contrast=True),
    }
    return data.Policy(
        **{**kinds.get(form.modality, {}), "mirror": mirror, "away": 0.1}
    )


def read(folders, form, called):
    """{"train": frames, "val": frames} of a form, each frame with the mask of form 0 or None.

    called: the form's `object` in the manifests.
    """
    frames, faults, others = {"train": {}, "val": {}}, [], {}
    groups, pictures = {}, {}
    for folder in folders:
        name = folder / "manifest.csv"
        for line, row in rows(name):
            if row["split"] not in frames:
                continue
            if (row["object"], row["modality"]) != (called, form.modality):
                key = f"'{row['object']}' in {row['modality']}"
                others[key] = others.get(key, 0) + 1
                continue
            try:
                frame, digest = checked(folder, row, form)
            except BadInput as error:
                faults.append(f"{name}, line {line}: {error}")
                continue
            for kept, key, what in (
                (groups, row.get("group"), "group"),
                (pictures, digest, "picture"),
            ):
                if key and kept.setdefault(key, row["split"]) != row["split"]:
                    shown = key if what == "group" else row["file"]
                    faults.append(
                        f"{name}, line {line}: {what} {shown} is in train and in val; hint: keep "
                        "all frames of a patient in one split"
                    )
            frames[row["split"]].setdefault(frame.file, frame)
    if faults:
        more = [f"and {len(faults) - TOLD} more"] if len(faults) > TOLD else []
        raise BadInput("\n  ".join([f"{len(faults)} rows:", *faults[:TOLD], *more]))
    where = ", ".join(map(str, folders))
    if not any(frames.values()):
        told = (
            ", ".join(f"{k} ({n} rows)" for k, n in others.items())
            or "no rows of train or val"
        )
        raise BadInput(
            f"{where}: no row of '{called}' in {form.modality}; hint: there is {told}; --object "
            "and --modality are spelled as in manifest.csv"
        )
    if others:
        print(f"left out: rows of {', '.join(others)}", flush=True)
    for split, least in LEAST.items():
        shown = sum(f.masks[0] is not None for f in frames[split].values())
        if shown < least:
            raise BadInput(
                f"{where}: {shown} frames of split '{split}' show the object, {least} are the "
                "least; hint: mark about one patient in six as 'val' in the column split"
            )
    return {split: list(found.values()) for split, found in frames.items()}


def rows(name):
    """(line, row) of a manifest."""
    hint = f"hint: a CSV file in UTF-8 with the columns {', '.join(COLUMNS)}"
    try:
        with name.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{name}: {error}; {hint}") from error
    lacking = [c for c in COLUMNS if c not in (reader.fieldnames or [])]
    if lacking:
        raise BadInput(f"{name}: no column {', '.join(lacking)}; {hint}")
    return [
        (n, {k: (v or "").strip() for k, v in row.items() if k}) for n, row in found
    ]


def checked(folder, row, form):
    """The frame of a row, and a digest of its picture."""
    file = folder / row["file"]
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise BadInput(
            f"{file} cannot be read; hint: PNG or JPEG, relative to the manifest"
        )
    mask = masked(folder, row, image.shape[:2])
    frame = data.Frame(
        file, folder.name, form.modality, form.site, policy(form), {0: mask}
    )
    return frame, hashlib.sha256(image.tobytes()).hexdigest()


def masked(folder, row, size):
    """The mask's file; None where the object is not in the frame."""
    if not row["mask"]:
        if row.get("label") == NORMAL:
            return None
        raise BadInput(f"no mask; hint: only frames of label '{NORMAL}' may go without")
    file = folder / row["mask"]
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise BadInput(
            f"mask {file} cannot be read; hint: PNG, relative to the manifest"
        )
    if mask.shape != size:
        has, wants = (f"{s[1]}x{s[0]}" for s in (mask.shape, size))
        raise BadInput(
            f"mask {file} has {has} pixels, its picture {wants}; hint: masks are drawn at the "
            "picture's size"
        )
    if mask.max() <= 127:
        if mask.any():
            raise BadInput(
                f"mask {file} has dark pixels only; hint: masks hold 0 and 255"
            )
        return None
    if row.get("label") == NORMAL:
        raise BadInput(
            f"mask {file} has pixels, but the label is '{NORMAL}'; hint: correct one"
        )
    return file
