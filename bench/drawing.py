"""Draws what was measured, as SVG, by matplotlib (extra `bench`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 9.5  # inches
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "drawing",  # the same numbers are the same file
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#ddd",
    "lines.markersize": 3.5,
}
DASHES = ("-", "--", ":")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of points, ascending in the first: sizes with seconds, or seconds with what was held then."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A share that was measured, and the one that was wanted, if there is such a wish."""

    name: str
    measured: float
    wanted: float = 0.0


def growth(title: str, lines: Sequence[Line]) -> str:
    """How times grow with sizes: multiples of the least size and of its time, both axes logarithmic."""

    def draw(axes: "Axes") -> None:
        most = 1.0
        for number, line in enumerate(lines):
            (size, seconds), *_ = line.points
            sizes = [each / size for each, _ in line.points]
            times = [took / seconds for _, took in line.points]
            axes.loglog(sizes, times, marker="o", linestyle=DASHES[number // 10 % 3], label=line.name)
            most = max(most, *sizes)
        axes.plot([1, most], [1, most], color="#999", linestyle=(0, (1, 4)), label="in proportion")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}×")
        axes.set_xlabel("size")
        axes.set_ylabel("time")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)

    return _drawn(title, 4.6, draw)


def bars(title: str, shown: Sequence[Bar]) -> str:
    """Shares beside the ones that were wanted, from top to bottom."""

    def draw(axes: "Axes") -> None:
        places = [-place for place in range(len(shown))]
        drawn = axes.barh(places, [bar.measured for bar in shown], height=0.6, color="#0b5fa5")
        axes.bar_label(drawn, fmt=lambda share: f"{share:.0%}", padding=4)
        for place, bar in zip(places, shown, strict=True):
            if bar.wanted:
                axes.plot([bar.wanted] * 2, [place - 0.42, place + 0.42], color="#b3401c", linewidth=2)
        axes.plot([], [], color="#b3401c", linewidth=2, label="wanted")
        axes.set_yticks(places, [bar.name for bar in shown])
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)

    return _drawn(title, 0.9 + 0.32 * len(shown), draw)


def over_time(title: str, lines: Sequence[Line], unit: str, marks: Mapping[float, str]) -> str:
    """What was held at each minute, with what was done at some of them."""

    def draw(axes: "Axes") -> None:
        top = axes.get_xaxis_transform()
        for line in lines:
            axes.plot(*zip(*line.points, strict=True), label=line.name)
        for minute, name in marks.items():
            axes.axvline(minute, color="#999", linestyle=":")
            axes.text(minute, 1.0, name, transform=top, rotation=90, va="top", ha="right")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes")
        axes.set_ylabel(unit)
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)

    return _drawn(title, 3.6, draw)


def _drawn(title: str, height: float, draw: Callable[["Axes"], None]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    page = StringIO()
    with rc_context(STYLE):
        figure = Figure((WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontweight="bold")
        draw(axes)
        figure.savefig(page, format="svg", metadata={"Date": None})
    return page.getvalue()
