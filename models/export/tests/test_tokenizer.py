"""tokenizer.json against BiomedParse's own token ids."""

import json
import os
import pathlib

import clip
import pytest
from bedside_export import tokenizer
from bedside_export.errors import ExportError
from tokenizers import Tokenizer


def shared(name):
    """A file of the shared data beside the repository, or a skip that says why."""
    root = pathlib.Path(__file__).parents[3]
    folder = pathlib.Path(os.environ.get("BEDSIDE_SHARED", root.parent / "shared"))
    if not (folder / name).exists():
        pytest.skip(f"no {folder / name}; set BEDSIDE_SHARED")
    return folder / name


def test_known_prompts_get_their_ids(tmp_path):
    words = tokenizer.build(clip.write(tmp_path / "clip"))
    words.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, ids in tokenizer.KNOWN.items():
        assert again.encode(text).ids == ids
        assert again.encode(f"  {text.upper()}\n").ids == ids
    assert len(again.encode("xyz").ids) == 5, "unknown words fall apart into letters"


def test_every_prompt_gets_the_ids_of_the_ontology():
    folder = os.environ.get("BEDSIDE_CLIP")
    if not folder:
        pytest.skip("BEDSIDE_CLIP names no folder with CLIP's vocab.json and merges.txt")
    words = tokenizer.build(folder)
    objects = json.loads(shared("data/ontology.json").read_text())["objects"]
    prompts = {p["text"]: p["clip_ids"] for o in objects for p in o["prompts"]}
    assert len(prompts) > 200
    wrong = {t: words.encode(t).ids for t, ids in prompts.items() if words.encode(t).ids != ids}
    assert not wrong


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
    (folder / "vocab.json").write_text(json.dumps({"a": 0}))
    refused(folder, "not CLIP's")
    good["liver</w>"], good["in</w>"] = good["in</w>"], good["liver</w>"]
    (folder / "vocab.json").write_text(json.dumps(good))
    refused(folder, "liver in", "12639")
