"""What the commands need: a small checkpoint, CLIP's stand-in, and a folder of frames."""

import dataclasses

import clip
import torch
from bedside_export import frames
from bedside_export.model import BiomedParse, Config
from helpers import fill
from PIL import Image

CONFIG = dataclasses.replace(Config.tiny(), vocabulary=clip.SIZE, context=77)


def write(folder, count):
    """small.pt, clip/ and frames/ of ``count`` pictures of several shapes; -> folder."""
    model = BiomedParse(CONFIG).eval()
    with torch.no_grad():
        fill(model)
    torch.save(model.state_dict(), folder / "small.pt")
    clip.write(folder / "clip")
    (folder / "frames").mkdir()
    for i in range(count):
        Image.fromarray(frames.synthetic(i, 96)[: 96 - 8 * (i % 4)]).save(
            folder / f"frames/{i:02}.png"
        )
    return folder
