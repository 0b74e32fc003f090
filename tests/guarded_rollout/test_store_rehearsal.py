"""A candidate's commands on a copy of the store: which are run, of whom, and what they are held to."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guarded_rollout.checks.store_rehearsal import rehearse_commands
from guarded_rollout.errors import CommandError, OperatorCommandError
from guarded_rollout.host.site import CommandResult
from guarded_rollout.secret import Secret

STABLE, CANDIDATE = SimpleNamespace(id="stable"), SimpleNamespace(id="candidate")
ROWS = 20


class Service:
    """The commands of two releases on real SQLite files; a merge leaves out the table `session`.

    `loses` is how many pictures the candidate's merge drops; `fails` are commands that fail, by release.
    """

    def __init__(
        self, folder: Path, *, sessions: int = 0, loses: int = 0, fails: tuple[str, ...] = ()
    ) -> None:
        live = folder / "live.db"
        self.environment = SimpleNamespace(root=folder, store=Secret(f"sqlite:///{live}"))
        self.loses, self.fails, self.asked = loses, fails, []
        self._make(live)
        with closing(sqlite3.connect(live)) as store, store:
            store.executemany("INSERT INTO picture VALUES (?)", [(number,) for number in range(ROWS)])
            store.executemany("INSERT INTO session VALUES (?)", [(number,) for number in range(sessions)])

    def has(self, release: Any, name: str) -> bool:
        return True

    def require(self, release: Any, name: str, *words: str, store: str = "") -> CommandResult:
        result = self.command(release, name, *words, store=store)
        if not result.ok:
            raise CommandError(name=name, command=name, release=release.id, reason=result.reason())
        return result

    def command(self, release: Any, name: str, *words: str, store: str = "") -> CommandResult:
        self.asked.append(f"{release.id} {name}")
        if f"{release.id} {name}" in self.fails:
            return CommandResult(False, "", f"{name} is broken")
        path = Path((store or self.environment.store.reveal()).partition(":///")[2])
        if name == "schema_upgrade":
            self._make(path)
        elif name == "store_snapshot":
            shutil.copyfile(path, words[0])
        elif name == "store_merge":
            kept = ROWS - (self.loses if release is CANDIDATE else 0)
            with closing(sqlite3.connect(path)) as into, into:
                into.execute("ATTACH ? AS other", (words[0],))
                into.execute("INSERT INTO picture SELECT * FROM other.picture LIMIT ?", (kept,))
        return CommandResult(True, "", "")

    @staticmethod
    def _make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as store, store:
            for table in ("picture", "session"):
                store.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER)")

    def rehearse(self) -> dict[str, object]:
        return rehearse_commands(self, CANDIDATE, STABLE)  # type: ignore[arg-type]


def test_of_a_sound_candidate_stable_is_asked_for_nothing_but_the_copy(tmp_path: Path) -> None:
    service = Service(tmp_path)
    assert service.rehearse() == {"rehearsed": True, "rows": ROWS}
    assert [one for one in service.asked if one.startswith("stable")] == ["stable store_snapshot"]
    assert {one.partition(" ")[2] for one in service.asked if one.startswith("candidate")} == {
        "store_check", "store_snapshot", "store_merge", "schema_plan", "schema_upgrade",
    }  # fmt: skip


def test_rows_that_stable_merges_neither_are_not_missed(tmp_path: Path) -> None:
    service = Service(tmp_path, sessions=3)
    assert service.rehearse() == {"rehearsed": True, "rows": ROWS}
    assert "stable store_merge" in service.asked


@pytest.mark.parametrize("sessions", [0, 3])
def test_a_merge_that_loses_rows_is_held_to_what_stable_restores(tmp_path: Path, sessions: int) -> None:
    with pytest.raises(OperatorCommandError, match="19 of 20 rows of picture"):
        Service(tmp_path, loses=1, sessions=sessions).rehearse()


def test_a_store_that_stable_finds_damaged_too_is_no_fault_of_the_candidate(tmp_path: Path) -> None:
    broken = ("candidate store_check", "stable store_check")
    with pytest.raises(OperatorCommandError, match="finds a sound store damaged: store_check is broken"):
        Service(tmp_path, fails=broken[:1]).rehearse()
    again = tmp_path / "again"
    again.mkdir()
    assert Service(again, fails=broken).rehearse()["rehearsed"]


@pytest.mark.parametrize("name", ["schema_plan", "schema_upgrade", "store_snapshot", "store_merge"])
def test_a_command_that_fails_stops_the_candidate(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorCommandError, match=f"{name} is broken"):
        Service(tmp_path, fails=(f"candidate {name}",)).rehearse()
