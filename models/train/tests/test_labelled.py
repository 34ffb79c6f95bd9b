import cv2
import numpy as np
import pytest
from conftest import box

from bedside_train import forms, labelled
from bedside_train.errors import BadInput

NODULE = forms.Form(
    "thyroid nodule", "ultrasound", "neck", "", "nodule in neck ultrasound", 0
)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(labelled, "LEAST", {"train": 1, "val": 1})


def row(file, split, mask, label="nodule", thing="thyroid nodule"):
    return (file, split, "ultrasound", thing, label, mask)


MASK = box(20, 15, 60, 45)
TWO = [row("1.png", "train", MASK), row("2.png", "val", MASK)]


def read(folder, form=NODULE):
    return labelled.read([folder], form, form.name)


def test_frames_with_the_object_and_without(dataset, few):
    rows = [
        *TWO,
        row("3.png", "train", None, "normal"),
        row("4.png", "train", MASK * 0),
    ]
    rows.append(row("5.png", "test", MASK))
    found = read(dataset("own", rows))
    assert [f.masks[0] is None for f in found["train"]] == [False, True, True]
    assert [f.file.name for f in found["val"]] == ["2.png"]
    assert found["val"][0].site == "neck" and found["val"][0].policy.mirror == 0.5


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [*TWO, row("3.png", "train", None)],
            "line 4: no mask; hint: only frames of label",
        ),
        (
            [*TWO, row("3.png", "train", box(0, 0, 9, 9, (20, 20)))],
            "20x20 pixels, its picture",
        ),
        (
            [*TWO, row("3.png", "train", MASK * 200)],
            "dark pixels only; hint: masks hold 0 and 255",
        ),
        ([*TWO, row("3.png", "val", MASK, "normal")], "label is 'normal'"),
        ([*TWO, row("1.png", "val", MASK)], "picture 1.png is in train and in val"),
        ([row("1.png", "train", MASK)], "0 frames of split 'val' show the object"),
        (
            [row("1.png", "train", MASK, thing="cyst")],
            "no row of 'thyroid nodule' in ultrasound; hint: there is 'cyst' in ultrasound",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(dataset, few, rows, said):
    with pytest.raises(BadInput, match="hint") as error:
        read(dataset("own", rows))
    assert said in str(error.value)


def test_a_patient_is_in_one_split(dataset, few):
    folder = dataset("own", TWO)
    table = (folder / "manifest.csv").read_text().splitlines()
    table = [f"{line},{'group' if n == 0 else 'p1'}" for n, line in enumerate(table)]
    (folder / "manifest.csv").write_text("\n".join(table))
    with pytest.raises(BadInput, match="group p1 is in train and in val"):
        read(folder)


def test_files_that_cannot_be_read(dataset, few):
    folder = dataset("own", TWO)
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="line 3: .*2.png cannot be read"):
        read(folder)
    (folder / "manifest.csv").write_text("file,mask,split\n")
    with pytest.raises(BadInput, match="no column modality, object"):
        read(folder)
    (folder / "manifest.csv").unlink()
    with pytest.raises(BadInput, match="manifest.csv"):
        read(folder)


def test_many_faults_are_told_once(dataset, few):
    rows = [row(f"{n}.png", "train", None) for n in range(20)]
    with pytest.raises(BadInput, match="20 rows:") as error:
        read(dataset("own", rows))
    assert "and 12 more" in str(error.value) and str(error.value).count("line") == 8


def test_what_tells_left_from_right_is_not_mirrored():
    def mirror(name, modality, site):
        return labelled.policy(forms.Form(name, modality, site, "", "", 0)).mirror

    assert mirror("left kidney", "ultrasound", "abdomen") == 0
    assert (
        mirror("heart", "ultrasound", "heart") == mirror("liver", "ct", "abdomen") == 0
    )
    assert mirror("polyp", "endoscopy", "colon") > 0


def test_pictures_of_one_group_with_several_rows_are_one_frame(dataset, few):
    found = read(dataset("own", [*TWO, row("1.png", "train", MASK)]))
    assert len(found["train"]) == 1


def test_dark_frames_are_frames(dataset, few):
    folder = dataset("own", TWO)
    cv2.imwrite(str(folder / "1.png"), np.zeros((60, 80, 3), np.uint8))
    assert len(read(folder)["train"]) == 1
