"""Draws how costs grow, as SVG: a line for each path, both axes logarithmic, relative to its least size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

WIDTH, HEIGHT = 950, 460
LEFT, TOP, RIGHT, BOTTOM = 70, 50, 380, 60  # margins; the names stand in the right one
COLOURS = ("#0b5fa5", "#b3401c", "#2f7d32", "#7a3e9d", "#a06a00", "#00727f", "#a3195b", "#55606b")
DASHES = ("", "7 4", "2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """One path: its sizes, ascending, each with the seconds that it took."""

    name: str
    points: Sequence[tuple[float, float]]

    def relative(self) -> list[tuple[float, float]]:
        """The same in multiples of the first."""
        (size, seconds), *_ = self.points
        return [(each / size, took / seconds) for each, took in self.points]


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a multiple of the size and of the time lies on the page."""

    size: float  # the most
    low: float  # powers of ten between which the time lies
    high: float

    def x(self, size: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * log10(size) / log10(self.size), 1)

    def y(self, time: float) -> float:
        share = (log10(time) - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)


def drawn(title: str, lines: Sequence[Line]) -> str:
    """The picture as an SVG document. Every line has two points or more, of times above nought."""
    shown = [line.relative() for line in lines]
    times = [time for points in shown for _, time in points]
    largest = max(size for points in shown for size, _ in points)
    plane = Plane(largest, min(0.0, log10(min(times))), max(log10(max(times)), log10(largest), 0.1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
        *axes(plane),
    ]
    for number, (line, points) in enumerate(zip(lines, shown, strict=True)):
        parts += path(line.name, points, plane, number)
    return "\n".join([*parts, "</svg>\n"])


def axes(plane: Plane) -> Iterator[str]:
    """A grid line for each 1, 2, 5, 10 …, and the line of what grows in proportion."""
    right, floor = plane.x(plane.size), plane.y(10**plane.low)
    for tick in ticks(0, log10(plane.size)):
        x = plane.x(tick)
        yield f'<path d="M{x} {TOP}V{floor}" stroke="#ddd"/>'
        yield f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{tick:g}×</text>'
    for tick in ticks(plane.low, plane.high):
        y = plane.y(tick)
        yield f'<path d="M{LEFT} {y}H{right}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}×</text>'
    proportion = f"M{LEFT} {plane.y(1)}L{right} {plane.y(plane.size)}"
    yield f'<path d="{proportion}" stroke="#999" stroke-dasharray="3 5"/>'
    middle, below = (LEFT + right) / 2, HEIGHT - 16
    yield f'<text x="{middle}" y="{below}" text-anchor="middle">size; dotted: in proportion</text>'
    yield f'<text x="{LEFT - 50}" y="{TOP - 8}">time</text>'


def path(name: str, points: Sequence[tuple[float, float]], plane: Plane, number: int) -> Iterator[str]:
    """A line with its points, and its name in the right margin."""
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
    places = [(plane.x(size), plane.y(time)) for size, time in points]
    way = "L".join(f"{x} {y}" for x, y in places)
    yield f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    yield from (f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
    top, left = TOP + 14 + 26 * number, WIDTH - RIGHT + 20
    yield f'<path d="M{left} {top - 4}h22" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    yield f'<text x="{left + 30}" y="{top}">{escape(name)}</text>'


def ticks(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 of each power of ten between two of them."""
    tens = range(int(low) - 1, int(high) + 1)
    found = [step * 10.0**ten for ten in tens for step in (1, 2, 5)]
    return [tick for tick in found if low - 1e-9 <= log10(tick) <= high + 1e-9]
