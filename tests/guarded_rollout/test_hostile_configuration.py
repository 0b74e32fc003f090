"""Every key of the documented example, left out, emptied, of another type, unknown, or hostile."""

import copy
import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_rollout.config.environments import load, parse
from guarded_rollout.config.tables import BYTES_MOST, example_tables
from guarded_rollout.errors import ConfigurationError

HERE = Path("/project/rollout.toml")
Place = tuple[str, ...]

CHECK = {"path": "/", "json": {"/a": 1}, "capture": {"id": "/id"}, "headers": {"Accept": "*/*"}}


def whole() -> dict[str, Any]:
    """The example with what it leaves to the service filled in."""
    tables = copy.deepcopy(example_tables())
    service = tables["service"]
    service |= {
        "name": "shop",
        "prepare": [["npm", "ci"]],
        "build_command": ["make"],
        "retry_posts": ["/orders"],
    }
    service["commands"] = {name: ["{bin}/shop", name] for name in service["commands"]}
    service["store"]["kind"] = "commands"
    service["health"]["valid_status_codes"] = [200]
    service["variables"] = {"SHOP_STORE": "{store}"}
    tables["backup"]["copies"]["offsite"] |= {"repository": "/mnt/copies", "password": "$COPIES_PASSWORD"}
    tables["backup"]["stream"]["url"] = "file:///mnt/stream"
    service["checks"] = {
        "home": copy.deepcopy(CHECK),
        "own": {"command": ["{bin}/shop", "check"], "quick": ["-q"]},
    }
    return tables


def places(tables: Any, where: Place = ()) -> Iterator[Place]:
    """The path of every table, key and value."""
    for key, value in tables.items():
        yield (*where, key)
        if isinstance(value, dict):
            yield from places(value, (*where, key))


def parent(tables: dict[str, Any], place: Place) -> dict[str, Any]:
    for key in place[:-1]:
        tables = tables[key]
    return tables


PLACES = sorted(places(whole()))
FREE = ("environments", "service.variables", "service.checks")  # any name may stand there
ANOTHER: list[Any] = [
    None,
    True,
    -1,
    7,
    10**30,
    1.5,
    math.nan,
    math.inf,
    "",
    "x",
    [],
    [[]],
    [{}],
    {},
    {"a": 1},
]
ANOTHER += [["x"], [1], date(2026, 1, 1)]


def refusal(tables: dict[str, Any]) -> ConfigurationError | None:
    """The error about these tables; None if they are accepted. Nothing else may be raised."""
    refused = None
    try:
        parse(tables, HERE)
    except ConfigurationError as error:
        refused = error
    if refused is not None:
        assert "\n" not in refused.sentence
        assert len(refused.sentence) < 1000
        assert str(HERE) in refused.sentence
    return refused


def names(error: ConfigurationError, place: Place) -> bool:
    """True if the error is about this place, something in it, or a table that it is in."""
    where, here = str(error.data["where"]), ".".join(place)
    plain = where.replace("'", "")
    if place[:1] == ("defaults",):  # of every environment
        plain = re.sub(r"^environments\.\w+", "defaults", plain)
    return plain.startswith(here) or here.startswith(plain.partition("[")[0])


def test_the_whole_example_is_accepted() -> None:
    assert refusal(whole()) is None


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_what_is_left_out_is_a_default_or_a_sentence(place: Place) -> None:
    tables = whole()
    del parent(tables, place)[place[-1]]
    error = refusal(tables)
    if place in {("service", "name"), ("service",)}:
        return  # then it is a file of the version before
    if place == ("service", "commands", "serve"):
        assert error is not None
        assert error.data["where"] == "service.commands.serve"
    assert error is None or names(error, place)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_an_unknown_key_beside_is_named(place: Place) -> None:
    if ".".join(place[:-1]) in FREE or place[:2] == ("service", "checks"):
        return
    tables = whole()
    parent(tables, place)["colour"] = 1
    error = refusal(tables)
    assert error is not None
    assert error.data["where"] == ".".join((*place[:-1], "colour"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(ANOTHER))
def test_a_value_of_another_kind_is_a_sentence_about_its_place(place: Place, value: Any) -> None:
    tables = whole()
    before = parent(tables, place)[place[-1]]
    parent(tables, place)[place[-1]] = value
    error = refusal(tables)
    assert error is None or names(error, place), error
    alike = isinstance(value, type(before)) or (isinstance(before, float) and isinstance(value, int))
    if not alike and place[:2] != ("service", "checks"):
        assert error is not None, f"{place} = {value!r} is accepted in place of {before!r}"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.sampled_from(
        ["../../etc", "a\0b", "\x1b[2J", "x" * 20_000, "/" + "y" * 300, "\ud800", "$", "{", "a\nb"]
    ),
)
def test_a_hostile_text_is_a_sentence_about_its_place(place: Place, text: str) -> None:
    tables = whole()
    before = parent(tables, place)[place[-1]]
    if isinstance(before, str):
        parent(tables, place)[place[-1]] = text
    elif isinstance(before, list) and before and isinstance(before[0], str):
        parent(tables, place)[place[-1]] = [text]
    else:
        parent(tables, place)[text] = parent(tables, place).pop(place[-1])
        place = place[:-1]
    error = refusal(tables)
    assert error is None or names(error, place), error
    if ("\0" in text or len(text) > 10_000) and isinstance(before, str):
        assert error is not None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[project]\nreleases = "' + b"x" * 10 * 2**20 + b'"\n', "larger than 1 MiB"),
        (b"[project]\nreleases = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'[service]\nname = "a\x00b"\n', "syntax"),
        (b'[service]\nname = "a"\nname = "b"\n', "syntax"),
        (b"\xff\xfe", "syntax"),
    ],
    ids=["10 MB", "deep", "NUL", "twice", "no UTF-8"],
)
def test_a_hostile_file_is_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    assert BYTES_MOST == 2**20
    file = tmp_path / "rollout.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        load(file)


def test_an_empty_command_is_named_with_its_key() -> None:
    for name in example_tables()["service"]["commands"]:
        tables = whole()
        tables["service"]["commands"][name] = []
        error = refusal(tables)
        assert error is not None
        assert error.data["where"] == f"service.commands.{name}"
