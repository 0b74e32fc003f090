"""Services with a review queue, on each database in turn."""

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from dhash_service.facts import Role, Sha256, Source, Token, new_id
from dhash_service.store.migrate import upgrade
from dhash_service.store.store import Store
from tests.dhash_service.queues import FAST, fill
from tests.dhash_service.serving import Server, serving
from tests.dhash_service.store.databases import fresh_database
from tests.dhash_service.web.browsing import Browsing
from tests.leftovers import owned_folder

DOCUMENT = Sha256("cd" * 32)


def new_token(store: Store, name: str, role: str) -> str:
    """What `dhash token create` does, without a process of its own; the secret."""
    secret = f"dhash_{secrets.token_urlsafe(32)}"
    digest = Sha256(hashlib.sha256(secret.encode()).hexdigest())
    store.add_token(Token(new_id(), name, Role(role), digest, "test-1", datetime.now(UTC))).result(10)
    return secret


@dataclass
class Reviewed:
    """A running service, its store (to look into), and the lookups that wait, oldest first."""

    server: Server
    store: Store
    waiting: list[UUID]

    def token(self, name: str, role: str = "reviewer") -> str:
        """A fresh token's secret."""
        return new_token(self.store, name, role)

    def signed_in(self, name: str, role: str = "reviewer") -> Browsing:
        """A browser of somebody with a fresh token."""
        browsing = Browsing(self.server.url)
        assert browsing.sign_in(self.token(name, role)).status_code == 200
        return browsing


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def reviewed(request: pytest.FixtureRequest) -> Iterator[Reviewed]:
    """A service of each database with 24 pairs: 20 of small margin, four of a document and low quality."""
    folder = owned_folder("wb")
    try:
        if request.param == "postgres":
            with fresh_database(request.getfixturevalue("postgres")) as url:
                yield from _reviewed(folder, url)
        else:
            yield from _reviewed(folder, f"sqlite:///{folder / 'dhash.db'}")
    finally:
        shutil.rmtree(folder)


def _reviewed(folder: Path, url: str) -> Iterator[Reviewed]:
    upgrade(url, release="test-1")
    with (
        Store.open(url, release="test-1", algorithm=FAST) as store,
        serving(folder, store=url, lease_seconds=60) as server,
    ):
        waiting = fill(store, 20, "small_margin")
        source = Source(DOCUMENT, 3, (10.0, 20.0, 210.0, 120.0))
        waiting += fill(store, 4, "low_quality", source=source, first=20)
        yield Reviewed(server, store, waiting)


@pytest.fixture
def alone(reviewed: Reviewed) -> Iterator[Callable[..., Browsing]]:
    """Signs browsers in, as reviewers; what they had before them is free again afterwards."""
    made: list[Browsing] = []

    def sign_in(name: str, role: str = "reviewer") -> Browsing:
        made.append(reviewed.signed_in(name, role))
        return made[-1]

    yield sign_in
    for browsing in made:
        browsing.client.post("/sign-out", data={"csrf": browsing.csrf})
        browsing.client.close()
