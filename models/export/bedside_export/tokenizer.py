"""tokenizer.json for the runtime, from the CLIP vocabulary that the user has.

BiomedParse v1 tokenizes prompts with openai/clip-vit-base-patch32's byte-pair encoding (49,408
ids). The vocabulary is not ours to ship: ``--tokenizer DIR`` names a folder with its
``vocab.json`` and ``merges.txt``, as Hugging Face stores them.
"""

import json
import pathlib

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from .errors import ExportError

START, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 49408

# Ids as BiomedParse's own files give them; another vocabulary would map prompts to other words.
KNOWN = {
    "liver in abdomen CT": [49406, 12639, 530, 596, 2164, 576, 1122, 49407],
    "liver in liver CT": [49406, 12639, 530, 12639, 1122, 49407],
}

# How CLIP splits text into words, before byte pairs (Radford 2021, github.com/openai/CLIP).
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _read(folder, name):
    path = pathlib.Path(folder) / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{path}: {error}; hint: --tokenizer takes the folder of openai/clip-vit-base-patch32 "
            "with vocab.json and merges.txt"
        ) from error


def build(folder):
    """The tokenizer of a folder with CLIP's vocabulary, checked to be CLIP's."""
    try:
        vocabulary = json.loads(_read(folder, "vocab.json"))
    except json.JSONDecodeError as error:
        raise ExportError(f"{folder}/vocab.json: {error}; hint: download it again") from error
    lines = _read(folder, "merges.txt").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if not isinstance(vocabulary, dict) or {START, END} - vocabulary.keys():
        raise ExportError(f"{folder}/vocab.json: not CLIP's vocabulary; hint: it has {START}")
    try:
        model = models.BPE(
            vocabulary,
            merges,
            unk_token=END,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    except Exception as error:  # the library raises bare Exception
        raise ExportError(
            f"{folder}: {error}; hint: vocab.json and merges.txt have to belong together"
        ) from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = vocabulary[START], vocabulary[END]
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, end), (START, start), trim_offsets=False, add_prefix_space=False
    )
    for text, ids in KNOWN.items():
        got = tokenizer.encode(text).ids
        if got != ids:
            raise ExportError(
                f"{folder}: '{text}' gives token ids {got}, BiomedParse was trained with {ids}; "
                "hint: take the vocabulary of openai/clip-vit-base-patch32"
            )
    return tokenizer
