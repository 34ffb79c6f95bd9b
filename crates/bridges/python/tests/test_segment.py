"""Images in, findings out."""

import json
import subprocess
import sys
import threading
import time

import bedside
import numpy
import pytest

from conftest import ROOT, SAMPLES
from many_calls import resident, run

PROMPTS = ["polyp", "tumor in breast ultrasound", "fetal head"]


def counts(mask):
    """COCO's run lengths, uncompressed: by columns, beginning with what is outside."""
    bits = mask.T.ravel()
    edges = numpy.flatnonzero(numpy.diff(bits)) + 1
    runs = numpy.diff([0, *edges, bits.size]).tolist()
    return [0, *runs] if bits[0] else runs


def uncompressed(text):
    """COCO's compressed run lengths, by the description in pycocotools' maskApi.c."""
    runs, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return runs


@pytest.mark.parametrize("precision", ["f32", "int8"])
@pytest.mark.parametrize("prompts", [PROMPTS, ["optic disc"]])
def test_the_masks_are_the_commands(command, precision, prompts):
    """Bit for bit, at the side that the prompts want: of optic discs it is another."""
    pictures = sorted(SAMPLES.glob("*.png"))
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    bundle = ["--bundle", bedside.EDGE_BUNDLE, "--precision", precision]
    run = [command, "segment", *pictures, *asked, *bundle, "--json"]
    said = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    segmenter = bedside.Segmenter.open(precision=precision)
    present = 0
    for picture, image in zip(pictures, said["images"], strict=True):
        findings = segmenter.segment(bedside.read_image(picture), prompts)
        for ours, theirs in zip(findings, image["findings"], strict=True):
            for field in ("prompt", "object", "present", "area", "withheld"):
                assert getattr(ours, field) == theirs[field]
            for field in ("presence", "mean_probability", "validity", "fit"):
                assert getattr(ours, field) == pytest.approx(theirs[field], abs=1e-6)
            if theirs["present"]:
                present += 1
                box = theirs["bounding_box"]
                assert ours.bounding_box == (box["x"], box["y"], box["width"], box["height"])
                assert list(ours.mask.shape) == theirs["mask"]["size"]
                assert counts(ours.mask) == uncompressed(theirs["mask"]["counts"])
            else:
                assert ours.mask is None and theirs["mask"] is None
    assert present == (3 if prompts is PROMPTS else 0)


def test_a_mask_is_an_array_of_its_own(segmenter, colon):
    finding = segmenter.segment(colon, "polyp")[0]
    mask = finding.mask
    assert mask is finding.mask
    assert (mask.dtype, mask.shape) == (numpy.bool_, colon.shape[:2])
    assert mask.flags.c_contiguous and mask.flags.writeable
    assert mask.sum() == finding.area > 0
    x, y, width, height = finding.bounding_box
    assert mask[y : y + height, x : x + width].sum() == finding.area
    kept = mask.copy()
    del finding
    segmenter.segment(colon[::-1], "polyp")
    assert numpy.array_equal(mask, kept)


def test_prompts_are_words_or_prompts_one_or_several(segmenter, colon):
    one = segmenter.segment(colon, "polyp")
    same = segmenter.segment(colon, bedside.Prompt("polyp", modality="endoscopy"))
    several = segmenter.segment(colon, ("polyp", bedside.Prompt("fetal head")))
    assert [f.object for f in several] == ["colon polyp", "fetal head"]
    for other in (same, several):
        assert numpy.array_equal(one[0].mask, other[0].mask)
    assert several[1].mask is None and several[1].area == 0
    assert several[-1] is several[1] and len(several[:1]) == 1
    prompt = bedside.Prompt("tumor", modality="ultrasound", site="breast")
    assert prompt in {bedside.Prompt("tumor", "ultrasound", "breast")}
    assert eval(repr(prompt), {"Prompt": bedside.Prompt}) == prompt
    assert "polyp in colon endoscope" in segmenter.known_prompts


def test_more_sets_of_prompts_than_are_kept(segmenter, colon):
    tiny = colon[:16, :16]
    known = segmenter.known_prompts
    pairs = [[a, b] for a in known for b in known][:70]
    upright = [pair for pair in pairs if not any("heart" in p or "cardiac" in p for p in pair)]
    for pair in upright:
        assert [f.prompt for f in segmenter.segment(tiny, pair)] == pair


def test_a_batch_gives_the_masks_of_single_images(segmenter, colon):
    images = [colon, colon[:, ::-1], colon[40:200, 30:300], colon[..., 0], colon]
    batch = segmenter.segment_batch(iter(images), PROMPTS)
    assert len(batch) == len(images)
    for image, findings in zip(images, batch, strict=True):
        for one, other in zip(segmenter.segment(image, PROMPTS), findings, strict=True):
            assert one.presence == other.presence
            assert numpy.array_equal(one.mask, other.mask)
    assert segmenter.segment_batch([], "polyp") == []


def test_an_encoded_image_gives_the_masks_of_a_single_one(segmenter, colon):
    """Of optic discs the side is another. Only the first set of prompts of a side waits for the encoder."""
    encoded = segmenter.encode(colon)
    for prompts in (PROMPTS, "polyp", ["optic disc"], ["fetal head", "polyp"], "retinal vessel"):
        for one, other in zip(segmenter.segment(colon, prompts), encoded.segment(prompts), strict=True):
            assert (one.prompt, one.presence, one.area) == (other.prompt, other.presence, other.area)
            assert numpy.array_equal(one.mask, other.mask)
    assert encoded.segment("polyp").milliseconds["encoder"] == 0
    assert repr(encoded) == "<Encoded 352x240>"
    bgr = segmenter.encode(colon[..., ::-1], order="bgr")
    assert numpy.array_equal(bgr.segment("polyp")[0].mask, encoded.segment("polyp")[0].mask)
    with pytest.raises(bedside.FrameError, match="hint: "):
        segmenter.encode(colon / 255.0)
    with pytest.raises(bedside.PromptError, match="hint: "):
        encoded.segment("tumor")


def test_recognize_finds_what_the_picture_shows(segmenter, colon):
    findings = segmenter.recognize(colon)
    assert findings.looks_like[0] == "endoscopy"
    assert "colon polyp" in [f.object for f in findings if f.present]
    named = segmenter.recognize(colon, "endoscopy", "colon")
    assert [f.object for f in named] == ["colon polyp"]


def test_threads_take_turns_and_get_their_own_answers(segmenter, colon):
    images = {"polyp": colon, "fetal head": bedside.read_image(SAMPLES / "fetal-head.png")}
    alone = {word: segmenter.segment(image, word)[0].mask for word, image in images.items()}
    wrong = []

    def ask(word):
        for _ in range(10):
            if not numpy.array_equal(segmenter.segment(images[word], word)[0].mask, alone[word]):
                wrong.append(word)

    threads = [threading.Thread(target=ask, args=[word]) for word in images for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_threads_run_meanwhile(segmenter, colon):
    """Python takes no turn by itself here, so another thread runs only where the GIL is released."""
    interval = sys.getswitchinterval()
    stop = threading.Event()
    ticks = []

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    sys.setswitchinterval(100)
    try:
        for call in (segmenter.segment, lambda i, p: segmenter.segment_batch([i] * 4, p)):
            begin = time.perf_counter()
            call(colon, PROMPTS)
            end = time.perf_counter()
            assert any(begin < t < end for t in ticks)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_memory_does_not_grow(command, colon, tmp_path):
    """With a model that costs next to nothing. A mask a call that is kept would be 84 kB, 840 MB in all."""
    bundle = tmp_path / "tiny.bedside"
    source = ROOT / "crates/bedside-cli/tests/golden/bundle"
    subprocess.run([command, "pack", source, bundle], check=True, stdout=subprocess.DEVNULL)
    segmenter = bedside.Segmenter.open(bundle, threads=1)
    run(segmenter, colon, calls=1000)
    before = resident()
    run(segmenter, colon, calls=10_000)
    assert resident() - before < 8 << 20


def test_what_a_bundle_says_of_itself(segmenter):
    assert (segmenter.name, segmenter.precision, segmenter.threads) == ("edge", "f32", 2)
    assert len(segmenter.digest) == 64 and segmenter.path == bedside.EDGE_BUNDLE
    assert segmenter.sides[0] == 256
    assert set(segmenter.segment(numpy.zeros((16, 16), numpy.uint8), "polyp").milliseconds) == {
        "preprocess",
        "encoder",
        "decoder",
        "masks",
        "total",
    }
