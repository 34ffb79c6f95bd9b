"""Read what `Format::documents` wrote, with the tools' own code: ``python check.py FOLDER`` (see
reference.py). FOLDER has truth.json, {picture: {label: rows}}, beside the documents of all formats."""

import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree as ET

import numpy as np
from pycocotools.coco import COCO
from reference import brush, cvat, rows

folder = pathlib.Path(sys.argv[1])
truth = json.loads((folder / "truth.json").read_text())


def coco_masks():
    read = COCO(folder / "annotations/instances_default.json")
    for annotation in read.loadAnns(read.getAnnIds()):
        mask = read.annToMask(annotation)
        ys, xs = mask.nonzero()
        assert annotation["area"] == mask.sum() and not annotation["iscrowd"]
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert annotation["bbox"] == box, annotation
        image = read.loadImgs(annotation["image_id"])[0]["file_name"]
        yield image, read.loadCats(annotation["category_id"])[0]["name"], mask


def cvat_masks():
    root = ET.parse(folder / "annotations.xml").getroot()
    assert root.tag == "annotations" and root.find("version").text == "1.1"
    labels = [label.find("name").text for label in root.iter("label")]
    raw = json.loads((folder / "labels.json").read_text())
    assert labels == [label["name"] for label in raw] and raw[0]["type"] == "mask"
    for number, image in enumerate(root.iter("image")):
        assert image.get("id") == str(number)
        size = {f"image_{side}": int(image.get(side)) for side in ("width", "height")}
        for mask in image.iter("mask"):
            assert mask.get("label") in labels
            left, top, width, height = (
                int(mask.get(k)) for k in ("left", "top", "width", "height")
            )
            # CVAT's importer makes of it what its API has.
            counts = [int(n) for n in mask.get("rle").split(",")]
            points = counts + [left, top, left + width - 1, top + height - 1]
            yield image.get("name"), mask.get("label"), cvat.decode_mask(points, **size)


def label_studio_masks():
    config = ET.parse(folder / "config.xml").getroot()
    names = config.find("BrushLabels").get("name"), config.find("Image").get("name")
    labels = [label.get("value") for label in config.iter("Label")]
    assert config.find("BrushLabels").get("toName") == names[1]
    for task in json.loads((folder / "tasks.json").read_text()):
        url = urllib.parse.urlparse(task["data"][names[1]])
        path = urllib.parse.parse_qs(url.query)["d"][0]
        assert url.path == "/data/local-files/" and path.startswith("images/")
        [prediction] = task["predictions"]
        assert 0 <= prediction["score"] <= 1 and prediction["model_version"]
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"]) == names
            flat = {**region, **region["value"]}
            [(layer, mask)] = brush.decode_from_annotation("x", [flat]).items()
            [label] = region["value"]["brushlabels"]
            assert label in labels and layer == f"x-{label}-0"
            yield path.removeprefix("images/"), label, mask == 255


for name, read in (("coco", coco_masks), ("cvat", cvat_masks), ("labelstudio", label_studio_masks)):
    found = {}
    for picture, label, mask in read():
        found.setdefault(picture, {})[label] = rows(mask)
    assert found == {k: v for k, v in truth.items() if v}, name
    print(f"{name}: {sum(map(len, found.values()))} masks equal")
