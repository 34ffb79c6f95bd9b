"""The prompt table: the 82 object types in their trained forms, by the teacher of the weights."""

import numpy as np
import torch
from bedside_train.text import ontology

from .tokenizer import ids


def encoder(text_encoder, words):
    """A checkpoint's own text encoder: prompt -> token rows f32 [T, D], start and end included."""

    def encode(prompt):
        row = torch.tensor([ids(words, prompt)])
        with torch.no_grad():
            return text_encoder(row)[0].numpy().astype(np.float32)

    return encode


def table(encode, dim, trained=None):
    """``prompts.json`` of docs/bundle-format.md.

    trained: prompt texts that the weights know; all where it is ``None``.
    """
    entries = [
        {
            "object": row["name"],
            "modality": row["modality"],
            "site": row["site"],
            "acquisition": row["acquisition"],
            "trained": trained is None or row["text"] in trained,
            "tokens": encode(row["text"]).tolist(),
        }
        for row in ontology()
    ]
    return {"token_dim": dim, "entries": entries}
