"""What each precision does to masks: report.json, and report.html with pictures."""

import base64
import html
import io
import json

import numpy as np
from bedside_train.bundle import enlarge
from PIL import Image

from .precision import relative_error

DICE_LOSS = 0.01  # the most of Dice that int8 may lose
QUERY_LOSS = 0.01  # the largest share of prompts that another query may answer
COLOURS = {"f32": (64, 220, 120), "f16": (80, 160, 255), "int8": (255, 120, 60)}


def dice(a, b):
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else float(2 * (a & b).sum() / total)


def compare(graphs, frames, prompts):
    """Every precision against f32, by prompt.

    graphs: runner.Graphs by precision, f32 among them; prompts: (text, token rows [T, D]).
    -> {precision: {prompt: {"dice": [...], "error": [...], "same": [...]}}}, one value a frame;
    ``same`` tells whether the same query answered, and is empty where there are no queries
    """
    rows = [r for _, r in prompts]
    empty = lambda: {"dice": [], "error": [], "same": []}  # noqa: E731
    found = {p: {t: empty() for t, _ in prompts} for p in graphs if p != "f32"}
    for frame in frames:
        want = graphs["f32"](frame, rows)
        for precision, table in found.items():
            got = graphs[precision](frame, rows)
            for i, (text, _) in enumerate(prompts):
                g, w = got["logits"][i], want["logits"][i]
                table[text]["dice"].append(dice(g > 0, w > 0))
                table[text]["error"].append(relative_error(g, w))
                if "query" in got:
                    table[text]["same"].append(bool(got["query"][i] == want["query"][i]))
    return found


def total(table):
    """What a precision loses over all frames and prompts of :func:`compare`'s table."""
    dices, same = ([v for row in table.values() for v in row[k]] for k in ("dice", "same"))
    out = {"dice": summary(dices)}
    if same:
        out["other_query"] = {"n": len(same), "changed": same.count(False)}
    return out


def poor(table):
    """Why a precision is too far from f32 to be used unseen; ``None`` where it is not."""
    said, found = [], total(table)
    if found["dice"]["mean"] < 1 - DICE_LOSS:
        said.append(f"mean Dice against f32 {found['dice']['mean']:.3f}, below {1 - DICE_LOSS:.2f}")
    other = found.get("other_query", {"changed": 0, "n": 1})
    if other["changed"] > QUERY_LOSS * other["n"]:
        said.append(
            f"another query answers {other['changed']} of {other['n']} times, above {QUERY_LOSS:.0%}"
        )
    return ", ".join(said) or None


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


def chosen(tests):
    """How the self-tests were chosen, as a sentence."""
    took = " and ".join(f"{v:.4f}" for v in tests["chosen"])
    iou = " ".join(f"{name} {v:.4f}," for name, v in tests["iou"].items())
    return (
        f"Agreement of all precisions with f32 on {tests['candidates']} masks of synthetic frames, "
        f"IoU: {iou} of which the self-tests have {took}."
    )


def write(folder, title, facts, graphs, compared, frames, prompts, sizes, notes, tests):
    """report.json and report.html in ``folder``, made here; -> what is in the JSON.

    facts: lines about where the numbers come from; compared: what :func:`compare` found; sizes:
    bytes of encoder and decoder by precision; notes: by precision, what was quantized how and
    what stayed f32, with why; tests: how the self-tests were chosen.
    """
    folder.mkdir()
    out = {"title": title, "facts": facts, "frames": len(frames), "self_tests": tests}
    out["precisions"] = {}
    for precision in graphs:
        table = compared.get(precision, {})
        out["precisions"][precision] = {
            "bytes": sizes[precision],
            "share_of_f32": sizes[precision] / sizes["f32"],
            "notes": notes.get(precision, {}),
            "total": total(table) if table else {},
            "prompts": {
                t: {
                    "dice": summary(v["dice"]),
                    "largest_error": float(np.max(v["error"])),
                    "other_query": v["same"].count(False),
                }
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
        *(f"<li>{esc(f)}</li>" for f in [*facts, chosen(tests)]),
        "</ul><h2>Against f32</h2><table><tr><th>prompt<th>precision<th>Dice, mean<th>Dice, worst"
        "<th>largest relative error of logits<th>another query</tr>",
    ]
    for precision, entry in out["precisions"].items():
        for text, row in entry["prompts"].items():
            page.append(
                f"<tr><td>{esc(text)}<td>{precision}<td>{row['dice']['mean']:.4f}"
                f"<td>{row['dice']['worst']:.4f}<td>{row['largest_error']:.2g}"
                f"<td>{row['other_query']} of {row['dice']['n']}</tr>"
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
