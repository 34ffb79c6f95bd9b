"""tokenizer.json against BiomedParse's own token ids."""

import json
import os
import pathlib

import clip
import pytest
from bedside_export import tokenizer
from bedside_export.errors import ExportError
from tokenizers import Tokenizer

PUBLISHED = tokenizer.PUBLISHED  # before conftest puts the stand-in's there


def shared(name):
    """A file of the shared data beside the repository, or a skip that says why."""
    root = pathlib.Path(__file__).parents[3]
    folder = pathlib.Path(os.environ.get("BEDSIDE_SHARED", root.parent / "shared"))
    if not (folder / name).exists():
        pytest.skip(f"no {folder / name}; set BEDSIDE_SHARED")
    return folder / name


GOLDEN = pathlib.Path(__file__).parent / "golden/clip_ids.json"
# Ids as BiomedParse's own files give them.
KNOWN = {
    "liver in abdomen CT": [49406, 12639, 530, 596, 2164, 576, 1122, 49407],
    "liver in liver CT": [49406, 12639, 530, 12639, 1122, 49407],
}
# What of the golden needs ftfy itself: entities in entities or beyond XML's, wide letters, control
# characters, mojibake, and the last sigma of a word.
FTFY = (
    "&amp;amp;",
    "a &lt; b <",
    "&eacute;",
    "\uff4c",
    "\0",
    "\xe2\u20ac",
    "\xc3\xa9",
    "\u039f",
    "\x1b",
)


def test_known_prompts_get_their_ids(tmp_path):
    words = tokenizer.build(clip.write(tmp_path / "clip"))
    tokenizer.save(words, tmp_path / "tokenizer.json")
    runtime = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, ids in KNOWN.items():
        for form in (text, f"  {text.upper()}\n"):
            assert tokenizer.ids(words, form) == runtime.encode(form).ids == ids
    assert len(tokenizer.ids(words, "xyz")) == 5, "unknown words fall apart into letters"


@pytest.fixture(scope="module")
def golden():
    """Prompts with the ids that transformers 4.34.0 and ftfy 6.1.1, which BiomedParse pins, give
    them with the stand-in vocabulary (its ``CLIPTokenizer``, not the fast one)."""
    return json.loads(GOLDEN.read_text())


def test_text_is_repaired_as_the_original_does(tmp_path, golden):
    """Curly quotes, ligatures, entities, mojibake, accents, wide letters, white space."""
    words = tokenizer.build(clip.write(tmp_path / "clip"))
    assert len(golden) > 30
    assert not [r["text"] for r in golden if tokenizer.ids(words, r["text"]) != r["ids"]]


def test_the_runtime_repairs_the_common_cases(tmp_path, golden):
    tokenizer.save(tokenizer.build(clip.write(tmp_path / "clip")), tmp_path / "tokenizer.json")
    runtime = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    wrong = [r["text"] for r in golden if runtime.encode(r["text"]).ids != r["ids"]]
    assert wrong == [r["text"] for r in golden if any(mark in r["text"] for mark in FTFY)]


def test_every_prompt_gets_the_ids_of_the_ontology(monkeypatch):
    folder = os.environ.get("BEDSIDE_CLIP")
    if not folder:
        pytest.skip("BEDSIDE_CLIP names no folder with CLIP's vocab.json and merges.txt")
    monkeypatch.setattr(tokenizer, "PUBLISHED", PUBLISHED)
    words = tokenizer.build(folder)
    objects = json.loads(shared("data/ontology.json").read_text())["objects"]
    prompts = {p["text"]: p["clip_ids"] for o in objects for p in o["prompts"]}
    assert len(prompts) > 200
    assert not {t for t, ids in prompts.items() if tokenizer.ids(words, t) != ids}


def refused(folder, *words):
    with pytest.raises(ExportError) as caught:
        tokenizer.build(folder)
    assert all(w in str(caught.value) for w in (*words, "hint: "))


def test_folders_without_the_vocabulary_are_refused(tmp_path):
    refused(tmp_path, "vocab.json")
    folder = clip.write(tmp_path / "clip")
    (folder / "merges.txt").unlink()
    refused(folder, "merges.txt")


def test_another_vocabulary_is_refused(tmp_path):
    folder = clip.write(tmp_path / "clip")
    good = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text("{")
    refused(folder, "vocab.json")
    for other in ([1], {"a": 0}, {"a": "b", "c": 1}):
        (folder / "vocab.json").write_text(json.dumps(other))
        refused(folder, "vocab.json")
    good["liver</w>"], good["in</w>"] = good["in</w>"], good["liver</w>"]
    (folder / "vocab.json").write_text(json.dumps(good))
    refused(folder, "vocab.json", "SHA-256", tokenizer.PUBLISHED["vocab.json"])


def test_merges_are_checked_too(tmp_path):
    folder = clip.write(tmp_path / "clip")
    lines = (folder / "merges.txt").read_text().splitlines()
    (folder / "merges.txt").write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]))
    refused(folder, "merges.txt", "SHA-256", tokenizer.PUBLISHED["merges.txt"])


def test_the_same_vocabulary_in_another_layout_will_do(tmp_path):
    folder = clip.write(tmp_path / "clip")
    known = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(dict(sorted(known.items())), indent=1))
    merges = (folder / "merges.txt").read_text()
    (folder / "merges.txt").write_bytes(
        merges.replace("0.2", "0.2 - copied").replace("\n", "\r\n").encode()
    )
    assert tokenizer.ids(tokenizer.build(folder), "liver in liver CT") == KNOWN["liver in liver CT"]
