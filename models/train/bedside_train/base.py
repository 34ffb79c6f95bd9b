"""A bundle to start from: its parts in a folder, its manifest and its prompt table."""

import hashlib
import json
import shutil
import zipfile

import numpy as np

from . import text
from .errors import BadInput

# Modalities by their number in a prompt table.
NUMBERED = (
    "ct", "mri", "x-ray", "ultrasound", "pathology", "endoscopy", "dermoscopy", "fundus", "oct",
)  # fmt: skip
MADE = ("manifest.json", "prompts.postcard")  # by `bedside pack`; the rest is copied


class Base:
    """What a bundle says of itself. folder: where its graphs and all other parts lie unpacked, but
    for the two that `bedside pack` makes."""

    def __init__(self, bundle, folder):
        if not bundle.is_file():
            raise BadInput(f"{bundle}: no such file; hint: --start NAME.bedside")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with zipfile.ZipFile(bundle) as file:
                said = file.read("manifest.json")
                self.manifest, self.digest = (
                    json.loads(said),
                    hashlib.sha256(said).hexdigest(),
                )
                self.entries = read_prompts(file.read("prompts.postcard"))
                file.extractall(folder, [n for n in file.namelist() if n not in MADE])
        except (zipfile.BadZipFile, KeyError, ValueError, IndexError) as error:
            raise BadInput(
                f"{bundle}: no bundle ({error}); hint: bedside verify"
            ) from error
        self.bundle, self.folder = bundle, folder
        graphs = [self.manifest["variants"][0]["decoder"]]
        graphs += [v["encoder"] for v in self.manifest["variants"]]
        wanted = ["decoder.f32.onnx", "encoder.f32.onnx", "encoder.int8.onnx"]
        if graphs != wanted:
            raise BadInput(
                f"{bundle}: graphs {', '.join(graphs)}; hint: start from the edge bundle or one "
                "that was fine-tuned from it"
            )

    @property
    def sides(self):
        """Of the encoder's input, the bundle's own first."""
        told = self.manifest["input"]
        return (told["side"], *told.get("other_sides", []))

    @property
    def domains(self):
        """Rows of ``familiarity`` by (modality, site)."""
        rows = self.manifest.get("familiarity") or {"domains": []}
        return {(r["modality"], r["site"]): r for r in rows["domains"]}

    def side_of(self, entry):
        """Side of the input that a form's masks are best at."""
        rows = [r for r in self.manifest.get("forms", []) if is_of(r, entry)]
        return rows[0].get("side", self.sides[0]) if rows else self.sides[0]


def is_of(row, form):
    """Whether a row of the manifest and an entry of the table, or another row, name one form."""
    return all(
        row.get(k, "") == form.get(k, "")
        for k in ("object", "modality", "site", "acquisition")
    )


def words(entry):
    """The prompt of a table's entry."""
    return text.prompt(
        *(entry[k] for k in ("target", "modality", "site", "acquisition"))
    )


class Wire:
    """Postcard's bytes: varints, and texts and bytes behind their length."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def number(self):
        value, shift = 0, 0
        while True:
            b = self.byte()
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value

    def bytes(self):
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at]

    def text(self):
        return self.bytes().decode()


def read_prompts(data):
    """Entries of a ``prompts.postcard`` with their tokens f32 [T,D]; see docs/bundle-format.md."""
    wire = Wire(data)
    kind = {1: "<f2", 2: "<f4"}[wire.byte()]
    dim, entries = wire.number(), []
    for _ in range(wire.number()):
        entry = {"object": wire.text(), "target": wire.text()}
        entry["modality"] = NUMBERED[wire.number()]
        entry.update(
            site=wire.text(), acquisition=wire.text(), trained=wire.byte() == 1
        )
        wire.number()  # rows, which the bytes tell as well
        tokens = np.frombuffer(wire.bytes(), kind).astype(np.float32)
        entries.append({**entry, "tokens": tokens.reshape(-1, dim)})
    return entries


def write_prompts(entries, path):
    """``prompts.json`` of a source folder; numbers are read back as they are."""
    listed = [
        {**e, "tokens": [[float(v) for v in row] for row in e["tokens"]]}
        for e in entries
    ]
    dim = len(listed[0]["tokens"][0])
    path.write_text(json.dumps({"token_dim": dim, "entries": listed}))
