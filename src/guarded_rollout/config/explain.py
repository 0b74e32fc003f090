"""Validation errors in words: pydantic's path and value, what the JSON Schema allows, and a likely name."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Schema = Mapping[str, Any]

TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
"""JSON Schema's types in words."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a document: `where` is a dotted path."""

    where: str
    sentence: str


def explain(errors: "Iterable[ErrorDetails]", document: object, schema: Schema) -> tuple[Problem, ...]:
    """Return a problem for each place in the document that has one."""
    found: dict[str, str] = {}
    for error in errors:
        places = list(_on_the_way(error["loc"], document))
        if error["type"] == "missing":
            places.append(str(error["loc"][-1]))
        found.setdefault(".".join(places), _sentence(error, places, schema))
    return tuple(
        Problem(where or "the file", sentence)
        for where, sentence in found.items()
        # A union fails as a whole beside the member that nearly fits; the deeper problem says more.
        if not any(other.startswith(f"{where}.") for other in found if where)
    )


def _on_the_way(loc: Sequence[int | str], document: object) -> Iterable[str]:
    """Yield the parts of pydantic's path that are in the document, without the union members it adds."""
    for part in loc:
        in_mapping = isinstance(document, Mapping) and part in document
        if in_mapping or (isinstance(document, list) and isinstance(part, int) and part < len(document)):
            document = document[part]  # type: ignore[index]
            yield str(part)


def _sentence(error: "ErrorDetails", places: Sequence[str], schema: Schema) -> str:
    *parents, last = places or [""]
    value = json.dumps(error["input"], default=str)
    value = value if len(value) <= 60 else value[:57] + "…"
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(last, _keys(_at(schema, parents)))
        case "missing":
            return f"is missing{_allowed_too(_at(schema, places))}"
        case "union_tag_not_found" | "union_tag_invalid":
            above = _at(schema, parents)
            return (
                f"no gate of this name ({_meant(last, _keys(above))}); "
                f"one of your own needs a kind: {', '.join(_kinds(above))}"
            )
        case "value_error":
            return str(error.get("ctx", {}).get("error", error["msg"]))
        case "string_pattern_mismatch" | "string_too_long" | "string_too_short":
            return f"{value} is not allowed; {error['msg'][0].lower()}{error['msg'][1:]}"
        case _:
            here = _at(schema, places)
            near = _near(error["input"], _choices(here))
            return f"{value} is not allowed; it is {_allowed(here)}" + (
                f" (did you mean {near}?)" if near else ""
            )


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the sentence about a key that the schema does not have."""
    return f"unknown key ({_meant(key, known)})"


def _meant(given: str, known: Sequence[str]) -> str:
    near = _near(given, known)
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"


def _near(given: object, known: Sequence[str]) -> str:
    return " or ".join(difflib.get_close_matches(str(given), known, n=2, cutoff=0.6))


# ---- the schema at a place


def _at(schema: Schema, places: Sequence[str]) -> Schema:
    here = _resolved(schema, schema)
    for place in places:
        here = _resolved(_step(here, place), schema)
    return here


def _step(here: Schema, place: str) -> Schema:
    for branch in (here, *here.get("anyOf", ()), *here.get("oneOf", ())):
        if place in branch.get("properties", {}):
            found: Schema = branch["properties"][place]
            return found
        if place.isdecimal() and "items" in branch:
            found = branch["items"]
            return found
        if isinstance(branch.get("additionalProperties"), dict):
            found = branch["additionalProperties"]
            return found
    return {}


def _resolved(here: Schema, schema: Schema) -> Schema:
    """Follow references, one level down into unions, and leave `null` out of them."""
    while "$ref" in here:
        here = schema["$defs"][here["$ref"].rsplit("/", 1)[1]]
    for union in ("anyOf", "oneOf"):
        if union in here and "properties" not in here:
            branches = [_resolved(branch, schema) for branch in here[union] if branch.get("type") != "null"]
            return branches[0] if len(branches) == 1 else {**here, union: branches}
    if isinstance(extra := here.get("additionalProperties"), dict) and "properties" in here:
        return {**here, "additionalProperties": _resolved(extra, schema)}
    return here


def _keys(here: Schema) -> list[str]:
    branches = (here, *here.get("anyOf", ()), *here.get("oneOf", ()))
    return list(dict.fromkeys(key for branch in branches for key in branch.get("properties", {})))


def _kinds(here: Schema) -> list[str]:
    own = here.get("additionalProperties", {})
    return list(own.get("discriminator", {}).get("mapping", {}))


def _choices(here: Schema) -> list[str]:
    branches = (here, *here.get("anyOf", ()))
    return [str(choice) for branch in branches for choice in branch.get("enum", ())]


def _allowed_too(here: Schema) -> str:
    return f"; it is {_allowed(here)}" if here else ""


def _allowed(here: Schema) -> str:
    if "anyOf" in here:
        return " or ".join(dict.fromkeys(_allowed(branch) for branch in here["anyOf"]))
    if "enum" in here or "const" in here:
        return "one of " + ", ".join(map(str, here.get("enum", [here.get("const")])))
    bounds = [
        f"{word} {here[key]:g}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in here
    ]
    keys = f" with {', '.join(here.get('required', _keys(here)))}" if here.get("properties") else ""
    items = f" of {_allowed(here['items'])}" if here.get("items", {}).get("type") else ""
    return (
        " ".join([TYPES.get(here.get("type", ""), "something else"), ", ".join(bounds)]).strip()
        + keys
        + items
    )
