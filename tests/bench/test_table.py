"""Numbers of a table: shown to readers, and kept for comparing two runs."""

import copy
import json

import pytest
from bench.table import Quantity, Table, Target, Timing, duration, share, side_by_side


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1.3 ms ± 4%", 0.0013, "s"),
        ("12,345 ± 4%", 12345, ""),
        ("≤ 3.4 %", 0.034, ""),
        ("435 MB/s", 435, "MB/s"),
        ("6.0×", 6, "×"),
        ("1.2e+03 s", 1200, "s"),
        ("33 s (4% before)", 33, "s"),
    ],
)
def test_the_number_that_a_text_begins_with_is_read(text: str, value: float, unit: str) -> None:
    found = Quantity.of(text)
    assert found is not None
    assert found.value == pytest.approx(value)
    assert found.unit == unit


@pytest.mark.parametrize("text", ["", "never", "imagehash", "v2 of it", "all before"])
def test_words_are_no_number(text: str) -> None:
    assert Quantity.of(text) is None


def test_what_was_measured_is_kept_exactly_whatever_is_printed() -> None:
    assert (duration(0.0123456), duration(0.0123456).value) == ("12.3 ms", 0.0123456)
    assert (share(1 / 3), share(1 / 3).value) == ("33.3%", 1 / 3)
    cell = str(Timing((0.2, 0.2, 0.2)))
    assert isinstance(cell, Quantity)
    assert cell.value == 0.2
    assert copy.deepcopy(duration(2.5)).value == 2.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(240, "240 s"), (1234.5, "1234 s"), (0.0205, "20.5 ms"), (2e-9, "2 ns"), (0, "0 ns")],
)
def test_seconds_are_printed_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_are_named_by_row_words_and_column() -> None:
    table = Table(
        "?",
        ("size", "by", "time", "rate"),
        [
            ("2 MP", "ours", duration(0.5), "10"),
            ("2 MP", "theirs", duration(1), "5"),
            ("2 MP", "ours", "never", "7"),
        ],
        [Target("share", "≤ 1 %", share(0.004), True), Target("order", "kept", "kept", True)],
    )
    assert {name: number.value for name, number in table.numbers()} == {
        "2 MP, ours: time": 0.5,
        "2 MP, ours: rate": 10,
        "2 MP, theirs: time": 1,
        "2 MP, theirs: rate": 5,
        "2 MP, ours (2): rate": 7,
        "share": 0.004,
    }
    assert not dict(Table("?", ("", "time"), [("a", "never")]).numbers())
    written = json.loads(json.dumps(table.as_json()))
    assert written["numbers"]["2 MP, ours: time"] == {"value": 0.5, "unit": "s"}
    assert written["rows"][0][2] == "500 ms"


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    ticks = iter(range(100))
    timings = side_by_side(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=2,
        warm_up=1,
        clock=lambda: float(next(ticks)),
    )
    assert calls == ["a", "b"] * 3
    assert timings["a"].seconds == (1.0, 1.0)
