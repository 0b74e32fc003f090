"""Real databases and an object store for the tests: a SQLite file, and servers of the session's own."""

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from dhash_service.facts import Algorithm
from dhash_service.objects import object_store
from dhash_service.store.migrate import upgrade
from dhash_service.store.store import Store
from tests.dhash_service.store.databases import fresh_database, postgres_server, sqlite_file
from tests.guarded_rollout.storage import KEY, SECRET, s3_server

FAST = Algorithm("dhash-64-fast", 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, up to its database's name."""
    with postgres_server(durable=False) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_with_schema(postgres: str) -> Iterator[str]:
    """The name of a database that has the schema and nothing else: copying it is faster than migrating."""
    with fresh_database(postgres) as url:
        upgrade(url, release="r0")
        yield psycopg.conninfo.conninfo_to_dict(url)["dbname"]  # type: ignore[misc]


@pytest.fixture
def postgres_url(postgres: str, postgres_with_schema: str) -> Iterator[str]:
    """A store of the test's own on the session's server, without facts."""
    with fresh_database(postgres, postgres_with_schema) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store without facts, on each database in turn."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return sqlite_file(tmp_path / "dhash.db")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without even a schema, on each in turn."""
    if request.param == "postgres":
        with fresh_database(request.getfixturevalue("postgres")) as url:
            yield url
    else:
        yield f"sqlite:///{tmp_path / 'dhash.db'}"


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


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The environment of whoever asks an object store that is empty at first; this process has it too."""
    with tempfile.TemporaryDirectory(prefix="dhash-s3-") as folder, s3_server(Path(folder, "s3")) as place:
        env = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": place.endpoint,
            "AWS_REGION": "us-east-1",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            yield env


@pytest.fixture
def bucket(s3: dict[str, str]) -> str:
    """The URL of a folder of the test's own. One bucket for all: each takes volumes of the server's."""
    object_store("s3://pictures").put("made", b"")  # as a server makes a bucket: by the first file
    return f"s3://pictures/{uuid.uuid4()}"
