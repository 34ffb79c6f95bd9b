import pytest

from bedside_train import forms, text


def test_every_prompt_fits_and_none_names_two_forms():
    texts = [f.text for f in forms.forms()]
    assert len(set(texts)) == len(texts)
    for t in forms.trained():
        for words in (t.form.text, *t.phrases):
            assert len(text.tokens(words)) <= 16, words


def test_same_object_is_another_form_in_another_modality():
    heart, mri = (forms.index("myocardium", m) for m in ("ultrasound", "mri"))
    assert heart != mri
    assert forms.trained()[heart].form.site == forms.trained()[mri].form.site == "heart"


def test_manifest_names_of_polyps_are_one_form():
    assert forms.index("polyp", "endoscopy") == forms.index("colon polyp", "endoscopy")


def test_unknown_object_is_refused():
    with pytest.raises(SystemExit, match="no trained form"):
        forms.index("spleen", "ultrasound")


def test_mirroring_swaps_lungs_and_nothing_else():
    left, right = (forms.index(f"{s} lung", "x-ray") for s in ("left", "right"))
    assert (forms.mirrored(left), forms.mirrored(right)) == (right, left)
    assert all(
        forms.mirrored(i) == i
        for i in range(len(forms.trained()))
        if i not in (left, right)
    )


def test_what_may_be_there_is_never_asked_in_vain():
    for t in forms.trained():
        near, far, never = forms.absent_prompts(t.form.modality, t.form.site)
        assert t.form.text not in [*near, *far, *never]
    asked = {words for part in forms.absent_prompts("x-ray", "chest") for words in part}
    assert not any("x-ray" in words for words in asked)
    assert "lung opacity in chest x-ray" not in asked


def test_hard_absent_prompts_are_asked():
    near, far, _ = forms.absent_prompts("ultrasound", "heart")
    assert "tumor in breast ultrasound" in near
    assert "left heart ventricle in heart mri" in far
