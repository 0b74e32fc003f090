"""Ways to spoil a file, as a strategy that shrinks towards the whole file."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

MOST_CHANGES = 8
EXTREMES = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff",
    b"-1",
    b"1e999",
)


def damaged(files: Sequence[bytes], starts: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """One of the files with some changes, or anything at all behind one of the starts."""
    changed = _changed(tuple(files))
    if not starts:
        return changed
    invented = st.tuples(st.sampled_from(list(starts)), st.binary(max_size=400)).map(b"".join)
    return st.one_of(changed, changed, changed, invented)


@st.composite
def _changed(draw: DrawFn, files: tuple[bytes, ...]) -> bytes:
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(0, MOST_CHANGES))):
        if not data:
            break
        _change(draw, data, files)
    return bytes(data)


def _change(draw: DrawFn, data: bytearray, files: tuple[bytes, ...]) -> None:
    """One change. Half of them are near the beginning, where formats say what they are."""
    size = len(data)
    place = draw(st.one_of(st.integers(0, min(size - 1, 63)), st.integers(0, size - 1)))
    match draw(st.sampled_from(("flip", "set", "extreme", "cut", "remove", "insert", "repeat", "splice"))):
        case "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        case "set":
            data[place] = draw(st.integers(0, 255))
        case "extreme":
            value = draw(st.sampled_from(EXTREMES))
            data[place : place + len(value)] = value
        case "cut":
            del data[place:]
        case "remove":
            del data[place : place + draw(st.sampled_from((1, 2, 4, 16, 300)))]
        case "insert":
            data[place:place] = draw(st.binary(max_size=40))
        case "repeat":
            piece = data[place : place + draw(st.sampled_from((1, 4, 40, 400)))]
            data[place:place] = piece * draw(st.sampled_from((1, 2, 50)))
        case "splice":
            other = draw(st.sampled_from(files))
            data[place:] = other[draw(st.integers(0, max(0, len(other) - 1))) :]
