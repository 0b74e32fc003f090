"""A visitor's search, as it was typed into a form or stands in an address."""

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
HASH = re.compile(r"[0-9a-f]{16}", re.ASCII)
NOT_HEX = re.compile(r"[^0-9a-f]", re.ASCII)
RADII = range(33)
"""The radii that a search may have, in bits; as in the API."""

MEANT = 12
"""Hex digits from which on a text is meant to be a hash rather than a name."""

DEEPEST = 10_000
"""The last result that can be paged to: beyond, a smaller radius says more than another page."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search, or a `mistake` in asking for one: a sentence and the `field` that it is about.

    `typed` is shown again as it was; `value` is None where there is nothing to search for.
    """

    typed: str
    radius: int
    start: int = 0
    value: int | None = None
    field: str | None = None
    mistake: str | None = None

    @classmethod
    def read(cls, hash: str, radius: str, start: str, usual: int) -> "Asked":
        """`usual` is the radius where none is given."""
        bits, skipped = number(radius), number(start) or 0
        if radius and (bits is None or bits not in RADII):
            wanted = f"Choose a radius from {RADII[0]} to {RADII[-1]} bits."
            return cls(hash, usual, field="radius", mistake=wanted)
        within = usual if bits is None else bits
        digits = hash.strip().lower().removeprefix("0x")
        if digits and not HASH.fullmatch(digits):
            return cls(hash, within, field="hash", mistake=not_a_hash(digits))
        value = int(digits, 16) if digits else None
        return cls(hash.strip(), within, min(skipped, DEEPEST), value)


class Kind(StrEnum):
    """The kinds of text that the one field of the search page takes."""

    HASH = "hash"
    ID = "id"
    SHA256 = "sha256"
    NAME = "name"


def kind_of(typed: str) -> Kind:
    """Tell what was typed: what was clearly meant to be a hash is one, also where it is mistaken."""
    text = typed.strip().lower()
    with suppress(ValueError):
        if len(text) == len(str(UUID(text))):
            return Kind.ID
    if SHA256.fullmatch(text):
        return Kind.SHA256
    hexadecimal = bool(text) and not NOT_HEX.search(text)
    return Kind.HASH if text.startswith("0x") or (hexadecimal and len(text) >= MEANT) else Kind.NAME


def number(text: str) -> int | None:
    """A small whole number; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def not_a_hash(digits: str) -> str:
    """Say what is wrong with something that is no fingerprint."""
    if strange := NOT_HEX.search(digits):
        return f"A hash has 16 digits from 0 to 9 and a to f; “{strange[0]}” is none of them."
    return f"A hash has 16 hex digits; this has {len(digits):,}."
