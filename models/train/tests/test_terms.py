import pathlib

import pytest
from bedside_train import terms
from bedside_train.terms import KNOWN


def test_what_weights_may_be_used_for_follows_from_the_strictest_of_their_data():
    assert terms.licence([KNOWN["hc18"], KNOWN["polypgen"]]) == "Apache-2.0"
    assert terms.licence([KNOWN["hc18"], KNOWN["isic2018"]]).startswith("CC-BY-NC-4.0,")
    assert terms.licence([KNOWN["isic2018"], KNOWN["liver"]]).startswith(
        "CC-BY-NC-SA-4.0,"
    )


def test_permissive_leaves_out_all_that_is_not_known_to_be(tmp_path):
    head = "file,mask,split,modality,object,label,licence\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "manifest.csv").write_text(
        head + "a.png,,train,ct,liver,,ask us\n"
    )
    folders = [tmp_path / "own", tmp_path / "hc18", tmp_path / "glas"]
    assert terms.allowed(folders, "any") == folders
    assert terms.allowed(map(str, folders), "permissive") == [tmp_path / "hc18"]
    assert terms.of(tmp_path / "own").text == "ask us"
    with pytest.raises(SystemExit, match="--terms any"):
        terms.allowed([pathlib.Path("glas")], "permissive")
