"""The schema's way up and down: one revision, one transaction, one process at a time.

Every step reads where the store stands inside the transaction that takes the next step, under the writers'
lock. So two processes that upgrade at once take turns, and a step that fails leaves the last good revision.

Alembic, half of what a command would import, is imported where there is a revision to run.
"""

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, delete, insert
from sqlalchemy.exc import DBAPIError

from dhash_service.errors import MigrationError, StoreLockedError, StoreLossError, StoreSchemaError
from dhash_service.store.effects import Shape, breaks, destructive, lost, shape_after, statements
from dhash_service.store.engine import (
    LOCK_SECONDS,
    connect,
    existing,
    parse_url,
    sqlite_path,
    translated,
    unhurried,
    writing,
)
from dhash_service.store.schema import KNOWN, Applied, Kind, Revision, applied, current
from dhash_service.store.tables import schema_revisions

if TYPE_CHECKING:
    from alembic.config import Config

BRIEFLY = 1.0
"""Seconds that a step on PostgreSQL waits for a table. Every reader that comes later waits behind it: while a
copy takes a minute, it lets go and tries again rather than stop the service for a minute."""

MIGRATIONS = Path(__file__).parent / "migrations"

# Alembic tells every step at INFO, as if its lines were meant for our users.
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Script(Revision):
    """A revision with its code."""

    module: ModuleType


class Migrations:
    """The revisions in a folder, oldest first, in one line without branches."""

    def __init__(self, folder: Path = MIGRATIONS) -> None:
        from alembic.script import ScriptDirectory

        self._config = _config()
        self._config.set_main_option("script_location", str(folder).replace("%", "%%"))
        self._config.set_main_option("path_separator", "os")
        directory = ScriptDirectory.from_config(self._config)
        if len(directory.get_heads()) > 1:
            raise StoreSchemaError(f"The revisions branch: {', '.join(directory.get_heads())}.")
        self.scripts = [
            Script(script.revision, Kind(script.module.kind), script.doc, script.module)
            for script in reversed(list(directory.walk_revisions()))
        ]
        self._shapes: dict[int, Shape] = {}
        self._sql: dict[tuple[str, str], str] = {}

    @property
    def head(self) -> str:
        return self.scripts[-1].id

    def index(self, revision: str) -> int:
        """The number of revisions that a store at this one has had; 0 for `base`."""
        if revision == "base":
            return 0
        for number, script in enumerate(self.scripts, 1):
            if script.id == revision:
                return number
        names = ", ".join(script.id for script in self.scripts)
        raise StoreSchemaError(f"This release knows no revision {revision}.", f"It knows base, {names}.")

    def up(self, connection: Connection, script: Script, release: str) -> None:
        """Apply the next revision inside the caller's transaction."""

        def record(**_: Any) -> None:
            connection.execute(
                insert(schema_revisions).values(
                    revision=script.id,
                    kind=script.kind,
                    message=script.message,
                    release=release,
                    created_at=datetime.now(UTC),
                )
            )

        from alembic import command

        command.upgrade(self._attached(connection, record), script.id)

    def down(self, connection: Connection, script: Script) -> None:
        """Take the newest revision back inside the caller's transaction."""
        from alembic import command

        number = self.index(script.id)

        def record(**_: Any) -> None:
            if number > 1:  # the first revision takes the table along
                connection.execute(delete(schema_revisions).where(schema_revisions.c.revision == script.id))

        below = self.scripts[number - 2].id if number > 1 else "base"
        command.downgrade(self._attached(connection, record), below)

    def shape(self, number: int) -> Shape:
        """The schema that the first revisions make, so many of them; found out once, for it takes a while."""
        if number not in self._shapes:
            self._shapes[number] = shape_after(self.scripts[:number])
        return self._shapes[number]

    def sql(self, script: Script, dialect: str) -> str:
        """The statements of a revision, as the database will meet them."""
        key = (script.id, dialect)
        if key not in self._sql:
            self._sql[key] = self._statements(script, dialect)
        return self._sql[key]

    def _statements(self, script: Script, dialect: str) -> str:
        number = self.index(script.id)
        if dialect == "sqlite":
            return statements(self.scripts[: number - 1], script)
        from alembic import command

        below = self.scripts[number - 2].id if number > 1 else "base"
        written = io.StringIO()
        config = self._attached(None, None)
        config.attributes["dialect"] = dialect
        config.output_buffer = written
        command.upgrade(config, f"{below}:{script.id}", sql=True)
        return written.getvalue().strip()

    def _attached(self, connection: Connection | None, record: Callable[..., None] | None) -> "Config":
        config = _config()
        for option in ("script_location", "path_separator"):
            config.set_main_option(option, (self._config.get_main_option(option) or "").replace("%", "%%"))
        config.attributes.update(connection=connection, on_version_apply=record)
        return config


@cache
def this_release() -> Migrations:
    """The revisions that this release brings."""
    return Migrations()


def _config() -> "Config":
    from alembic.config import Config

    return Config()


def upgrade(
    url: str,
    target: str | None = None,
    *,
    release: str,
    expand_only: bool = False,
    migrations: Migrations | None = None,
    lock_seconds: float = LOCK_SECONDS,
) -> list[Revision]:
    """Bring a store up, creating it where there is none; returns the revisions this call applied.

    `expand_only` leaves contracting revisions for later, and refuses where an expanding one stands behind
    them, or breaks its word (see `effects`). Raises `StoreSchemaError`, `MigrationError`,
    `StoreLockedError`, `StoreUnreachableError`.
    """
    if (
        migrations is None
        and target is None
        and [one.id for one in current(url)] == [name for name, _ in KNOWN]
    ):
        with existing(url) as standing:
            use_write_ahead_log(standing)
        return []
    migrations = migrations or this_release()
    end = migrations.index(target) if target else len(migrations.scripts)

    def step(connection: Connection) -> Script | None:
        store = applied(connection)
        pending: Sequence[Script] = migrations.scripts[len(known_part(store, migrations)) : end]
        if expand_only:
            pending = expanding(pending)
            require_word_kept(migrations, pending)
        if not pending:
            return None
        with failing_as(pending[0]):
            migrations.up(connection, pending[0], release)
        return pending[0]

    engine = connect(url, lock_seconds=lock_seconds, foreign_keys=False)
    try:
        make_folder(engine)
        done = walk(engine, step, lock_seconds)
        use_write_ahead_log(engine)
        return done
    finally:
        engine.dispose()


def downgrade(
    url: str,
    target: str,
    *,
    accept_loss: bool = False,
    migrations: Migrations | None = None,
    lock_seconds: float = LOCK_SECONDS,
) -> list[Revision]:
    """Take a store down to a revision (or `base`); returns the revisions taken back, newest first.

    Raises `StoreLossError` before anything is changed if rows or values would go, unless `accept_loss`;
    `MigrationError`, `StoreLockedError`.
    """
    migrations = migrations or this_release()
    end = migrations.index(target)

    def step(connection: Connection) -> Script | None:
        store = applied(connection)
        standing = len(known_part(store, migrations))
        if unknown := store[standing:]:
            raise StoreSchemaError(
                f"Revision {unknown[-1].id} came with release {unknown[-1].release}, not this one.",
                "Take it back with that release's `dhash db downgrade`.",
            )
        if standing <= end:
            return None
        # Looked at in the transaction that would cause it: nothing can slip in between.
        if not accept_loss:
            _refuse_loss(connection, migrations, standing, end)
        newest = migrations.scripts[standing - 1]
        with failing_as(newest):
            migrations.down(connection, newest)
        return newest

    if (path := sqlite_path(parse_url(url))) and not path.exists():
        raise StoreSchemaError(f"There is no store at {path}.", "There is nothing to take down.")
    engine = connect(url, lock_seconds=lock_seconds, foreign_keys=False)
    try:
        return walk(engine, step, lock_seconds)
    finally:
        engine.dispose()


@contextmanager
def failing_as(script: Script) -> Iterator[None]:
    """Tell what the database says of a revision in its own words, without the statement's pages."""
    try:
        with translated():
            yield
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise MigrationError(f"{script.id}: {said}.") from error


def walk(engine: Engine, step: Callable[[Connection], Script | None], lock_seconds: float) -> list[Revision]:
    """Take steps, a transaction each, until there is none left to take."""
    done: list[Revision] = []
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            with writing(engine) as connection:
                unhurried(connection)
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(BRIEFLY * 1000)}")
                if (taken := step(connection)) is None:
                    return done
                _keep_references(connection, taken)
            done.append(taken)
        except StoreLockedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(BRIEFLY / 4)  # let those pass who have queued up behind us


def known_part(store: Sequence[Applied], migrations: Migrations) -> Sequence[Applied]:
    """The store's revisions that this release knows. Raises `StoreSchemaError` if they are not a prefix."""
    names = [script.id for script in migrations.scripts]
    known = [revision for revision in store if revision.id in names]
    if [revision.id for revision in known] != names[: len(known)] or known != list(store[: len(known)]):
        raise StoreSchemaError(
            f"The store's history {[revision.id for revision in store]} is not one of this release's.",
            "It was upgraded by a release of another line.",
        )
    return known


def expanding(pending: Sequence[Script]) -> Sequence[Script]:
    """The revisions up to the first contracting one. Raises if an expanding one stands behind it."""
    for number, script in enumerate(pending):
        if script.kind is Kind.CONTRACT:
            if behind := [later.id for later in pending[number:] if later.kind is Kind.EXPAND]:
                raise StoreSchemaError(
                    f"Revision {', '.join(behind)} stands behind {script.id}, which contracts.",
                    "Finish the rollout before it: `dhash db upgrade` once no older release runs.",
                )
            return pending[:number]
    return pending


def broken_word(migrations: Migrations, script: Script) -> list[str]:
    """List what an expanding revision takes from the release before it, or changes under it."""
    if script.kind is Kind.CONTRACT:
        return []
    number = migrations.index(script.id)
    found = breaks(migrations.shape(number - 1), migrations.shape(number))
    return found + destructive("\n".join(migrations.sql(script, name) for name in ("sqlite", "postgresql")))


def require_word_kept(migrations: Migrations, pending: Sequence[Script]) -> None:
    """Raise `StoreSchemaError` if a revision that says it expands does not."""
    for script in pending:
        if found := broken_word(migrations, script):
            raise StoreSchemaError(
                f"Revision {script.id} says that it expands, but {'; '.join(found)}.",
                "State its kind as contract, or leave what the release before it uses.",
            )


def _refuse_loss(connection: Connection, migrations: Migrations, start: int, end: int) -> None:
    if goes := lost(connection, migrations.shape(start), migrations.shape(end)):
        raise StoreLossError(f"It would drop {_listed(goes)}.")


def _listed(goes: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({count:,} rows)" for what, count in goes.items())


def _keep_references(connection: Connection, script: Script) -> None:
    """SQLite rebuilds a table by dropping it, with foreign keys off: look at them before the commit."""
    if connection.dialect.name != "sqlite" or script.kind is Kind.EXPAND:
        return
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(3):
        raise StoreSchemaError(f"Revision {script.id} would leave rows without their parents: {broken}.")


def make_folder(engine: Engine) -> None:
    """Make the folder a new SQLite store will lie in."""
    if path := sqlite_path(engine.url):
        path.parent.mkdir(parents=True, exist_ok=True)


def use_write_ahead_log(engine: Engine) -> None:
    """Let readers of a SQLite store go on while a writer writes. The file remembers it."""
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        if driver.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            driver.execute("PRAGMA journal_mode = WAL")
