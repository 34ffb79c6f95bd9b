"""Make the goldens with the tools' own code: ``python golden.py`` (see reference.py).

masks.json      masks of odd sizes as each tool writes them
polygons.json   outlines, and the pixels that pycocotools fills
export/         a task, what four tools export of it, and what was changed
"""

import json
import pathlib
import xml.etree.ElementTree as ET

import numpy as np
from pycocotools import mask as coco
from reference import boxed, brushed, columns, compressed, masks, rows

HERE = pathlib.Path(__file__).parent / "golden"


def put(name, value):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def polygons():
    random = np.random.default_rng(5)
    for width, height in [(33, 17), (48, 64), (100, 80)]:
        for corners in (3, 4, 7, 24):
            angles = np.sort(random.uniform(0, 2 * np.pi, corners))
            reach = random.uniform(0.3, 0.6, (corners, 1))
            turned = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            points = (0.5 + reach * turned) * [width, height]
            yield width, height, points.round(2)  # some lie outside of the picture


def filled(width, height, points):
    return coco.decode(coco.frPyObjects([points.ravel().tolist()], height, width))[:, :, 0]


# The task ---------------------------------------------------------------------------------

POLYP, VESSEL, ULCER = "polyp", "Gefäß & <Rand>", "ulcer"
SIZES = {"a.png": (17, 33), "b.png": (8, 5), "c.png": (9, 9), "größe-000010.png": (16, 16)}


def block(name, top, left, height, width):
    mask = np.zeros(SIZES[name], bool)
    mask[top : top + height, left : left + width] = True
    return mask


def task():
    before = {
        "a.png": {POLYP: block("a.png", 2, 3, 7, 11), VESSEL: block("a.png", 5, 5, 10, 10)},
        "b.png": {},
        "c.png": {POLYP: block("c.png", 0, 0, 3, 3)},
        "größe-000010.png": {POLYP: block("größe-000010.png", 1, 1, 4, 4)},
    }
    pictures = [
        {
            "name": name,
            "width": width,
            "height": height,
            "group": "p1",
            "doubt": 0.25,
            "masks": {label: compressed(mask) for label, mask in before[name].items()},
        }
        for name, (height, width) in SIZES.items()
    ]
    model = {"name": "edge", "version": "1", "licence": "x", "precision": "f32"}
    return {
        "format": 1,
        "model": model | {"backend": "tract-cpu", "threads": 1},
        "modality": "endoscopy",
        "objects": [{"name": POLYP, "file": "polyp"}, {"name": VESSEL, "file": "vessel"}],
        "pictures": pictures,
    }


def corrected():
    """Shapes that a person left or drew. c.png is not returned."""
    wide = "größe-000010.png"
    return {
        "a.png": [(POLYP, block("a.png", 2, 3, 7, 11)), (VESSEL, block("a.png", 5, 5, 10, 5))],
        "b.png": [(ULCER, block("b.png", 7, 4, 1, 1))],
        wide: [(VESSEL, block(wide, 0, 0, 2, 16)), (VESSEL, block(wide, 1, 14, 15, 2))],
    }


def expected():
    def union(name, label):
        return rows(np.any([m for n, m in corrected()[name] if n == label], axis=0))

    return [
        ["a.png", POLYP, "unchanged", union("a.png", POLYP)],
        ["a.png", VESSEL, "corrected", union("a.png", VESSEL)],
        ["b.png", POLYP, "absent", None],
        ["b.png", VESSEL, "absent", None],
        ["b.png", ULCER, "added", union("b.png", ULCER)],
        ["größe-000010.png", POLYP, "deleted", None],
        ["größe-000010.png", VESSEL, "added", union("größe-000010.png", VESSEL)],
    ]


def outline(mask):
    """The outline of a block, along the outer edges of its pixels."""
    ys, xs = mask.nonzero()
    left, right, top, bottom = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


# What the tools export --------------------------------------------------------------------


def coco_export(segmentation):
    labels = [POLYP, VESSEL, ULCER]
    images = [
        {"id": 7 + n, "file_name": f"folder/{name}", "height": h, "width": w, "license": 0}
        for n, (name, (h, w)) in enumerate((SIZES | {"other.png": (4, 4)}).items())
        if name != "c.png"
    ]
    numbers = {i["file_name"].split("/")[-1]: i["id"] for i in images}
    shapes = [(n, *shape) for n, shapes in corrected().items() for shape in shapes]
    annotations = [
        {
            "id": n,
            "image_id": numbers[name],
            "category_id": 1 + labels.index(label),
            "segmentation": segmentation(n, mask),
            "area": float(mask.sum()),
            "iscrowd": n % 2,
            "attributes": {"occluded": False},
        }
        for n, (name, label, mask) in enumerate(shapes)
    ]
    categories = [{"id": 1 + n, "name": x, "supercategory": ""} for n, x in enumerate(labels)]
    return {"images": images, "categories": categories, "annotations": annotations}


def cvat_export(polygons):
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    job = ET.SubElement(ET.SubElement(root, "meta"), "job")
    for name, text in {"id": "1", "size": "4", "mode": "annotation"}.items():
        ET.SubElement(job, name).text = text
    for number, (name, (height, width)) in enumerate((SIZES | {"other.png": (4, 4)}).items()):
        if name == "c.png":
            continue
        size = {"width": str(width), "height": str(height)}
        image = ET.SubElement(root, "image", {"id": str(number), "name": f"x/{name}", **size})
        ET.SubElement(image, "tag", label="blurred", source="manual")
        for label, mask in corrected().get(name, []):
            common = {"label": label, "source": "manual", "occluded": "0", "z_order": "0"}
            if polygons:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline(mask))
                shape = ET.SubElement(image, "polygon", points=points, **common)
            else:
                box = {key: str(value) for key, value in boxed(mask).items()}
                shape = ET.SubElement(image, "mask", **box, **common)
            ET.SubElement(shape, "attribute", name="sure").text = "yes"
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def label_studio_export(polygons):
    def region(name, label, mask):
        height, width = SIZES[name]
        if polygons:
            kind, points = "polygonlabels", outline(mask) / [width, height] * 100
            value = {"points": points.tolist(), "closed": True, kind: [label]}
        else:
            kind = "brushlabels"
            value = {"format": "rle", "rle": brushed(mask), kind: [label]}
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        names = {"from_name": "label", "to_name": "image", "type": kind, "origin": "manual"}
        return {"id": "Dx_aB91ISN", **size, **names, "value": value}

    def task(number, image, annotations):
        predictions = [{"model_version": "edge 1", "result": []}]
        return {
            "id": number,
            "data": {"image": image},
            "annotations": annotations,
            "predictions": predictions,
        }

    quality = {"id": "q", "type": "choices", "value": {"choices": ["good"]}, "from_name": "q"}
    tasks = []
    for number, (name, shapes) in enumerate(corrected().items()):
        result = [region(name, *shape) for shape in shapes] + [quality]
        old = {"was_cancelled": False, "updated_at": "2026-01-01T00:00:00Z", "result": []}
        new = {"was_cancelled": False, "updated_at": "2026-01-02T00:00:00Z", "result": result}
        late = {"was_cancelled": True, "updated_at": "2026-01-03T00:00:00Z", "result": []}
        image = [
            "/data/local-files/?d=images/a.png",
            "/data/upload/3/0f1e2d3c-b.png",
            "/data/local-files/?d=images/gr%C3%B6%C3%9Fe-000010.png",
        ][number]
        tasks.append(task(number, image, [new, old, late]))
    tasks.append(task(8, "/data/local-files/?d=images/c.png", []))
    tasks.append(task(9, "https://x/other.png", [{"was_cancelled": False, "result": []}]))
    return tasks


def main():
    put(
        "masks.json",
        [
            {
                "rows": rows(mask),
                "compressed": compressed(mask),
                "columns": columns(mask),
                "boxed": boxed(mask),
                "brushed": brushed(mask),
            }
            for mask in masks()
        ],
    )
    put(
        "polygons.json",
        [
            {"corners": points.tolist(), "rows": rows(filled(width, height, points))}
            for width, height, points in polygons()
        ],
    )
    put("export/annotate.json", task())
    put("export/expected.json", expected())
    both = [compressed, columns]
    put("export/coco.json", coco_export(lambda n, mask: both[n % 2](mask)))
    put("export/coco-polygons.json", coco_export(lambda n, mask: [outline(mask).ravel().tolist()]))
    put("export/labelstudio.json", label_studio_export(False))
    put("export/labelstudio-polygons.json", label_studio_export(True))
    (HERE / "export/cvat.xml").write_bytes(cvat_export(False) + b"\n")
    (HERE / "export/cvat-polygons.xml").write_bytes(cvat_export(True) + b"\n")


if __name__ == "__main__":
    main()
