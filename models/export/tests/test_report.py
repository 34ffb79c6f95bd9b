"""What a precision may lose before its masks are no longer shown for f32's."""

import types

import pytest
from bedside_export import exporter, report
from bedside_export.errors import ExportError


def table(dice, changed, of=100):
    """What ``report.compare`` finds: two prompts on half of ``of`` frames each."""
    same = [False] * changed + [True] * (of - changed)
    half = of // 2
    return {
        "a": {"dice": [dice] * half, "error": [0.1] * half, "same": same[:half]},
        "b": {"dice": [dice] * half, "error": [0.1] * half, "same": same[half:]},
    }


@pytest.mark.parametrize(
    "dice, changed, words",
    [
        (0.991, 0, None),
        (0.991, 1, None),
        (0.989, 0, "0.989, below 0.99"),
        (1.0, 2, "2 of 100 times, above 1%"),
        (0.9, 60, "0.900, below 0.99, another query answers 60 of 100"),
    ],
)
def test_bounds_of_int8(dice, changed, words):
    said = report.poor(table(dice, changed))
    assert said is None if words is None else words in said


def test_networks_without_queries_are_judged_by_masks():
    bare = {t: row | {"same": []} for t, row in table(0.991, 0).items()}
    assert report.poor(bare) is None and "other_query" not in report.total(bare)


def arguments(*precision, allow=False):
    return types.SimpleNamespace(precision=list(precision), allow_poor_int8=allow)


def test_poor_int8_is_left_out_and_said(capsys):
    args, notes, facts = arguments("f32", "int8"), {"int8": {}}, []
    exporter.refuse_poor(args, table(0.9, 0), notes, facts)
    assert args.precision == ["f32"] and "0.900" in notes["int8"]["left out"]
    said = capsys.readouterr().err
    assert said.startswith("warning: int8 is left out") and "hint: " in said
    assert "--allow-poor-int8" in said


def test_poor_int8_alone_is_an_error():
    with pytest.raises(ExportError, match="left out.*0.900.*--allow-poor-int8"):
        exporter.refuse_poor(arguments("int8"), table(0.9, 0), {"int8": {}}, [])


def test_poor_int8_that_was_asked_for_stays_and_is_said(capsys):
    args, facts = arguments("int8", allow=True), []
    exporter.refuse_poor(args, table(0.9, 0), {"int8": {}}, facts)
    assert args.precision == ["int8"] and "0.900" in facts[0]
    assert "warning: int8 is poor" in capsys.readouterr().err


def test_good_int8_stays_without_a_word(capsys):
    args = arguments("f32", "int8")
    exporter.refuse_poor(args, table(0.995, 0), {"int8": {}}, [])
    assert args.precision == ["f32", "int8"] and not capsys.readouterr().err
