"""The prompt table: all 82 object types in their trained forms, by the checkpoint's own text
encoder."""

import numpy as np
import torch
from bedside_train.text import ontology


def encode(text_encoder, tokenizer, prompt):
    """Token rows f32 [T, D] of one prompt, start and end tokens included."""
    ids = torch.tensor([tokenizer.encode(prompt.strip().lower()).ids])
    with torch.no_grad():
        return text_encoder(ids)[0].numpy().astype(np.float32)


def table(text_encoder, tokenizer, dim):
    """``prompts.json`` of docs/bundle-format.md; every form was trained."""
    entries = [
        {
            "object": row["name"],
            "modality": row["modality"],
            "site": row["site"],
            "acquisition": row["acquisition"],
            "trained": True,
            "tokens": encode(text_encoder, tokenizer, row["text"]).tolist(),
        }
        for row in ontology()
    ]
    return {"token_dim": dim, "entries": entries}
