"""Text-prompted biomedical segmentation on the device: an image and words in, findings out.

    import bedside

    segmenter = bedside.Segmenter.open()
    findings = segmenter.segment(bedside.read_image("colon.png"), ["polyp"])
    print(findings[0].present, findings[0].mask)

Research use only. Not a medical device. Not for clinical decisions.
"""

from pathlib import Path

from ._bedside import (
    Dicom,
    Encoded,
    Finding,
    Findings,
    Frames,
    Prompt,
    Segmentation,
    Segmenter,
    __version__,
    read_image,
)
from .errors import (
    BundleError,
    CacheError,
    ConfigError,
    EngineError,
    Error,
    FrameError,
    MismatchError,
    PromptError,
    SelfTestError,
)

EDGE_BUNDLE = Path(__file__).parent / "edge.bedside"
"""The model bundle that comes with this package."""

__all__ = [
    "EDGE_BUNDLE",
    "BundleError",
    "CacheError",
    "ConfigError",
    "Dicom",
    "Encoded",
    "EngineError",
    "Error",
    "Finding",
    "Findings",
    "FrameError",
    "Frames",
    "MismatchError",
    "Prompt",
    "PromptError",
    "Segmentation",
    "Segmenter",
    "SelfTestError",
    "__version__",
    "read_image",
]
