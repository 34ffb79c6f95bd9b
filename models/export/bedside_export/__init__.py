"""Export BiomedParse v1: checkpoint in, encoder, decoder and text graphs out."""

from .checkpoint import CheckpointError
from .model import BiomedParse, Config

__all__ = ["BiomedParse", "CheckpointError", "Config"]
