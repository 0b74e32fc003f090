"""Browsing what was added: by name, tag, bank and day, as it stands in the address of the search page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query

from dhash_service.banks import SHA256
from dhash_service.errors import NotFoundError
from dhash_service.facts import Sha256, image_id
from dhash_service.service import Service
from dhash_service.store.added import AddedFilter, AddedPage
from dhash_service.web.found import Card

PAGE = 24
"""Pictures on one page."""

TAGS = 50
"""Tags to choose from."""

ENTRIES, NEAR = 500, 50
"""Entries of a bank whose pictures are looked for, and pictures near each."""


@dataclass(frozen=True, slots=True)
class AskedPictures:
    """A part of the library as it stands in an address; what is empty does not limit. Days are UTC's."""

    name: str = ""
    tag: str = ""
    bank: str = ""
    since: date | None = None
    until: date | None = None
    after: int | None = None

    @property
    def limited(self) -> bool:
        return bool(self.name or self.tag or self.bank or self.since or self.until)

    def address(self, after: int | None = None) -> str:
        """The page of this part, from a cursor on."""
        given = {
            "q": self.name,
            "tag": self.tag,
            "bank": self.bank,
            "since": self.since,
            "until": self.until,
            "after": after,
        }
        return "/?" + urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Browsed:
    """A page of the library, and what it can be limited by."""

    asked: AskedPictures
    cards: Sequence[Card]
    next: str | None
    tags: Sequence[str]
    banks: Sequence[str]


def asked_pictures(
    tag: Annotated[str, Query(max_length=64)] = "",
    bank: Annotated[str, Query(max_length=64)] = "",
    since: Annotated[str, Query(max_length=10)] = "",
    until: Annotated[str, Query(max_length=10)] = "",
    after: Annotated[int | None, Query(ge=0)] = None,
) -> AskedPictures:
    """The part that a request's address asks for; a day that is none does not limit."""
    return AskedPictures("", tag, bank, day(since), day(until), after)


BrowsedPart = Annotated[AskedPictures, Depends(asked_pictures)]


def browse(service: Service, asked: AskedPictures) -> Browsed:
    """Read a page of the library. Reads the store: call it outside the event loop."""
    banks = [bank.name for bank, _ in service.banks.all()]
    until = start_of(asked.until) + timedelta(days=1) if asked.until and asked.until < date.max else None
    filter = AddedFilter(
        asked.name or None,
        asked.tag or None,
        start_of(asked.since) if asked.since else None,
        until,
        held_by(service, asked.bank) if asked.bank else None,
    )
    page: AddedPage = service.store.added.page(filter, asked.after, PAGE)
    cards = [Card.alone(image) for image in page.images]
    following = asked.address(page.after) if page.after else None
    return Browsed(asked, cards, following, service.store.added.tags(TAGS), banks)


def held_by(service: Service, name: str) -> list[UUID]:
    """The ids of pictures that match the first entries of a bank; none where there is no such bank."""
    try:
        entries = service.banks.entries(name)[:ENTRIES]
    except NotFoundError:
        return []
    radius = next(bank.radius for bank, _ in service.banks.all() if bank.name == name)
    ids = {image_id(Sha256(entry.value)) for entry in entries if entry.kind == SHA256}
    for entry in entries:
        if entry.kind == service.banks.algorithm:
            near = service.matcher.neighbours(int(entry.value, 16), radius, NEAR).neighbours
            ids |= {each.image.id for each in near}
    return sorted(ids)


def day(text: str) -> date | None:
    """A day as a date field gives it; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def start_of(when: date) -> datetime:
    """The moment that a day begins, in UTC."""
    return datetime(when.year, when.month, when.day, tzinfo=UTC)
