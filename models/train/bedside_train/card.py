"""Write a bundle's figures into its model card: ``python -m bedside_train.card --help``.

The figures are those of ``bedside eval DATA/*/ --json`` at f32 and int8; they go between the marks
``<!-- data -->`` and ``<!-- figures -->`` and the next empty comment ``<!-- -->``.
"""

import argparse
import collections
import json
import pathlib

from . import data, terms


def between(card, mark, lines):
    """The card with other lines behind a mark."""
    head, found, rest = card.partition(f"<!-- {mark} -->\n")
    _, ended, tail = rest.partition("<!-- -->")
    if not found or not ended:
        raise SystemExit(
            f"the card has no place for {mark}; hint: <!-- {mark} --> and <!-- -->"
        )
    return head + found + "\n".join(["", *lines, "", ""]) + ended + tail


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return out + ["| " + " | ".join(row) + " |" for row in rows]


def number(estimate, digits=3):
    """Mean and interval of an estimate; a dash where there is none."""
    if estimate is None:
        return "–"
    mean, interval = estimate.get("mean", estimate.get("area")), estimate["interval"]
    text = f"{mean:.{digits}f}"
    return (
        text
        if interval is None
        else f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    )


def share(estimate):
    """A share as a count of frames."""
    if estimate is None:
        return "–"
    return f"{round(estimate['mean'] * estimate['n'])} of {estimate['n']}"


def figures(f32, int8):
    """Two tables of all prompts that were asked at their own frames: masks, and presence."""
    exact = {p["prompt"]: p for p in f32["prompts"]}
    own = [p for p in int8["prompts"] if p["shown"]]
    masks = [
        [
            p["prompt"],
            str(p["shown"]["frames"]),
            number(p["shown"]["dice"]),
            number(exact[p["prompt"]]["shown"]["dice"]),
            f"{p['shown']['dice_median']:.3f}",
            share(p["shown"]["missed"]),
            share(p["shown"]["poor"]),
        ]
        for p in own
    ]
    head = [
        "prompt",
        "frames",
        "Dice int8",
        "Dice f32",
        "median",
        "missed",
        "below 0.5",
    ]
    lines = table(head, masks)
    presence = [
        [
            p["prompt"],
            number(p["presence"]["auroc"]),
            share(p["presence"]["sensitivity"]),
            share(p["presence"]["false_alarms"]),
            share(p["presence"]["false_alarms_other_modality"]),
            share(p["presence"]["withheld"]),
            f"{p['presence']['calibration']['error']:.3f}"
            if p["presence"]["calibration"]
            else "–",
        ]
        for p in own
    ]
    head = ["prompt", "AUROC", "reported where it is", "reported where it is not",
            "reported in other modalities", "withheld where it is", "calibration error"]  # fmt: skip
    return [*lines, "", *table(head, presence)]


def overview(int8):
    """A table of the prompts that have frames of their own, for the README."""
    rows = [
        [p["prompt"], str(p["shown"]["frames"]), number(p["shown"]["dice"]),
         f"{p['shown']['dice_median']:.3f}"]
        for p in int8["prompts"]
        if p["shown"]
    ]  # fmt: skip
    return table(["prompt", "frames", "mean Dice (int8)", "median"], rows)


def sets(folders):
    """A table of the datasets: frames of each split, and terms."""
    rows = []
    for folder in folders:
        files = collections.defaultdict(set)
        for row in data.rows(folder):
            files[row["split"]].add(row["file"])
        t = terms.of(folder)
        rows.append([t.name, str(len(files["train"])), str(len(files["val"])), t.text])
    return table(["set", "train frames", "val frames", "terms"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("card", type=pathlib.Path)
    parser.add_argument("--datasets", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument(
        "--f32", type=pathlib.Path, required=True, help="of bedside eval --json"
    )
    parser.add_argument(
        "--int8", type=pathlib.Path, required=True, help="of bedside eval --json"
    )
    parser.add_argument("--readme", type=pathlib.Path, help="gets a shorter table at its mark")
    args = parser.parse_args()
    card = args.card.read_text()
    card = between(card, "data", sets(args.datasets))
    f32, int8 = (json.loads(path.read_text()) for path in (args.f32, args.int8))
    args.card.write_text(between(card, "figures", figures(f32, int8)))
    if args.readme:
        readme = args.readme.read_text()
        args.readme.write_text(between(readme, "figures", overview(int8)))


if __name__ == "__main__":
    main()
