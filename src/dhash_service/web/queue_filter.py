"""The filter of the review page: in its address, so that it can be shared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query

from dhash_service.facts import Sha256
from dhash_service.store.review import Filter

Age = Literal["", "1h", "1d", "7d", "30d"]
AGES: Mapping[Age, tuple[str, timedelta]] = {
    "1h": ("an hour", timedelta(hours=1)),
    "1d": ("a day", timedelta(days=1)),
    "7d": ("a week", timedelta(days=7)),
    "30d": ("a month", timedelta(days=30)),
}

REASONS = {
    "far_from_certain": "Far from certain",
    "low_quality": "Mostly blank",
    "small_margin": "Two match",
    "crowded": "Crowded",
    "banked": "In a bank",
}
"""The reasons to ask a person, in as few words as a chip has room for."""


@dataclass(frozen=True, slots=True)
class AskedQueue:
    """A filter as it stands in an address; what is empty does not limit."""

    reason: str = ""
    older: Age = ""
    document: str = ""
    show: Literal["", "unsure"] = ""

    def filter(self, now: datetime) -> Filter:
        """The same, for the queue."""
        return Filter(
            self.reason or None,
            now - AGES[self.older][1] if self.older else None,
            Sha256(self.document) if self.document else None,
            self.show == "unsure",
        )

    @property
    def query(self) -> str:
        """The filter as an address has it, without what does not limit."""
        given = {"reason": self.reason, "older": self.older, "document": self.document, "show": self.show}
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter to click: how many wait for it, and the address that puts it on, or takes it off."""

    label: str
    count: int
    address: str
    chosen: bool


def chips(asked: AskedQueue, reasons: Mapping[str, int], older: Sequence[int], unsure: int) -> Iterator[Chip]:
    """The filters that have something to show, and those that are chosen.

    `older` are the counts for `AGES`, in their order.
    """
    for name, count in reasons.items():
        on = asked.reason == name
        label = REASONS.get(name, name.replace("_", " "))
        yield chip(label, count, replace(asked, reason="" if on else name), on)
    for age, count in zip(AGES, older, strict=True):
        on = asked.older == age
        if count or on:
            yield chip(f"Over {AGES[age][0]}", count, replace(asked, older="" if on else age), on)
    if unsure or asked.show:
        on = asked.show == "unsure"
        yield chip("Decided as unsure", unsure, replace(asked, show="" if on else "unsure"), on)


def chip(label: str, count: int, then: AskedQueue, chosen: bool) -> Chip:
    """The chip that leads to a part of the queue."""
    return Chip(label, count, f"/review?{then.query}" if then.query else "/review", chosen)


def asked_queue(
    reason: Annotated[str, Query(max_length=64)] = "",
    older: Age = "",
    document: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = "",
    show: Literal["", "unsure"] = "",
) -> AskedQueue:
    """The filter of a request's address."""
    return AskedQueue(reason, older, document, show)


Asked = Annotated[AskedQueue, Depends(asked_queue)]
