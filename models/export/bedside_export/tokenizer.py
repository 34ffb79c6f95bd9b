"""CLIP's tokenizer: its vocabulary, which the user has, and its way with text.

BiomedParse v1 reads prompts with ``CLIPTokenizer`` of openai/clip-vit-base-patch32, which repairs
text with ftfy, joins white space, lower-cases, and cuts words into byte pairs (49,408 ids). The
vocabulary is not ours to ship: a folder with its ``vocab.json`` and ``merges.txt``, as Hugging Face
stores them, is named by the user and checked.
"""

import hashlib
import json
import pathlib
import re

import ftfy
from ftfy import chardata
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from .errors import ExportError

START, END = "<|startoftext|>", "<|endoftext|>"
VERSION = "#version: 0.2"  # the first line of merges.txt

# SHA-256 of the published files. Copies that are laid out otherwise count as they are read.
PUBLISHED = {
    "vocab.json": "5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363",
    "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
}
HINT = (
    "hint: take vocab.json and merges.txt of openai/clip-vit-base-patch32 on Hugging Face, and put "
    "them beside the checkpoint or name their folder with --tokenizer"
)

# How CLIP splits text into words, before byte pairs (Radford 2021, github.com/openai/CLIP).
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

# What tokenizer.json does of ftfy's repairs. It can't do others, such as mojibake, and knows no
# context: ftfy leaves entities alone in a text that has a "<".
ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&#39;": "'", "&amp;": "&"}
QUOTES = {c: "'" for c in "\u02bc\u2018\u2019\u201a\u201b"}
QUOTES |= {c: '"' for c in "\u201c\u201d\u201e\u201f"}
LIGATURES = {chr(c): plain for c, plain in chardata.LIGATURES.items()}


def clean(text):
    """A prompt as CLIP's tokenizer makes it before it cuts it into pieces."""
    return re.sub(r"\s+", " ", ftfy.fix_text(text)).strip().lower()


def ids(tokenizer, text):
    """Token ids of a prompt, start and end included."""
    return tokenizer.encode(clean(text)).ids


def _read(folder, name):
    path = pathlib.Path(folder) / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ExportError(f"{path}: {why}; {HINT}") from error


def vocabulary(folder):
    """Vocabulary and merges of a folder, checked to be CLIP's."""
    try:
        known = json.loads(_read(folder, "vocab.json"))
        pieces = sorted(known.items(), key=lambda item: item[1])
    except (ValueError, AttributeError, TypeError) as error:
        raise ExportError(f"{folder}/vocab.json: {error}; {HINT}") from error
    lines = _read(folder, "merges.txt").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    found = {
        "vocab.json": json.dumps(dict(pieces), ensure_ascii=False, separators=(",", ":")),
        "merges.txt": "\n".join([VERSION, *merges, ""]),
    }
    for name, text in found.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != PUBLISHED[name]:
            raise ExportError(
                f"{folder}/{name}: not CLIP's, or damaged: SHA-256 {digest}, not "
                f"{PUBLISHED[name]}; {HINT}"
            )
    return known, [tuple(line.split()) for line in merges]


def build(folder):
    """The tokenizer of a folder with CLIP's vocabulary, for text that is :func:`clean`."""
    known, merges = vocabulary(folder)
    tokenizer = Tokenizer(
        models.BPE(
            known,
            merges,
            unk_token=END,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, known[END]), (START, known[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def save(tokenizer, path):
    """``tokenizer.json`` for the runtime, which has no ftfy but the commonest of its repairs."""
    repairs = [normalizers.Replace(*pair) for pair in (ENTITIES | LIGATURES | QUOTES).items()]
    spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    portable = Tokenizer.from_str(tokenizer.to_str())
    portable.normalizer = normalizers.Sequence(
        [*repairs, normalizers.NFC(), *spaces, normalizers.Lowercase()]
    )
    portable.save(str(path))
