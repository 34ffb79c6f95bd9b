"""What the student is taught: object types in a modality and site, and how people ask for them.

A form is an object type in one modality and site. Most are forms of BiomedParse's ontology; those
of ``EXTRA`` are ours alone. The name, modality and site of a form are what a bundle calls it.
"""

from dataclasses import dataclass
from functools import cache

from . import text

MODALITIES = (
    "ct", "mri", "ultrasound", "x-ray", "pathology", "endoscopy", "fundus", "dermoscopy", "oct",
)  # fmt: skip
NO_MODALITY = len(MODALITIES)

# Forms beyond the ontology: name, target word, modality, site, meta object.
EXTRA = (
    ("skin lesion", "skin lesion", "dermoscopy", "skin", "lesion"),
    ("brachial plexus nerve", "brachial plexus nerve", "ultrasound", "neck", "other organ"),
    ("myocardium", "myocardium", "ultrasound", "heart", "heart anatomies"),
    ("inflammatory cells", "inflammatory cells", "pathology", "colon", "histology structure"),
    ("connective tissue cells", "connective tissue cells", "pathology", "colon",
     "histology structure"),
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    name: str
    modality: str
    site: str
    acquisition: str
    text: str  # the prompt that names it, and the one in a bundle's prompt table
    meta: int  # index of its meta object
    target: str = (
        ""  # its word in the prompt, where the ontology does not have the form
    )


@dataclass(frozen=True)
class Trained:
    """How one form is trained."""

    form: Form
    phrases: tuple[str, ...]  # other ways to ask for it
    share: float = (
        1.0  # how often it is sampled, beside what the number of its frames says
    )
    fine: bool = False  # thin or tiny: wants zoom and large inputs
    thin: bool = False  # a net of lines: wants a loss on its centre lines

    @property
    def side(self):
        """The side of the input that it is best looked for at."""
        return 512 if self.thin else 384 if self.fine else 256


@cache
def meta_objects():
    """Names of the meta objects, in order of first appearance in the ontology."""
    return list(dict.fromkeys(row["meta_object"] for row in text.ontology()))


@cache
def forms():
    """All forms that have a prompt: those of the ontology, then ours."""
    order = meta_objects()
    known = [
        Form(
            r["name"],
            r["modality"],
            r["site"],
            r["acquisition"],
            r["text"],
            order.index(r["meta_object"]),
        )
        for r in text.ontology()
    ]
    extra = [
        Form(
            name,
            modality,
            site,
            "",
            text.prompt(target, modality, site),
            order.index(meta),
            target,
        )
        for name, target, modality, site, meta in EXTRA
    ]
    return known + extra


# Name, modality, site; what differs from the defaults of ``Trained``; other ways to ask.
_TRAINED = (
    ("colon polyp", "endoscopy", "colon", {"share": 4.0},
     "polyp", "colon polyp", "colorectal polyp", "polyp in endoscopy", "polyp in the colon"),
    ("left heart ventricle", "ultrasound", "heart", {},
     "left ventricle in echocardiography", "left ventricle in cardiac ultrasound"),
    ("left heart atrium", "ultrasound", "heart", {},
     "left atrium in echocardiography", "left atrium in cardiac ultrasound"),
    ("myocardium", "ultrasound", "heart", {},
     "heart muscle in ultrasound", "myocardium in echocardiography"),
    ("breast tumor", "ultrasound", "breast", {"share": 4.0},
     "breast tumor", "breast lesion in ultrasound", "breast mass", "breast tumour"),
    ("benign breast tumor", "ultrasound", "breast", {}, "benign breast lesion in ultrasound"),
    ("malignant breast tumor", "ultrasound", "breast", {}, "breast cancer in ultrasound"),
    ("fetal head", "ultrasound", "transperineal", {"share": 0.5},
     "fetal head", "head of the fetus", "fetal head in ultrasound", "foetal head"),
    ("brachial plexus nerve", "ultrasound", "neck", {},
     "brachial plexus", "nerve in neck ultrasound", "brachial plexus in ultrasound"),
    ("lung", "x-ray", "chest", {}, "lungs", "lungs in chest radiograph"),
    ("left lung", "x-ray", "chest", {}, "left lung", "left lung in chest radiograph"),
    ("right lung", "x-ray", "chest", {}, "right lung", "right lung in chest radiograph"),
    ("heart", "x-ray", "heart", {}, "heart in chest x-ray", "heart in chest radiograph"),
    ("COVID-19 infection", "x-ray", "chest", {"share": 2.5}, "COVID-19", "COVID-19 pneumonia in chest x-ray"),
    ("left heart ventricle", "mri", "heart", {},
     "left ventricle in cardiac mri", "left ventricle in heart mri"),
    ("right heart ventricle", "mri", "heart", {},
     "right ventricle in cardiac mri", "right ventricle in heart mri"),
    ("myocardium", "mri", "heart", {}, "heart muscle in mri", "myocardium in cardiac mri"),
    ("liver", "ct", "abdomen", {}, "liver", "liver in ct"),
    ("skin lesion", "dermoscopy", "skin", {}, "skin lesion", "mole", "lesion in dermoscopy"),
    ("optic disc", "fundus", "retinal", {"share": 2.0}, "optic disc", "optic disc in fundus photograph"),
    ("optic cup", "fundus", "retinal", {"share": 2.0}, "optic cup", "optic cup in fundus photograph"),
    ("retinal vessel", "fundus", "retinal", {"fine": True, "thin": True, "share": 2.0},
     "retinal vessels", "blood vessels in fundus"),
    ("colon glandular structure", "pathology", "colon", {"share": 1.5},
     "gland in colon pathology", "glands", "glandular structure"),
    ("inflammatory cells", "pathology", "colon", {"fine": True}, "inflammatory cells"),
    ("epithelial cells", "pathology", "colon", {"fine": True}, "epithelial cells"),
    ("connective tissue cells", "pathology", "colon", {"fine": True},
     "cells of connective tissue in colon pathology"),
)  # fmt: skip


_only = None


def only(chosen):
    """From here on the trained forms are these alone, or all again with None: a fine-tuning
    teaches one form, which need not be among ours."""
    global _only
    _only = chosen
    for remembered in (trained, index, mirrored, absent_prompts):
        remembered.cache_clear()


@cache
def trained():
    """The trained forms, in an order that checkpoints and figures keep."""
    if _only is not None:
        return _only
    by_key = {(f.name, f.modality, f.site): f for f in forms()}
    return [
        Trained(by_key[name, modality, site], tuple(phrases), **extra)
        for name, modality, site, extra, *phrases in _TRAINED
    ]


# An `object` of a manifest that goes by another name here.
ALIASES = {"polyp": "colon polyp"}


@cache
def index(name, modality):
    """Place in ``trained()`` of a manifest's object in its modality."""
    name = ALIASES.get(name, name)
    for i, t in enumerate(trained()):
        if (t.form.name, t.form.modality) == (name, modality):
            return i
    raise SystemExit(
        f"no trained form for {name!r} in {modality!r}; hint: add it to forms.py"
    )


# Mirroring a frame turns each of these into the other.
SIDES = {"left lung": "right lung", "right lung": "left lung"}


@cache
def mirrored(i):
    """The trained form that form i becomes in a mirrored frame."""
    form = trained()[i].form
    return index(SIDES.get(form.name, form.name), form.modality)


# Sites whose objects may well be in a frame of the given modality and site though nobody marked
# them there. Forms of these are never asked as absent ones.
MAYBE = {
    ("endoscopy", "colon"): {"colon"},
    ("ultrasound", "heart"): {"heart"},
    ("ultrasound", "breast"): {"breast"},
    ("ultrasound", "transperineal"): {"transperineal"},
    ("ultrasound", "neck"): {"neck"},
    ("x-ray", "chest"): {"chest", "heart"},
    ("x-ray", "heart"): {"chest", "heart"},
    ("mri", "heart"): {"heart", "abdomen"},
    ("ct", "abdomen"): {
        "abdomen",
        "liver",
        "chest",
        "lung",
        "pancreas",
        "colon",
        "pelvis",
    },
    ("dermoscopy", "skin"): {"skin"},
    ("fundus", "retinal"): {"retinal"},
    ("pathology", "colon"): {"colon", "adrenal gland"},
}


def absent_for_sure(form, modality, site):
    """Whether a frame of that modality and site can't show the form."""
    return form.modality != modality or form.site not in MAYBE.get(
        (modality, site), {form.site}
    )


@cache
def absent_prompts(modality, site):
    """Texts to ask in vain of a frame: (trained, of its modality), (trained, of others), (never
    trained). What is asked by the same words elsewhere is in the lists more than once."""
    here = {
        t.form.name for t in trained() if not absent_for_sure(t.form, modality, site)
    }
    last = {name.split()[-1] for name in here}
    known = {t.form for t in trained()}
    near, far, never = [], [], []
    for form in forms():
        if not absent_for_sure(form, modality, site):
            continue
        to = never if form not in known else near if form.modality == modality else far
        to += [form.text] * (
            4 if form.name in here else 2 if form.name.split()[-1] in last else 1
        )
    return near or far, far, never
