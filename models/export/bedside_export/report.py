"""What each precision does to masks: report.json, and report.html with pictures."""

import base64
import html
import io
import json

import numpy as np
from bedside_train.bundle import enlarge
from PIL import Image

from .precision import relative_error

COLOURS = {"f32": (64, 220, 120), "f16": (80, 160, 255), "int8": (255, 120, 60)}


def dice(a, b):
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else float(2 * (a & b).sum() / total)


def compare(graphs, frames, prompts):
    """Every precision against f32, by prompt.

    graphs: runner.Graphs by precision, f32 among them; prompts: (text, token rows [T, D]).
    -> {precision: {prompt: {"dice": [...], "error": [...]}}}, one number a frame
    """
    rows = [r for _, r in prompts]
    found = {p: {t: {"dice": [], "error": []} for t, _ in prompts} for p in graphs if p != "f32"}
    for frame in frames:
        want = graphs["f32"](frame, rows)["logits"]
        for precision, table in found.items():
            got = graphs[precision](frame, rows)["logits"]
            for (text, _), g, w in zip(prompts, got, want):
                table[text]["dice"].append(dice(g > 0, w > 0))
                table[text]["error"].append(relative_error(g, w))
    return found


def picture(graphs, frame, prompt, side=256):
    """The frame with every precision's outline, as a data URL."""
    shown = np.asarray(Image.fromarray(frame).resize((side, side))).copy()
    for precision, runner in graphs.items():
        mask = enlarge(runner(frame, [prompt[1]])["logits"][0], side) > 0
        inner = mask.copy()
        inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        shown[mask & ~inner] = COLOURS[precision]
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def summary(values):
    return {"mean": float(np.mean(values)), "worst": float(np.min(values)), "n": len(values)}


def write(folder, title, facts, graphs, frames, prompts, sizes, notes):
    """report.json and report.html in ``folder``, made here; -> what is in the JSON.

    facts: lines about where the numbers come from; sizes: bytes of encoder and decoder by
    precision; notes: by precision, what was quantized how and what stayed f32, with why.
    """
    folder.mkdir()
    compared = compare(graphs, frames, prompts)
    out = {"title": title, "facts": facts, "frames": len(frames), "precisions": {}}
    for precision in graphs:
        table = compared.get(precision, {})
        out["precisions"][precision] = {
            "bytes": sizes[precision],
            "share_of_f32": sizes[precision] / sizes["f32"],
            "notes": notes.get(precision, {}),
            "prompts": {
                t: {"dice": summary(v["dice"]), "largest_error": float(np.max(v["error"]))}
                for t, v in table.items()
            },
        }
    (folder / "report.json").write_text(json.dumps(out, indent=1))

    esc = html.escape
    page = [
        "<!doctype html><meta charset=utf-8>",
        f"<title>{esc(title)}</title>",
        "<style>body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
        "tr:nth-child(even){background:#f3f3f3}img{width:256px;margin:2px}</style>",
        f"<h1>{esc(title)}</h1><ul>",
        *(f"<li>{esc(f)}</li>" for f in facts),
        "</ul><h2>Against f32</h2><table><tr><th>prompt<th>precision<th>Dice, mean<th>Dice, worst"
        "<th>largest relative error of logits</tr>",
    ]
    for precision, entry in out["precisions"].items():
        for text, row in entry["prompts"].items():
            page.append(
                f"<tr><td>{esc(text)}<td>{precision}<td>{row['dice']['mean']:.4f}"
                f"<td>{row['dice']['worst']:.4f}<td>{row['largest_error']:.2g}</tr>"
            )
    page.append("</table><h2>Size</h2><table><tr><th>precision<th>MB<th>share of f32</tr>")
    for precision, entry in out["precisions"].items():
        page.append(
            f"<tr><td>{precision}<td>{entry['bytes'] / 1e6:.1f}<td>{entry['share_of_f32']:.3f}</tr>"
        )
    page.append("</table>")
    for precision, entry in out["precisions"].items():
        if entry["notes"]:
            text = json.dumps(entry["notes"], indent=1)
            page.append(f"<h2>{precision}: nodes</h2><pre>{esc(text)}</pre>")
    page.append(
        "<h2>Outlines</h2><p>" + ", ".join(f"{p}: rgb{COLOURS[p]}" for p in graphs) + "</p>"
    )
    for frame in frames[:4]:
        page += [f'<img src="{picture(graphs, frame, p)}" alt="{esc(p[0])}">' for p in prompts[:4]]
    (folder / "report.html").write_text("\n".join(page))
    return out
