"""A PostgreSQL database: dumped, restored beside and exchanged by PostgreSQL's own programs.

The dump is the directory format of pg_dump (https://www.postgresql.org/docs/current/app-pgdump.html), not
compressed: the archive that it goes into is. The password goes to the programs in their environment, where
no other user's `ps` shows it.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from guarded_rollout.errors import MissingProgramError, StoreProgramError
from guarded_rollout.secret import Secret

CONNECT_SECONDS = 10
NAME_BYTES_MOST = 63  # PostgreSQL's NAMEDATALEN less one


@dataclass(frozen=True, slots=True)
class LogShipping:
    """Where a server's write-ahead log goes: to an archive, how many seconds ago last (None: never), whether
    the newest attempt failed, and to how many standbys."""

    archives: bool
    seconds: float | None
    fails: bool
    standbys: int


SHIPPING = """
SELECT current_setting('archive_mode') <> 'off', extract(epoch FROM now() - last_archived_time),
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
       (SELECT count(*) FROM pg_stat_replication)
FROM pg_stat_archiver"""

ALIKE = """
WITH old AS (SELECT * FROM pg_database WHERE datname = {old}),
settings AS (
    SELECT split_part(each, '=', 1) AS said, substr(each, strpos(each, '=') + 1) AS value
    FROM old JOIN pg_db_role_setting ON setdatabase = oid AND setrole = 0, unnest(setconfig) AS each
)
SELECT format('ALTER DATABASE %I SET %I TO %s', {new}, said, CASE
    WHEN said IN ('search_path', 'temp_tablespaces') AND value <> '' THEN value ELSE quote_literal(value) END)
FROM settings LEFT JOIN pg_settings ON name = said
WHERE coalesce(context, 'user') = 'user' AND strpos(value, chr(10)) = 0
UNION ALL
SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', {new}, datconnlimit) FROM old WHERE datconnlimit >= 0
UNION ALL
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', {new}) FROM old WHERE datacl IS NOT NULL
UNION ALL
SELECT format('GRANT %s ON DATABASE %I TO %s%s', privilege_type, {new},
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM old, aclexplode(datacl) WHERE grantee <> datdba"""
"""Asks for the statements that give a new database the rights of an old one, and its settings as far as every
user may make them. A dump holds what is in a database, not these.
"""


PRIMARY_KEYS = r"""
SELECT format('%I.%I', spaces.nspname, tables.relname) || chr(31)
       || string_agg(format('%I', columns.attname), ', ' ORDER BY columns.attnum)
FROM pg_index keys JOIN pg_class tables ON tables.oid = keys.indrelid
JOIN pg_namespace spaces ON spaces.oid = tables.relnamespace AND spaces.nspname NOT LIKE 'pg\_%'
JOIN pg_attribute columns ON columns.attrelid = tables.oid AND columns.attnum = ANY (keys.indkey)
WHERE keys.indisprimary GROUP BY spaces.nspname, tables.relname"""
"""A line for each table: its name, the unit separator, and the columns."""


@dataclass(frozen=True, slots=True)
class PostgresqlDatabase:
    """A database by its URL; a driver in it (`postgresql+psycopg://`) is left out. `programs` is a folder."""

    url: Secret
    programs: str = ""
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", unquote(urlsplit(self.url.reveal()).path.lstrip("/")))

    def at(self, name: str) -> Secret:
        """The URL of another database of this server."""
        parts = urlsplit(self.url.reveal())
        return Secret(_url(parts.scheme, parts.netloc, name, parts.query))

    def beside(self, what: str) -> str:
        """The name of a database that belongs to this one, as long as PostgreSQL allows."""
        room = NAME_BYTES_MOST - len(what.encode()) - 1
        return f"{self.name.encode()[:room].decode(errors='ignore')}_{what}"

    def exists(self, name: str) -> bool:
        return self._ask(f"SELECT 1 FROM pg_database WHERE datname = {_text(name)}") == "1"

    def may_create(self) -> bool:
        """True if this user may create databases, which bringing data back needs."""
        return self._ask("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user") == "t"

    def shipping(self) -> LogShipping:
        """Ask where the server's log goes; it needs no rights. Raises `StoreProgramError`."""
        archives, seconds, fails, standbys = self._ask(SHIPPING).split("|")
        return LogShipping(archives == "t", float(seconds) if seconds else None, fails == "t", int(standbys))

    def dump(self, to: Path, *, rows: bool = True) -> None:
        """Write one moment of the database, or of its schema alone, into a new folder.

        Raises `StoreProgramError`.
        """
        what = () if rows else ("--schema-only",)
        self._run("pg_dump", "-Fd", "-Z0", "--no-sync", *what, "-f", str(to), "-d", self._conninfo(self.name))

    def row_counts(self) -> dict[str, int]:
        """Return the rows of each table, by its name with its schema. Raises `StoreProgramError`."""
        tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN"
        told = self._ask(f"{tables} ('pg_catalog', 'information_schema')", of=self.name)
        named = list(filter(None, told.split("\n")))
        counted = self._ask(*(f"SELECT count(*) FROM {name}" for name in named), of=self.name)
        return dict(zip(named, map(int, counted.split()), strict=True))

    def restore(self, snapshot: Path, name: str) -> None:
        """Make a new database of a dump; one of this name that is there gives way."""
        self.drop(name)
        self.create(name)
        into = ("--exit-on-error", "--no-owner", "--single-transaction")
        self._run("pg_restore", *into, "-d", self._conninfo(name), str(snapshot))

    def create(self, name: str) -> None:
        """Make an empty database as this one is."""
        columns = "pg_encoding_to_char(encoding), datcollate, datctype"
        told = self._ask(f"SELECT {columns} FROM pg_database WHERE datname = {_text(self.name)}")
        made = f"CREATE DATABASE {_name(name)} TEMPLATE template0"
        if told:
            encoding, collate, ctype = map(_text, told.split("|"))
            made += f" ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}"
        self._ask(made)

    def exchange(self, new: str, aside: str) -> None:
        """Give a new database this one's name, settings and rights, and this one another name, at once.

        Nobody may be connected: whoever is, is disconnected.
        """
        alike = self._ask(ALIKE.format(old=_text(self.name), new=_text(new))).split("\n")
        renames = [f"ALTER DATABASE {_name(new)} RENAME TO {_name(self.name)}"]
        for name in (self.name, new):
            if self.exists(name):
                self._close(name)
        if self.exists(self.name):
            renames.insert(0, f"ALTER DATABASE {_name(self.name)} RENAME TO {_name(aside)}")
        try:
            self._ask(*filter(None, alike), *renames, whole=True)
        finally:
            for name in (self.name, aside, new):
                if self.exists(name):
                    self._ask(f"ALTER DATABASE {_name(name)} ALLOW_CONNECTIONS true")

    def drop(self, name: str) -> None:
        """Remove a database that belongs to this one, whoever is connected to it."""
        self._ask(f"DROP DATABASE IF EXISTS {_name(name)} WITH (FORCE)")

    def keep_keys(self) -> dict[str, tuple[str, str]]:
        """Note beside the tables which rows there are; for `gone`. Only for a copy that is thrown away.

        Returns the columns of each table's primary key, and the table that holds them. Raises
        `StoreProgramError`.
        """
        told = (line.partition("\x1f") for line in self._ask(PRIMARY_KEYS, of=self.name).split("\n") if line)
        kept = {
            table: (columns, f"rollout_before.keys_{number}")
            for number, (table, _, columns) in enumerate(told)
        }
        made = (
            f"CREATE TABLE {keys} AS SELECT {columns} FROM {table}" for table, (columns, keys) in kept.items()
        )
        self._ask("CREATE SCHEMA rollout_before", *made, of=self.name)
        return kept

    def gone(self, kept: Mapping[str, tuple[str, str]]) -> dict[str, int]:
        """Return how many of the rows that were kept in mind each table has no more."""
        counted = self._ask(
            *(
                f"SELECT count(*) FROM (SELECT * FROM {keys} EXCEPT SELECT {columns} FROM {table}) AS gone"
                for table, (columns, keys) in kept.items()
            ),
            of=self.name,
        )
        return dict(zip(kept, map(int, counted.split()), strict=True))

    def _close(self, name: str) -> None:
        self._ask(
            f"ALTER DATABASE {_name(name)} ALLOW_CONNECTIONS false",
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = {_text(name)} AND pid <> pg_backend_pid()",
        )

    def _ask(self, *statements: str, whole: bool = False, of: str = "postgres") -> str:
        """Run statements in a database, by default the server's own; `whole` in one transaction.

        Returns their answers, a line for each row.
        """
        words = [word for statement in statements for word in ("-c", statement)]
        once = ("-1",) if whole else ()
        where = ("-d", self._conninfo(of))
        return self._run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *once, *where, *words).strip()

    def _conninfo(self, name: str) -> str:
        """The URL for libpq, without the password."""
        parts = urlsplit(self.url.reveal())
        user, _, host = parts.netloc.rpartition("@")
        plain = f"{user.partition(':')[0]}@{host}" if user else host
        return _url("postgresql", plain, name, parts.query)

    def _run(self, program: str, *words: str) -> str:
        command = [self._program(program), *words]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
            raise StoreProgramError(program=program, database=self.name, reason=said or "it said nothing")
        return done.stdout

    def _program(self, name: str) -> str:
        found = shutil.which(name, path=self.programs or None)
        if found is None:
            raise MissingProgramError(name=name)
        return found

    def _environment(self) -> Mapping[str, str]:
        password = urlsplit(self.url.reveal()).password
        return {
            **os.environ,
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
            **({"PGPASSWORD": unquote(password)} if password else {}),
        }


def _url(scheme: str, netloc: str, name: str, query: str) -> str:
    """A URL of a database; `urlunsplit` leaves `//` out where there is no host."""
    return f"{scheme}://{netloc}/{quote(name, safe='')}" + (f"?{query}" if query else "")


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
