"""The drawing of how costs grow says what was measured."""

import xml.etree.ElementTree as ET

import pytest
from bench.drawing import HEIGHT, WIDTH, Line, Plane, drawn, ticks

SVG = "{http://www.w3.org/2000/svg}"
LINES = [
    Line("in <proportion>", [(1, 0.5), (10, 5.0), (100, 50.0)]),
    Line("not at all", [(0.1, 2.0), (1.0, 2.0)]),
    Line("sooner", [(1, 0.4), (8, 0.1)]),
]


def test_each_line_is_drawn_with_its_points_and_its_name() -> None:
    root = ET.fromstring(drawn("Costs & sizes", LINES))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {line.name for line in LINES} | {"Costs & sizes", "100×"} <= set(texts)
    assert len(list(root.iter(f"{SVG}circle"))) == sum(len(line.points) for line in LINES)
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_what_grows_in_proportion_lies_on_the_dotted_line() -> None:
    plane = Plane(100, 0, 2)
    across = plane.x(100) - plane.x(1)
    for size, time in LINES[0].relative():
        share = (plane.x(size) - plane.x(1)) / across
        assert plane.y(time) == pytest.approx(plane.y(1) + share * (plane.y(100) - plane.y(1)), abs=0.2)
    assert plane.y(1) == plane.y(LINES[1].relative()[-1][1])


def test_ticks_are_round_numbers_between_two_powers() -> None:
    assert ticks(0, 1) == [1, 2, 5, 10]
    assert ticks(-1, 0.4) == pytest.approx([0.1, 0.2, 0.5, 1, 2])
