"""Connections: how each database is opened, how a transaction begins, and what its errors mean.

Readers see one consistent moment and never wait for a writer. A writer holds the store's one write lock from
its first statement to its commit, so that rows are numbered in the order in which they become visible.
"""

import logging
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from dhash_service.errors import (
    BadRequestError,
    BusyError,
    DhashError,
    SettingError,
    StoreDamagedError,
    StoreDemotedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreSchemaError,
    StoreUnconfirmedError,
    StoreUnreachableError,
)

LOCK_SECONDS = 30.0
"""Seconds that a writer waits for another process before it gives up."""

UNSTORABLE = "It holds a character or a number that no row can hold."

READ_ONLY = (
    "Readers write beside the file, too. Let this user write to it and its folder, or ask a copy of it."
)
"""What to do about a file that may only be read: nobody else would tell this reader of a commit."""

SCRUB_SECONDS, SCRUB_TRIES = 0.25, 4
"""How long nobody may write while the log is to be emptied, and how often that is tried."""

WRITE_LOCK = 0x6468_6173_6800_0001
"""PostgreSQL advisory lock that every writer of a store holds ("dhash" in ASCII)."""

POOLED = "pooled"
"""In a connection's `info`: whether a pooler (PgBouncer) stands between, so that no session is its own.

The server's process is then another than the one that greeted. Nothing may be set or prepared for longer than
a transaction: the next one may run in another session, and what was set would go to strangers.
"""

LIVELINESS = {
    "connect_timeout": 10,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Seconds (`tcp_user_timeout`: milliseconds) after which a PostgreSQL server that is silent is given up.

Without them, a connection to a machine that is gone waits for minutes. The URL may say otherwise.
"""

CHANNEL = "dhash_committed"
"""PostgreSQL channel on which each commit is told, with the sender as the payload."""

TIMELINE = """CASE WHEN pg_is_in_recovery() THEN -(SELECT timeline_id FROM pg_control_checkpoint())
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END"""
"""The timeline of a PostgreSQL server, another after each promotion, and negative on a standby.

Anybody may ask for it.
"""

DEMOTED = ("25006", "0A000")
"""SQLSTATEs of a write, and of a transaction that is begun to write, on a PostgreSQL standby."""

ON_TIMELINE = "timeline"
"""Key of the timeline of the server that a PostgreSQL connection leads to."""

UNCONFIRMED = "unconfirmed"
"""Key of what a PostgreSQL connection says where a commit no longer waits for its standby."""

MEGABYTE = 1024**2

UNHURRIED = """SELECT set_config(name, '0', {local}) FROM pg_settings
    WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"""

# It warns of each pipeline that an error ends. We raise that error.
logging.getLogger("psycopg").setLevel(logging.ERROR)


def parse_url(url: str) -> URL:
    """The URL with its driver made explicit. Raises `SettingError` for what no store can live in."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingError("DHASH_STORE is not a database URL.") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SettingError(
            f"DHASH_STORE: {backend} is not supported.", "Use sqlite:///PATH or postgresql://…"
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise SettingError("DHASH_STORE: a SQLite store is a file.", "Use sqlite:///PATH.")
    return parsed.set(drivername="sqlite+pysqlite")


def sqlite_path(url: URL) -> Path | None:
    """The store's file, where it has one."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def connect(url: str, *, lock_seconds: float = LOCK_SECONDS, foreign_keys: bool = True) -> Engine:
    """An engine for the store at this URL; nothing is opened yet. Raises `SettingError`."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(parsed, lock_seconds, foreign_keys)
    return _connect_postgresql(parsed, lock_seconds)


def _connect_sqlite(url: URL, lock_seconds: float, foreign_keys: bool) -> Engine:
    # Threads that read at once each need a connection; an idle one costs a file handle and a small cache.
    engine = create_engine(
        url, connect_args={"timeout": lock_seconds}, pool_size=8, max_overflow=32, pool_timeout=10
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transactions begin late and leave DDL outside: begin by hand, below.
        connection.isolation_level = None
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # only an erasure deletes: zeros take its place
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        connection.execute(f"PRAGMA journal_size_limit = {64 * MEGABYTE}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        # A writer that begins as a reader cannot be promoted once another process has written.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _connect_postgresql(url: URL, lock_seconds: float) -> Engine:
    try:
        engine = create_engine(
            url,
            connect_args={name: value for name, value in LIVELINESS.items() if name not in url.query},
            isolation_level="READ COMMITTED",
            pool_size=8,
            max_overflow=8,
            pool_timeout=10,
            pool_pre_ping=True,
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        raise SettingError(
            "DHASH_STORE: the PostgreSQL driver is not installed.", "Install `mobius-dhash[postgres]`."
        ) from None

    session, transaction = (_guarded(lock_seconds, local=local) for local in (False, True))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: ConnectionPoolEntry) -> None:
        def note(said: Any) -> None:
            if said.source_function == "SyncRepWaitForLSN":
                record.info[UNCONFIRMED] = said.message_primary

        connection.add_notice_handler(note)
        with connection.cursor() as cursor:
            (server,) = cursor.execute("SELECT pg_backend_pid()").fetchone()
            record.info[POOLED] = pooled = server != connection.info.backend_pid
            if pooled:
                connection.prepare_threshold = None
            else:
                cursor.execute(session)
                cursor.execute("SET jit = off")  # compiling takes longer than any of our statements
        connection.commit()

    engine.update_execution_options(sender=(sender := secrets.token_hex(8)))
    # One trip: the lock, the notification that goes out with the commit, and which server this is.
    lock = f"SELECT pg_advisory_xact_lock({WRITE_LOCK}), pg_notify('{CHANNEL}', '{sender}'), {TIMELINE}"

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Sequences number rows before they are committed; with one writer at a time, both orders agree.
        if connection.get_execution_options().get("writes"):
            if connection.info[POOLED]:
                connection.exec_driver_sql(transaction)
            connection.info[ON_TIMELINE] = connection.exec_driver_sql(lock).one()[2]

    return engine


def _guarded(lock_seconds: float, *, local: bool) -> str:
    """The statement that has waiting for locks end, and commits kept whatever the server's default.

    A stricter default stays. `local`: for one transaction.
    """
    return (
        f"SELECT set_config('lock_timeout', '{max(1, round(lock_seconds * 1000))}', {local}),"
        " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
        f" WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, {local})"
    )


def timeline_of(connection: Connection) -> int:
    """The timeline of the server that this transaction writes to; 0 on SQLite."""
    return int(connection.info.get(ON_TIMELINE, 0))


def sender_of(engine: Engine) -> str:
    """The name by which what this engine commits is told from what others do."""
    return str(engine.get_execution_options()["sender"])


@contextmanager
def existing(url: str) -> Iterator[Engine]:
    """An engine for a store that is there. Raises `StoreSchemaError` rather than making an empty file."""
    engine = connect(url)
    try:
        if (path := sqlite_path(engine.url)) and not path.exists():
            raise StoreSchemaError(f"There is no store at {path}.", "Run `dhash db upgrade`.")
        yield engine
    finally:
        engine.dispose()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment of the store. Raises `StoreError`."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with translated(), engine.connect().execution_options(**options) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """The transaction of the store's one writer at this time, durable on return. Raises `StoreError`."""
    with translated(), engine.connect() as connection:
        connection.execution_options(writes=True)  # of an engine's options, a new engine would be made
        connection.info.pop(UNCONFIRMED, None)
        try:
            with connection.begin():
                yield connection
        except Exception as error:
            if demoted(error):
                engine.dispose()  # every connection leads to the same server
            raise
        if said := connection.info.pop(UNCONFIRMED, None):
            raise StoreUnconfirmedError(f"PostgreSQL says: {said}.")


def demoted(error: BaseException) -> bool:
    """True of the error of a PostgreSQL server that takes no writes."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) in DEMOTED


def unhurried(connection: Connection, *, local: bool = True) -> None:
    """Let work that takes as long as the store is large end, whatever limit PostgreSQL has for statements.

    For the transaction that is open, or (not `local`) for a session that nobody uses afterwards.
    """
    if connection.dialect.name == "postgresql" and (local or not connection.info[POOLED]):
        connection.exec_driver_sql(UNHURRIED.format(local=local))


def scrub(engine: Engine) -> None:
    """Let go of what the database still has of removed rows: SQLite's log, PostgreSQL's dead rows.

    A reader that is at work may keep the log from being emptied, as litestream always does; then it is
    written over later. Nobody writes while it is waited for, so that is short.
    """
    with translated():
        if engine.dialect.name == "sqlite":
            with closing(engine.raw_connection()) as connection:
                _empty_log(connection.cursor())
        else:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.detach()
                unhurried(connection, local=False)
                connection.exec_driver_sql("VACUUM")


def _empty_log(cursor: Any) -> None:
    (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    cursor.execute(f"PRAGMA busy_timeout = {round(SCRUB_SECONDS * 1000)}")
    try:
        for _ in range(SCRUB_TRIES):
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            time.sleep(SCRUB_SECONDS)  # whoever waits to write, writes
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {patience}")


@contextmanager
def translated() -> Iterator[None]:
    """Tell the databases' errors as ours where the cause is the store, or the question; others pass."""
    try:
        yield
    except PoolTimeoutError:
        raise BusyError("Every connection to the store is in use.") from None
    except (UnicodeEncodeError, OverflowError) as error:  # half a character, and a number beyond SQLite's
        raise BadRequestError(UNSTORABLE, "Send it without.") from error
    except Exception as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, sqlite3.Error) and not type(cause).__module__.startswith("psycopg"):
            raise
        meant: DhashError | None
        meant = _sqlite_meaning(cause) if isinstance(cause, sqlite3.Error) else _postgresql_meaning(cause)
        if meant is None:
            raise
        raise meant from error


def _sqlite_meaning(error: sqlite3.Error) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreLockedError("Another process holds the database.")
        case sqlite3.SQLITE_FULL:
            return StoreFullError("The disk is full.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreDamagedError(f"SQLite says: {error}.")
        case sqlite3.SQLITE_IOERR:  # a limit on the file's size, or a failing disk
            return StoreFullError(f"The file cannot be written or read ({error}).")
        case sqlite3.SQLITE_READONLY:
            return StoreUnreachableError(f"SQLite says: {error}.", READ_ONLY)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreUnreachableError(f"SQLite says: {error}.")
    if code is None and "decode to UTF-8" in str(error):  # Python's own: a bit of a text has changed
        return StoreDamagedError(f"SQLite says: {error}.")
    if "no such table" in str(error) or "no such column" in str(error):
        return StoreSchemaError(f"SQLite says: {error}.")
    return None


def _postgresql_meaning(error: BaseException | None) -> DhashError | None:
    state = getattr(error, "sqlstate", None)
    said = str(error).strip().partition("\n")[0]
    if state == "22003" or (state is None and type(error).__name__ == "DataError"):  # psycopg sends no NUL
        return BadRequestError(UNSTORABLE, "Send it without.")
    match state:
        case "55P03" | "40P01":
            return StoreLockedError(f"PostgreSQL says: {said}.")
        case "57014":
            advice = "Do it again; where that does not help, raise the server's statement_timeout."
            return StoreLockedError(f"PostgreSQL says: {said}.", advice)
        case "42501":
            advice = "Grant the user in DHASH_STORE what it lacks, or have the store's owner do this."
            return StoreError(f"PostgreSQL says: {said}.", advice)
        case "25006" | "0A000":
            return StoreDemotedError(f"PostgreSQL says: {said}.")
        case "53100" | "54000":
            return StoreFullError(f"PostgreSQL says: {said}.")
        case "42P01" | "42703":
            return StoreSchemaError(f"PostgreSQL says: {said}.")
        case "XX001" | "XX002":
            return StoreDamagedError(f"PostgreSQL says: {said}.")
    closed = state is None and type(error).__name__ in ("OperationalError", "InterfaceError")
    timed_out = state in ("25P03", "25P04")  # the server ends what is idle, or a transaction that lasts
    if closed or timed_out or (state or "")[:2] in ("08", "28", "3D", "53", "57", "58"):
        return StoreUnreachableError(f"PostgreSQL says: {said}.")
    return None
