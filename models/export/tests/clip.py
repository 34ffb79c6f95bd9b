"""A stand-in for CLIP's vocabulary: its size, its special tokens, and the pieces of two prompts.

The real one is not ours to keep here. Words that are not in it fall apart into letters.
"""

import hashlib
import json
import pathlib
import tempfile

SIZE = 49408
# Pieces that BiomedParse's prompts fall into, with CLIP's ids.
PIECES = {
    "liver</w>": 12639,
    "in</w>": 530,
    "ab": 596,
    "do": 2164,
    "men</w>": 576,
    "ct</w>": 1122,
}


def letters():
    """The 256 printable stand-ins for bytes, as GPT-2's and CLIP's vocabularies use them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def write(folder):
    """vocab.json and merges.txt in ``folder``."""
    vocabulary = {"<|startoftext|>": SIZE - 2, "<|endoftext|>": SIZE - 1, **PIECES}
    free = (i for i in range(SIZE) if i not in set(vocabulary.values()))
    for letter in letters():
        vocabulary[letter] = next(free)
        vocabulary[letter + "</w>"] = next(free)
    merges = []
    for piece in PIECES:
        bare = piece.removesuffix("</w>")
        parts = list(bare)
        if bare != piece:
            parts[-1] += "</w>"
        whole = parts[0]
        for part in parts[1:]:
            if (whole, part) not in merges:
                merges.append((whole, part))
            whole += part
            vocabulary.setdefault(whole, next(free))
    folder.mkdir(exist_ok=True)
    ordered = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def digests():
    """What ``tokenizer.PUBLISHED`` would be if this were CLIP's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(pathlib.Path(scratch))
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}
