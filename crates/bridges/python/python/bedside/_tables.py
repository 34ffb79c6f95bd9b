"""Findings as tables for people and for pandas."""

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Finding, Findings

_FIELDS = (
    "prompt object present presence meta_object area bounding_box mean_probability validity fit withheld"
).split()


def row(finding: "Finding") -> dict[str, object]:
    """All that a finding says but its mask; the box as four columns."""
    values = {field: getattr(finding, field) for field in _FIELDS}
    box = values.pop("bounding_box") or (None, None, None, None)
    return values | dict(zip(("x", "y", "width", "height"), box))


def to_pandas(findings: "Findings") -> Any:
    """A pandas.DataFrame of one row a finding."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas; hint: pip install 'bedside[pandas]'") from error
    table = pandas.DataFrame([row(finding) for finding in findings])
    return table.astype({side: "Int64" for side in ("x", "y", "width", "height")})


def to_html(findings: "Findings") -> str:
    """The picture with all masks, and a table below it."""
    titles = "object", "present", "presence", "area", "box", "probability", "validity"
    lines = [_cells("th", titles)] + [_cells("td", _said(finding)) for finding in findings]
    picture = b64encode(findings._repr_png_()).decode()
    return f'<img src="data:image/png;base64,{picture}"><table>{"".join(lines)}</table>'


def _cells(tag: str, values: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(value)}</{tag}>' for value in values)}</tr>"


def _said(finding: "Finding") -> tuple[str, ...]:
    box = finding.bounding_box
    present = "yes" if finding.present else "no"
    if finding.withheld:
        present = f"no: {finding.withheld}"
    return (
        finding.object or finding.prompt,
        present,
        f"{finding.presence:.1%}",
        f"{finding.area} px" if finding.present else "-",
        f"{box[2]}x{box[3]} at {box[0]},{box[1]}" if box else "-",
        _number(finding.mean_probability),
        _number(finding.validity),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
