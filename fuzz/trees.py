"""JSON documents with a few places changed, as strategies that shrink towards the whole document."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

ODD_NUMBERS = (
    0,
    -1,
    1,
    1e308,
    -1e308,
    5e-324,
    2**63,
    2**1030,
    0.1,
    float("nan"),
    float("inf"),
    float("-inf"),
)
LEAVES: SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(ODD_NUMBERS), st.text(max_size=12)
)
ANYTHING: SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MOST_CHANGES = 4


@st.composite
def changed(draw: DrawFn, document: Any, words: Sequence[str] = (), leaves: Any = LEAVES) -> Any:
    """The document with values replaced, keys removed, renamed, or added from `words`."""
    whole = _copy(document)
    for _ in range(draw(st.integers(0, MOST_CHANGES))):
        holder = draw(st.sampled_from(list(_holders(whole))))
        _change(draw, holder, words, leaves)
    return whole


def _change(draw: DrawFn, holder: Any, words: Sequence[str], leaves: Any) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    names = st.one_of(st.sampled_from(list(words) or [""]), st.text(max_size=8))
    how = draw(st.sampled_from(("leaf", "leaf", "anything", "remove", "add", "copy")))
    if how == "add" or not keys:
        if isinstance(holder, dict):
            holder[draw(names)] = draw(ANYTHING)
        else:
            holder.append(draw(ANYTHING))
        return
    key = draw(st.sampled_from(keys))
    match how:
        case "leaf":
            holder[key] = draw(leaves)
        case "anything":
            holder[key] = draw(ANYTHING)
        case "remove":
            del holder[key]
        case "copy":
            other = draw(st.sampled_from(keys))
            if isinstance(holder, dict):
                holder[draw(names)] = _copy(holder[other])
            else:
                holder.append(_copy(holder[other]))


def _holders(tree: Any) -> Any:
    """Every object and list of a document."""
    if isinstance(tree, dict | list):
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _holders(inner)


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree
