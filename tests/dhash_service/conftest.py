"""Real databases for the tests: a SQLite file, and a PostgreSQL server of the session's own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dhash_service.facts import Algorithm
from dhash_service.store import Store
from tests.dhash_service.databases import fresh_database, postgres_server

FAST = Algorithm("dhash-64-fast", 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, up to its database's name."""
    with postgres_server(durable=False) as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """A database of the test's own on the session's server."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dhash.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[..., Store]]:
    """Opens the test's store, as any release, as often as wanted; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(release: str = "r1", url: str = store_url, **options: object) -> Store:
            given = {"migrate": True, "algorithm": FAST, "lock_seconds": 5.0} | options
            return stack.enter_context(Store.open(url, release=release, **given))  # type: ignore[arg-type]

        yield open_one


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    """An open, empty store, on each database in turn."""
    return open_store()
