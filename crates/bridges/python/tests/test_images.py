"""Which images are taken, and what is said of those that are not."""

import bedside
import numpy
import pytest
from PIL import Image

from conftest import SAMPLES


@pytest.fixture(scope="module")
def mask(segmenter, colon):
    return segmenter.segment(colon, "polyp")[0].mask


def same(segmenter, image, mask, **order):
    return numpy.array_equal(segmenter.segment(image, "polyp", **order)[0].mask, mask)


class Tensor:
    """Speaks DLPack and nothing else, as tensors of other libraries do."""

    def __init__(self, array, device=1):
        self.array = array
        self.device = device

    def __dlpack__(self, **options):
        if self.device != 1:
            raise BufferError("not in the CPU's memory")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return (self.device, 0)


def test_one_picture_in_many_forms(segmenter, colon, mask):
    assert mask.any()
    padded = numpy.zeros((colon.shape[0], colon.shape[1] + 7, 3), numpy.uint8)
    padded[:, :-7] = colon
    read_only = colon.copy()
    read_only.flags.writeable = False
    for image in [
        read_only,
        padded[:, :-7],
        numpy.asfortranarray(colon),
        Tensor(colon),
        Tensor(padded[:, :-7]),
        Image.fromarray(colon),
        Image.open(SAMPLES / "polyp.png"),
        Image.fromarray(colon).convert("RGBA"),
    ]:
        assert same(segmenter, image, mask)
    for bgr in (colon[..., ::-1], numpy.ascontiguousarray(colon[..., ::-1])):
        assert same(segmenter, bgr, mask, order="bgr")
        assert not same(segmenter, bgr, mask)


def test_gray_in_many_forms(segmenter):
    gray = bedside.read_image(SAMPLES / "fetal-head.png")
    assert gray.ndim == 2
    mask = segmenter.segment(gray, "fetal head")[0].mask
    for image in [
        gray[..., None],
        gray.T.copy().T,
        numpy.repeat(gray[..., None], 3, axis=2),
        Image.fromarray(gray),
        Image.fromarray(gray).convert("LA"),
        Image.fromarray(gray).convert("P"),
        Tensor(gray),
    ]:
        assert numpy.array_equal(segmenter.segment(image, "fetal head")[0].mask, mask)


GOOD = numpy.zeros((64, 64, 3), numpy.uint8)


@pytest.mark.parametrize(
    ("image", "cause", "hint"),
    [
        (GOOD.astype(numpy.float32), "float32", "scale it"),
        (GOOD.astype(numpy.uint16), "uint16", "window"),
        (GOOD.astype(numpy.int64), "int64", "window"),
        (GOOD.astype(bool), "bool", "255"),
        (GOOD.astype(object), "object", "numbers"),
        (GOOD.transpose(2, 0, 1), "shape [3, 64, 64]", "transpose(1, 2, 0)"),
        (numpy.zeros((64, 64, 4), numpy.uint8), "shape [64, 64, 4]", "alpha"),
        (GOOD[None], "shape [1, 64, 64, 3]", "segment_batch"),
        (numpy.zeros(64, numpy.uint8), "shape [64]", "(height, width, 3)"),
        (numpy.zeros((0, 64), numpy.uint8), "64x0", "crop or scale"),
        (GOOD[:15], "64x15", "16"),
        (numpy.zeros((1, 16385), numpy.uint8), "16385x1", "crop or scale"),
        (Image.new("CMYK", (64, 64)), "mode CMYK", "convert"),
        (Image.new("I;16", (64, 64)), "mode I;16", "window"),
        (Tensor(GOOD, device=2), "DLPack", ".cpu()"),
        (Tensor(GOOD.astype(numpy.float64)), "float64", "scale it"),
        ("colon.png", "str", "read_image"),
        (SAMPLES / "polyp.png", "Path", "read_image"),
        (None, "NoneType", "numpy array"),
        ([[0, 1], [2, 3]], "list", "numpy array"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(segmenter, image, cause, hint):
    with pytest.raises(bedside.FrameError) as error:
        segmenter.segment(image, "polyp")
    assert error.value.kind == "frame"
    assert cause in str(error.value)
    assert hint in (error.value.hint or str(error.value))
    with pytest.raises(bedside.FrameError, match="^image 1: "):
        segmenter.segment_batch([GOOD, image], "polyp")


@pytest.mark.parametrize(
    ("prompts", "cause"),
    [
        ("tumor", "tumor"),
        ("polip", "polyp"),
        ("", ""),
        ([], "no prompt"),
        (["polyp", 7], "int"),
        (7, "int"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_prompt_is_refused_with_a_remedy(segmenter, prompts, cause):
    with pytest.raises(bedside.PromptError, match="hint: ") as error:
        segmenter.segment(GOOD, prompts)
    assert cause in str(error.value) and error.value.kind == "prompt"
    assert isinstance(error.value, bedside.Error) and error.value.hint


def test_other_wrong_use(segmenter, tmp_path):
    with pytest.raises(bedside.FrameError, match="'bgr'"):
        segmenter.segment(GOOD, "polyp", order="gbr")
    with pytest.raises(bedside.PromptError, match="x-ray"):
        bedside.Prompt("polyp", modality="xray")
    with pytest.raises(bedside.PromptError, match="hint"):
        segmenter.recognize(GOOD, "oct")
    with pytest.raises(bedside.PromptError, match="hint"):
        segmenter.recognize(GOOD, "sonar")
    for options, error in [
        ({"precision": "int4"}, bedside.ConfigError),
        ({"precision": "f16"}, bedside.BundleError),
        ({"threads": 0}, bedside.ConfigError),
        ({"side": 100}, bedside.ConfigError),
        ({"presence": 2.0}, bedside.ConfigError),
        ({"path": tmp_path / "none.bedside"}, bedside.BundleError),
    ]:
        with pytest.raises(error, match="hint: "):
            bedside.Segmenter.open(**options)
    with pytest.raises(TypeError):
        bedside.Segmenter()
    with pytest.raises(TypeError):
        bedside.Segmenter.open(threads="two")
    with pytest.raises(OverflowError):
        bedside.Segmenter.open(threads=-1)


def test_a_damaged_bundle_is_no_segmenter(tmp_path):
    bundle = tmp_path / "edge.bedside"
    content = bytearray(bedside.EDGE_BUNDLE.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(bedside.BundleError, match="hint: ") as error:
        bedside.Segmenter.open(bundle)
    assert error.value.kind == "bundle"


def test_files_that_are_no_pictures(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    for path in (empty, tmp_path / "none.png", tmp_path):
        with pytest.raises(bedside.FrameError, match="hint: "):
            bedside.read_image(path)
    gray = bedside.read_image(SAMPLES / "fetal-head.png")
    assert numpy.array_equal(gray, numpy.asarray(Image.open(SAMPLES / "fetal-head.png")))


def test_frames_of_pictures_and_clips(tmp_path, colon):
    (frame,) = bedside.Frames.open(SAMPLES / "polyp.png")
    assert numpy.array_equal(frame, colon)
    clip = tmp_path / "gray.y4m"
    levels = (0, 100, 255)
    header = b"YUV4MPEG2 W32 H16 F25:1 Cmono XCOLORRANGE=FULL\n"
    clip.write_bytes(header + b"".join(b"FRAME\n" + bytes([level]) * 512 for level in levels))
    frames = list(bedside.Frames.open(clip))
    assert [(f.shape[:2], f.min(), f.max()) for f in frames] == [((16, 32), v, v) for v in levels]
    clip.write_bytes(clip.read_bytes()[:-100])
    cut = bedside.Frames.open(clip)
    assert [next(cut).max(), next(cut).max()] == [0, 100]
    with pytest.raises(bedside.FrameError, match="hint: "):
        next(cut)
    with pytest.raises(bedside.FrameError, match="hint: "):
        bedside.Frames.open(tmp_path / "none.mp4")
