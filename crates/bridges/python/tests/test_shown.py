"""Findings for people: pictures, tables, and the guide."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import bedside
import numpy
import pytest
from PIL import Image

from conftest import ROOT, SAMPLES


def picture(png):
    return numpy.asarray(Image.open(io.BytesIO(png)))


def test_jupyter_shows_the_commands_overlay(command, segmenter, colon, tmp_path):
    prompts = ["polyp", "fetal head"]
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    run = [command, "segment", SAMPLES / "polyp.png", *asked, "--out", tmp_path]
    subprocess.run([*run, "--bundle", bedside.EDGE_BUNDLE], check=True, stdout=subprocess.DEVNULL)
    findings = segmenter.segment(colon, prompts)
    shown = picture(findings._repr_png_())
    assert numpy.array_equal(shown, numpy.asarray(Image.open(tmp_path / "polyp.overlay.png")))
    assert numpy.array_equal(shown, findings.overlay())


def test_a_finding_is_drawn_on_its_image(segmenter, colon):
    bgr = numpy.ascontiguousarray(colon[..., ::-1])
    polyp, head = segmenter.segment(bgr, ["polyp", "fetal head"], order="bgr")
    drawn = picture(polyp._repr_png_())
    assert numpy.array_equal(drawn, polyp.overlay())
    height, width, _ = colon.shape
    assert drawn.shape[0] > height and drawn.shape[1] == width
    changed = (drawn[:height] != colon).any(axis=2)
    assert changed[polyp.mask].mean() > 0.9 and changed[~polyp.mask].mean() < 0.1
    assert numpy.array_equal(picture(head._repr_png_())[:height], colon)


def test_html_has_picture_and_table(segmenter, colon):
    findings = segmenter.segment(colon, ["polyp", "fetal head"])
    html = findings._repr_html_()
    png = re.search(r'src="data:image/png;base64,([^"]+)"', html).group(1)
    assert base64.b64decode(png) == findings._repr_png_()
    rows = re.findall(r"<td>(.*?)</td><td>(.*?)</td>", html)
    assert rows[0] == ("colon polyp", "yes")
    assert "fetal head" in html and "other-modality" in html


def test_pandas_gets_a_row_a_finding(segmenter, colon):
    table = segmenter.segment(colon, ["polyp", "fetal head"]).to_pandas()
    polyp = segmenter.segment(colon, "polyp")[0]
    assert list(table.object) == ["colon polyp", "fetal head"]
    first = table.iloc[0]
    assert (first.x, first.y, first.width, first.height) == polyp.bounding_box
    assert first.area == polyp.area and first.present
    assert table.iloc[1].isna().x and not table.iloc[1].present


def test_without_pandas_there_is_a_hint(segmenter, colon, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"hint: pip install 'bedside\[pandas\]'"):
        segmenter.segment(colon, "polyp").to_pandas()


def test_the_stubs_say_what_there_is():
    config = Path(__file__).parents[1] / "pyproject.toml"
    run = [sys.executable, "-m", "mypy.stubtest", "bedside._bedside", "--mypy-config-file", config]
    subprocess.run(run, check=True)
    subprocess.run([sys.executable, "-m", "mypy", "-p", "bedside", "--config-file", config], check=True)


def test_the_stubs_serve_a_type_checker(tmp_path):
    source = tmp_path / "use.py"
    source.write_text(
        "import bedside, numpy\n"
        "from PIL import Image\n"
        "s = bedside.Segmenter.open(precision='int8')\n"
        "found = s.segment(numpy.zeros((16, 16), numpy.uint8), ['polyp'])\n"
        "area: int = found[0].area\n"
        "s.segment(Image.new('L', (16, 16)), bedside.Prompt('polyp', 'endoscopy'))\n"
        "s.segment(Image.new('L', (16, 16)), 7)  # wrong\n"
        "bedside.Segmenter.open(precision='int4')  # wrong\n"
        "found[0].area = 3  # wrong\n"
    )
    run = [sys.executable, "-m", "mypy", "--strict", source]
    lines = subprocess.run(
        run, check=False, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ).stdout.splitlines()
    wrong = {int(line.split(":")[1]) for line in lines if ": error:" in line}
    assert wrong == {7, 8, 9}, lines


@pytest.mark.parametrize("page", ["README.md", "guide.md", "cohort.md"])
def test_what_the_pages_show_runs(page, monkeypatch):
    """The code of a page, one block after the other; lines that begin with `# ->` tell what comes."""
    monkeypatch.chdir(ROOT)
    text = (Path(__file__).parents[1] / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
