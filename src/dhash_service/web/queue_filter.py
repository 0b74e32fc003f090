"""The filter of the review page: in its address, so that it can be shared."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query

from dhash_service.facts import Sha256
from dhash_service.store.review import Filter

AGES = {
    "1h": ("an hour", timedelta(hours=1)),
    "1d": ("a day", timedelta(days=1)),
    "7d": ("a week", timedelta(days=7)),
    "30d": ("a month", timedelta(days=30)),
}
Age = Literal["", "1h", "1d", "7d", "30d"]


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


def asked_queue(
    reason: Annotated[str, Query(max_length=64)] = "",
    older: Age = "",
    document: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = "",
    show: Literal["", "unsure"] = "",
) -> AskedQueue:
    """The filter of a request's address."""
    return AskedQueue(reason, older, document, show)


Asked = Annotated[AskedQueue, Depends(asked_queue)]
