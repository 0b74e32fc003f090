"""The answers of the service, as far as this client knows them; what it does not know is passed over."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


class Answer:
    """A dataclass that is made of a JSON object."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """The answer in a JSON object."""
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in body.items() if name in names})


@dataclass(frozen=True, slots=True)
class Near(Answer):
    """A known picture, `distance` bits away."""

    id: str
    sha256: str
    hash: str
    distance: int
    names: list[str]
    tags: list[str]
    turn: str | None = None


@dataclass(frozen=True, slots=True)
class BankHit(Answer):
    """A bank's entry that a picture matches."""

    bank: str
    action: str
    kind: str
    value: str
    label: str
    severity: int
    note: str
    distance: int


@dataclass(frozen=True, slots=True)
class Sighted(Answer):
    """A name and place that a known picture was seen under."""

    id: str
    image: str
    name: str
    source: str
    document: str | None
    page: int | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Submitted(Answer):
    """The result for one picture."""

    id: str
    sha256: str
    hash: str
    algorithm: str
    quality: float
    width: int
    height: int
    match: Near | None
    confidence: float
    status: str
    reasons: list[str]
    lookup: str | None
    banks: list[BankHit]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        match = Near.of(body["match"]) if body["match"] else None
        banks = [BankHit.of(hit) for hit in body.get("banks", ())]
        known = {field.name: body[field.name] for field in fields(cls) if field.name in body}
        return cls(**{**known, "match": match, "banks": banks})


@dataclass(frozen=True, slots=True)
class Extracted(Answer):
    """The results for the pictures of a document, and how many were left out for which reason."""

    sha256: str
    pages: int
    pictures: list[Submitted]
    skipped: dict[str, int]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        pictures = [Submitted.of(each) for each in body["pictures"]]
        return cls(body["sha256"], body["pages"], pictures, body["skipped"])
