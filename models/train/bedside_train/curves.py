"""Learning curves of a run folder as a picture: ``python -m bedside_train.curves RUN``."""

import collections
import csv
import pathlib
import sys

import numpy as np


def read(path):
    if not path.exists():
        return []
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def draw(run):
    """Write curves.png from train.csv and val.csv."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    run = pathlib.Path(run)
    figure, axes = pyplot.subplots(1, 3, figsize=(19, 6.5), layout="constrained")
    rows = read(run / "train.csv")
    seen = np.array([float(r["frames"]) for r in rows])
    for name in rows[0] if rows else ():
        if name in ("loss", "mask", "score", "empty"):
            axes[0].plot(seen, [float(r[name] or "nan") for r in rows], label=name)
    axes[0].set(title="training loss", xlabel="frames seen", yscale="log")
    axes[0].legend()
    by_form = collections.defaultdict(list)
    for row in read(run / "val.csv"):
        by_form[row["form"]].append(row)
    colours = pyplot.get_cmap("tab20")
    for column, axis in (("dice", axes[1]), ("auroc", axes[2])):
        for n, (form, values) in enumerate(by_form.items()):
            points = [(float(v["seen"]), float(v[column])) for v in values]
            points = [p for p in points if np.isfinite(p[1])]
            if points:
                style = "-" if n < 20 else "--"
                label = f"{form} {points[-1][1]:.3f}"
                axis.plot(
                    *zip(*points), style, marker=".", label=label, color=colours(n % 20)
                )
        axis.legend(fontsize=7)
    axes[1].set(title="val: mean Dice of masks", xlabel="frames seen")
    axes[2].set(
        title="val: AUROC of presence within the modality", xlabel="frames seen"
    )
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(run / "curves.png", dpi=90)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(sys.argv[1])
