"""Under what terms the datasets stand, and what follows for weights trained on them."""

import pathlib
from dataclasses import dataclass

from . import data


@dataclass(frozen=True)
class Terms:
    """Of one dataset, as far as its carriers tell; whoever uses the weights has to settle them."""

    name: str
    text: str
    permissive: bool = False  # use in products is allowed, with attribution at most
    share_alike: bool = False


# By the name of the dataset's folder.
KNOWN = {
    "acdc": Terms(
        "ACDC (Bernard 2018)", "CC BY-NC-SA 4.0, citation mandatory", share_alike=True
    ),
    "busi": Terms("BUSI (Al-Dhabyani 2020)", "CC BY 4.0 as MedMNIST states", True),
    "camus": Terms(
        "CAMUS (Leclerc 2019)",
        "CC BY-NC-SA 4.0, non-commercial scientific research",
        share_alike=True,
    ),
    "chase": Terms("CHASE_DB1 (Fraz 2012)", "CC BY 4.0", True),
    "chn_mc": Terms(
        "NLM Shenzhen (Jaeger 2014; masks Stirenko 2018)",
        "public use with citation",
        True,
    ),
    "consep": Terms("CoNSeP (Graham 2019)", "research use"),
    "covidqu": Terms(
        "COVID-QU-Ex (Tahir, Chowdhury 2021)",
        "gathered from many sources: research use",
    ),
    "drishti": Terms("Drishti-GS1 (Sivaswamy 2014)", "research use"),
    "drive": Terms("DRIVE (Staal 2004)", "CC BY 4.0", True),
    "glas": Terms("GlaS (Sirinukunwattana 2017)", "research use, no commercial use"),
    "hc18": Terms("HC18 (van den Heuvel 2018)", "CC BY 4.0", True),
    "isic2018": Terms("ISIC 2018 task 1", "CC BY-NC 4.0"),
    "jsrt": Terms(
        "JSRT (Shiraishi 2000) with SCR masks (van Ginneken 2006)",
        "research and education, no commercial use, no redistribution",
    ),
    "kvasir_seg": Terms(
        "Kvasir-SEG (Jha 2020)", "research and education, commercial use by permission"
    ),
    "liver": Terms("MSD liver (Antonelli 2022)", "CC BY-SA 4.0", share_alike=True),
    "nerve": Terms(
        "Ultrasound Nerve Segmentation (Kaggle 2016)",
        "rules of the competition, unsettled",
    ),
    "polypgen": Terms("PolypGen (Ali 2023)", "CC BY 4.0", True),
}


def of(folder):
    """Terms of a dataset's folder; those of an unknown one are what its manifest says, and taken
    for not permissive."""
    known = KNOWN.get(folder.name)
    if known:
        return known
    licences = sorted(
        {row.get("licence") or "none stated" for row in data.rows(folder)}
    )
    return Terms(folder.name, "; ".join(licences))


def licence(terms):
    """The licence of weights trained on datasets of these terms."""
    if all(t.permissive for t in terms):
        return "Apache-2.0"
    if any(t.share_alike for t in terms):
        return "CC-BY-NC-SA-4.0, for research: some of the training data allow no more"
    return "CC-BY-NC-4.0, for research: some of the training data allow no more"


def add_argument(parser):
    parser.add_argument(
        "--terms",
        choices=("any", "permissive"),
        default="any",
        help="datasets to leave out",
    )


def allowed(folders, asked):
    """Those of the dataset folders that the argument ``--terms`` lets in."""
    folders = list(map(pathlib.Path, folders))
    if asked == "permissive":
        folders = [folder for folder in folders if of(folder).permissive]
    if not folders:
        raise SystemExit("no dataset has permissive terms; hint: --terms any")
    return folders
