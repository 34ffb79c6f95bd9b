"""Reading a BiomedParse v1 checkpoint: all of it, or an error that names what is wrong.

``open_model`` is the usual entry. Nothing in a file is executed, and no weight is ever left at a
random value: each key is either loaded with its exact shape or dropped for a written reason.
"""

import fnmatch
import functools
import importlib.resources
import json
import pickle
import re
import zipfile

import torch

from .checks import REMEDY, checkpoint_file
from .errors import CheckpointError
from .model import BiomedParse, Config

# Keys of v1 that inference with a text prompt does not read. Their shapes, which are checked
# like those of the others, are in dropped_keys.json.
DROPPED = [
    ("*.lang_encoder.biomed_encoder.*", "BiomedBERT, built by v1 but never run by its clip path"),
    ("*.predictor.pn_indicator.weight", "marks points of spatial prompts"),
    ("*.predictor.mask_sptial_embed.*", "projects features for spatial prompts"),
    ("*.predictor.spatial_embed.weight", "position of spatial memories"),
    ("*.predictor.spatial_featured.weight", "content of spatial memories"),
    ("dilation_kernel", "grows masks of spatial prompts during training"),
    ("criterion.empty_weight", "class weights of the training loss"),
]

BERT_VOCABULARY = 30522  # of BiomedBERT, where the token table has CLIP's 49408 in v1
BERT_WIDTH = 768
MAY_BE_ZERO = ("bias", "logit_scale", "level_embed.weight", "query_embed.weight")


def load(path):
    """The state dict in a file, name -> tensor. Only tensors are read; no code in it is run."""
    archive = checkpoint_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as e:
        if archive and _mentions_v2(path):
            raise CheckpointError(f"{path}: {_V2}") from None
        if any(word in str(e) for word in _OBJECT):
            message = "holds Python objects besides tensors, which are not loaded for safety"
            hint = "hint: save its state dict alone with torch.save(model.state_dict(), ...)"
            raise CheckpointError(f"{path}: {message}; {hint}") from None
        raise CheckpointError(f"{path}: damaged or not a PyTorch checkpoint; {REMEDY}") from None
    except (EOFError, RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile):
        message = "truncated or damaged; hint: download or copy it again"
        raise CheckpointError(f"{path}: {message}") from None
    try:
        return _state_dict(content)
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {e}") from None


# What PyTorch says of a pickle that asks for more than tensors.
_OBJECT = ("Unsupported global", "Unsupported class", "unrecognized function", "to instantiate")

# What training scripts put around a state dict, and in front of its keys.
WRAPPERS = ("state_dict", "model", "module")
PREFIX = re.compile(r"((?:module\.|model\.)+)(?:backbone|sem_seg_head)\.")

# Modules that v2 has and v1 has not. A file is v2 by these, whatever wrote it and around it.
V2_KEYS = ("sem_seg_head.predictor.language_encoder.", "output_deconv.", "output_conv.")
_V2 = "a BiomedParse v2 checkpoint, which is another network; hint: give biomedparse_v1.pt"


def _mentions_v2(path):
    """Whether an archive's pickle holds names of v2; it is read as bytes only."""
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(n) for n in archive.namelist() if n.endswith("data.pkl")]
    return any(key.encode() in content for key in V2_KEYS for content in pickles)


def _unwrapped(content):
    """The innermost dictionary, its keys without the prefix that wrapping the module gave them."""
    while isinstance(content, dict):
        inner = next((content[w] for w in WRAPPERS if isinstance(content.get(w), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise CheckpointError(f"holds a {type(content).__name__}, not a state dict; {REMEDY}")
    prefix = next((m[1] for m in map(PREFIX.match, map(str, content)) if m), "")
    return {k.removeprefix(prefix) if isinstance(k, str) else k: v for k, v in content.items()}


def _state_dict(content):
    content = _unwrapped(content)
    if any(str(key).startswith(V2_KEYS) for key in content):
        raise CheckpointError(_V2)
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            kind = type(value).__name__
            raise CheckpointError(f"{key!r} is a {kind}, not a tensor; {REMEDY}")
    if not any(key.startswith(("backbone.", "sem_seg_head.")) for key in content):
        raise CheckpointError(f"holds no BiomedParse weights but {_some(content)}; {REMEDY}")
    return content


def _some(keys):
    """The first keys, and how many there are."""
    keys = list(keys)
    if not keys:
        return "nothing"
    shown = ", ".join(map(str, keys[:3])) + (", ..." if len(keys) > 3 else "")
    return f"{len(keys)} key{'s'[: len(keys) != 1]}: {shown}"


@functools.cache
def loaded_shapes(config):
    """Name -> shape of every key that the network loads."""
    with torch.device("meta"):
        state = BiomedParse(config).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


@functools.cache
def dropped_shapes(config):
    """Name -> shape of every key that is expected and dropped; only v1 has such keys."""
    if config != Config.v1():
        return {}
    text = importlib.resources.files(__package__).joinpath("dropped_keys.json").read_text()
    return {key: tuple(shape) for key, shape in json.loads(text).items()}


def dropped_because(key):
    """The reason why a key is dropped, or None for a key that is loaded."""
    return next((why for pattern, why in DROPPED if fnmatch.fnmatchcase(key, pattern)), None)


def check_shapes(shapes, config=None):
    """Raise unless name -> shape holds exactly the expected keys with the expected shapes."""
    config = config or Config.v1()
    _check_text_path(shapes, config)
    expected = loaded_shapes(config) | dropped_shapes(config)
    missing = [key for key in expected if key not in shapes]
    unknown = [key for key in shapes if key not in expected]
    said = [f"lacks {_some(missing)}"] * bool(missing)
    said += [f"has what BiomedParse v1 has not, {_some(unknown)}"] * bool(unknown)
    if said:
        raise CheckpointError(f"{', and '.join(said)}; {REMEDY}")
    for key, shape in expected.items():
        if tuple(shapes[key]) != shape:
            found = list(shapes[key])
            raise CheckpointError(f"key {key} has shape {found}, not {list(shape)}; {REMEDY}")


def _check_text_path(shapes, config):
    prefix = "sem_seg_head.predictor.lang_encoder."
    table = tuple(shapes.get(prefix + "lang_encoder.token_embedding.weight", ()))
    projection = tuple(shapes.get(prefix + "lang_proj", ()))
    bert = table[:1] == (BERT_VOCABULARY,) or projection == (BERT_WIDTH, config.dim)
    ours = table[:1] == (config.vocabulary,) and projection[:1] == (config.text_width,)
    if bert and not ours:
        message = "trained with TOKENIZER: biomed-clip (BiomedBERT as text encoder)"
        remedy = "hint: only TOKENIZER: clip can be exported, as in the published configuration"
        raise CheckpointError(f"{message}; {remedy}")


def check_values(state):
    """Raise where a tensor is not of numbers, not finite, or a layer is dead."""
    for key, value in state.items():
        if dropped_because(key):
            continue
        if not value.is_floating_point():
            raise CheckpointError(f"key {key} holds {value.dtype}, not real numbers; {REMEDY}")
        if not torch.isfinite(value).all():
            message = "holds NaN or infinity; hint: give a file whose training did not diverge"
            raise CheckpointError(f"key {key} {message}")
        if not key.endswith(MAY_BE_ZERO) and not value.any():
            raise CheckpointError(f"key {key} is all zero, so its layer is dead; {REMEDY}")


def build(state, config=None):
    """A checked state dict -> BiomedParse in f32, for inference."""
    config = config or Config.v1()
    check_shapes({key: value.shape for key, value in state.items()}, config)
    check_values(state)
    with torch.device("meta"):
        model = BiomedParse(config)
    kept = {key: value.float() for key, value in state.items() if not dropped_because(key)}
    model.load_state_dict(kept, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def open_model(path, config=None):
    """A checkpoint file -> BiomedParse in f32, for inference."""
    state = load(path)
    try:
        return build(state, config)
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {e}") from None
