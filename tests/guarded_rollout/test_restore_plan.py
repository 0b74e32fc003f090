"""What a restore of data will do, decided on real stores and before anything is changed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from guarded_rollout.errors import (
    ExactUnsupportedError,
    JournalDamagedError,
    MergeUnsupportedError,
    NoDataError,
    StoreKeptError,
    StoreProgramError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.store_file import StoreFile
from guarded_rollout.host.stores import PostgresqlStore
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.steps.base import Data, Options
from guarded_rollout.rollout.steps.restore_data import say_what_became
from guarded_rollout.rollout.steps.restore_plan import (
    REUNITED,
    damage,
    exchanged_first,
    left_aside,
    require_possible,
)
from guarded_rollout.secret import Secret
from tests.guarded_rollout.advicekit import production
from tests.guarded_rollout.backups import Project

URLS = {
    "sqlite": "sqlite:///environments/production/data/dhash.db",
    "commands": "mysql://db.internal/pictures",
    "postgresql": "postgresql://ann@db.internal/pictures",
    "none": "",
}


def site(
    folder: Path, kind: str = "sqlite", *, release: Release | None = None, **commands: str
) -> tuple[Site, Release]:
    """An environment with a store of this kind, and a release that can do these commands."""
    release = release or Project(folder, rows=5).subject.release
    url = f'store = "{URLS[kind]}"\n' if URLS[kind] else ""
    told = "".join(f"{name} = {list(words.split())}\n" for name, words in commands.items())
    more = f"[service]\nname = 'pictures'\n[service.store]\nkind = '{kind}'\n"
    found = Site(production(folder, f"{url}{more}[service.commands]\nserve = ['x']\n{told}"))
    found.prepare()
    return found, release


def file_of(found: Site) -> StoreFile:
    return StoreFile(found.environment.data / "dhash.db")


def spoil(store: StoreFile) -> None:
    store.path.write_bytes(b"no database" * 1000)


def test_sqlite_decides_what_is_damaged_and_not_the_release(tmp_path: Path) -> None:
    found, release = site(tmp_path, store_check="false")
    assert damage(found, release) == ""
    spoil(file_of(found))
    assert "not a database" in damage(found, release)
    file_of(found).path.unlink()
    assert damage(found, release) != ""


@pytest.mark.parametrize(("check", "seen"), [("false", True), ("true", False), ("", False)])
def test_a_release_that_calls_the_store_damaged_has_it_looked_at_thoroughly(
    tmp_path: Path, check: str, seen: bool
) -> None:
    """An index that lacks a row is seen by that look alone."""
    found, release = site(tmp_path, **({"store_check": check} if check else {}))
    without_a_row(file_of(found).path)
    assert bool(damage(found, release)) is seen


def without_a_row(path: Path) -> None:
    """Have an index say that it is of another column than it is."""
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.executescript("CREATE TABLE some (name, other); CREATE INDEX by_name ON some (name);")
        store.execute("INSERT INTO some VALUES ('a', 'b')")
        store.execute("PRAGMA writable_schema = ON")
        other = "CREATE INDEX by_name ON some (other)"
        store.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'by_name'", (other,))


@pytest.mark.parametrize("kind", ["none", "commands"])
def test_what_is_no_file_has_no_damage_that_anybody_could_mend(tmp_path: Path, kind: str) -> None:
    assert damage(*site(tmp_path, kind)) == ""


def test_the_store_is_exchanged_first_where_nothing_can_run_on_it(tmp_path: Path) -> None:
    found, release = site(tmp_path)
    for warm in (True, False):
        assert exchanged_first(found, release, Data.EXACT, warm=warm)
        assert not exchanged_first(found, release, Data.MERGE, warm=warm)
    spoil(file_of(found))
    assert exchanged_first(found, release, Data.MERGE, warm=False)
    assert not exchanged_first(found, release, Data.MERGE, warm=True)
    assert not exchanged_first(found, release, Data.NONE, warm=False)


def test_data_that_a_release_cannot_bring_back_is_refused(tmp_path: Path) -> None:
    options = {data: Options(backup="b.zip", data=data) for data in Data}
    none, release = site(tmp_path / "none", "none")
    for data in (Data.MERGE, Data.EXACT):
        with pytest.raises(NoDataError):
            require_possible(none, release, options[data])
    server, release = site(tmp_path / "server", "commands", store_merge="true")
    require_possible(server, release, options[Data.MERGE])
    with pytest.raises(ExactUnsupportedError):
        require_possible(server, release, options[Data.EXACT])
    file, release = site(tmp_path / "file")
    require_possible(file, release, options[Data.EXACT])
    with pytest.raises(MergeUnsupportedError):
        require_possible(file, release, options[Data.MERGE])
    for one in (none, server, file):
        require_possible(one, release, options[Data.NONE])


@pytest.mark.parametrize("merge", ["test -d", "false", "no-such-program"])
def test_a_merge_of_dumps_is_tried_on_a_copy_of_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: str
) -> None:
    """On a real server it is in test_stores.py."""
    copies: list[bool] = []

    @contextmanager
    def copied(self: PostgresqlStore, folder: Path, *, rows: bool = True) -> Iterator[Secret]:
        copies.append(rows)
        (folder / "live.dump").mkdir()
        yield Secret("postgresql://ann@db.internal/copy")

    def gone(self: PostgresqlStore, folder: Path, *, rows: bool = True) -> NoReturn:
        raise StoreProgramError(program="pg_dump", database="pictures", reason="the server is gone")

    found, release = site(tmp_path, "postgresql", store_merge=merge)
    monkeypatch.setattr(PostgresqlStore, "copied", copied)
    for data in (Data.NONE, Data.EXACT):
        require_possible(found, release, Options(backup="b.zip", data=data))
    assert copies == []
    merging = Options(backup="b.zip", data=Data.MERGE)
    with nullcontext() if merge == "test -d" else pytest.raises(StoreKeptError):
        require_possible(found, release, merging)
    assert copies == [False]
    monkeypatch.setattr(PostgresqlStore, "copied", gone)
    with pytest.raises(StoreKeptError, match="the server is gone"):
        require_possible(found, release, merging)


def test_what_a_failed_rollback_set_aside_is_left_until_it_is_merged(tmp_path: Path) -> None:
    found, release = site(tmp_path, store_salvage="true")
    store = file_of(found)
    with Journal.open(tmp_path / "journal.db") as journal:
        asides = {}
        for age, outcome in enumerate((*RolloutOutcome, RolloutOutcome.FAILED, None)):
            rollout = journal.begin("production", "rollback", operator="ann", target="x")
            asides[rollout] = store.aside(rollout)
            asides[rollout].touch()
            os.utime(asides[rollout], (1000 - age, 1000 - age))
            if outcome is not None:
                journal.end(rollout, outcome)
        store.aside("nobody").touch()
        failed = [one for one in asides if journal.rollout(one).outcome is RolloutOutcome.FAILED]
        assert left_aside(found, journal, release) == [asides[one] for one in reversed(failed)]
        journal.note(rollout, "store_set_aside", aside=str(asides[failed[1]]))
        for other in ("checked", "watched"):
            journal.note(rollout, other, aside=str(asides[failed[1]]))
        journal.note(rollout, REUNITED, aside=str(asides[failed[0]]))
        for _ in range(200):
            journal.end(rollout, RolloutOutcome.COMPLETED)
            rollout = journal.begin("production", "up", operator="ann", target="x")
        assert left_aside(found, journal, release) == [asides[failed[1]]], "however long ago that was"
        unable, release = site(tmp_path, release=release)  # what it cannot merge it leaves
        assert left_aside(unable, journal, release) == []
        nothing, release = site(tmp_path, "none", release=release)
        assert left_aside(nothing, journal, release) == []


def test_where_nothing_was_set_aside_the_journal_is_not_read(tmp_path: Path) -> None:
    """Traffic may be waiting."""
    found, release = site(tmp_path, store_salvage="true")
    with Journal.open(tmp_path / "journal.db") as journal:
        pass
    with pytest.raises(JournalDamagedError):
        journal.history()
    assert left_aside(found, journal, release) == []


@pytest.mark.parametrize("exact", [True, False])
def test_a_store_that_was_not_there_is_not_said_to_be_kept(tmp_path: Path, exact: bool) -> None:
    said: list[str] = []
    work = SimpleNamespace(options=Options(backup="b.zip"), say=said.append)
    say_what_became(work, tmp_path / "none", exact)  # type: ignore[arg-type]
    assert said == ["there was no store; it is that of b.zip now"]
