"""`dhash db`, as operators and the rollout call it, on both databases."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from dhash_service.cli import db
from dhash_service.cli.app import app
from dhash_service.errors import StoreDamagedError, StoreError, StoreLossError, StoreSchemaError
from dhash_service.facts import Sha256, Source
from dhash_service.store.schema import KNOWN
from dhash_service.store.store import Store
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import FAST, NEW, add, picture
from tests.waiting import wait_until

EACH = [name for name, _ in KNOWN]
HEAD = EACH[-1]

assert db


@pytest.fixture
def environment(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a deployed release."""
    monkeypatch.setenv("DHASH_STORE", empty_url)
    monkeypatch.setenv("DHASH_RELEASE", "r1")
    return empty_url


def dhash(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["db", *arguments])


def lines(*arguments: str) -> list[dict[str, Any]]:
    """What a command that goes well tells a program."""
    result = dhash(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(kind: type[Exception], *arguments: str) -> str:
    result = dhash(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, kind)
    return str(result.exception)


def test_a_store_goes_up_and_down_and_says_where_it_is(environment: str) -> None:
    assert lines("current") == [{"revision": None, "head": HEAD, "pending": EACH, "applied": []}]
    planned = lines("plan")
    assert [(each["revision"], each["kind"], each["findings"]) for each in planned] == [
        (name, "expand", []) for name in EACH
    ]
    assert "CREATE TABLE images" in planned[0]["sql"]
    assert lines("upgrade", "0001") == [{"revision": "0001", "done": ["0001"]}]
    assert lines("upgrade", "--expand-only") == [{"revision": HEAD, "done": EACH[1:]}]
    assert lines("plan") == []
    (now,) = lines("current")
    assert (now["revision"], now["pending"]) == (HEAD, [])
    assert [(each["revision"], each["release"]) for each in now["applied"]] == [(name, "r1") for name in EACH]
    assert lines("downgrade", "base") == [{"revision": None, "done": EACH[::-1]}]


def test_every_revision_passes_the_lint(environment: str) -> None:
    assert [each["findings"] for each in lines("lint")] == [[] for _ in EACH]


def test_a_downgrade_asks_before_it_loses_data(environment: str) -> None:
    with Store.open(environment, release="r1", algorithm=FAST, migrate=True) as store:
        store.add_image(picture("a"), NEW, Source(Sha256("cd" * 32), 1, (0, 0, 1, 1))).result(10)
    assert "lookups.document" in refused(StoreLossError, "downgrade", "0001")
    assert lines("downgrade", "0001", "--accept-loss") == [{"revision": "0001", "done": EACH[:0:-1]}]


def test_a_check_is_silent_about_nothing(environment: str) -> None:
    dhash("upgrade", "0001")
    result = dhash("check", "--json")
    assert result.exit_code == 1
    found = {each["check"]: each["ok"] for each in map(json.loads, result.stdout.splitlines())}
    assert found == {
        "integrity": True,
        "texts": True,
        "references": True,
        "schema": False,
        "algorithm": False,
        "fingerprints": True,
        "erasures": True,
        "repeats": True,
        "acknowledged": True,
    }
    assert "needs 0002, 0003" in dhash("check").output
    Store.open(environment, release="r1", algorithm=FAST, migrate=True).close()
    assert all(each["ok"] for each in lines("check"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_snapshot_that_is_ended_leaves_no_copy_aside(
    postgres_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    with psycopg.connect(postgres_url) as held:
        held.execute("LOCK TABLE images IN ACCESS EXCLUSIVE MODE")  # so that it waits, however fast
        words = [sys.executable, "-m", "dhash_service", "db", "snapshot", str(tmp_path / "copy.db")]
        process = subprocess.Popen(words, env={**os.environ, "DHASH_STORE": postgres_url})
        try:
            wait_until(lambda: list(tmp_path.iterdir()))
            process.send_signal(number)
            assert process.wait(20) == 128 + number
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_merges_into_another_store(
    environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(environment, release="r1", algorithm=FAST, migrate=True) as store:
        for number in range(3):
            add(store, number)
    file = tmp_path / "snapshots" / "one.db"
    (taken,) = lines("snapshot", str(file))
    assert (taken["path"], taken["revision"], taken["rows"]["images"]) == (str(file), HEAD, 3)
    assert taken["size"] == file.stat().st_size
    assert "exists already" in refused(StoreError, "snapshot", str(file))

    monkeypatch.setenv("DHASH_STORE", f"sqlite:///{tmp_path / 'new' / 'dhash.db'}")
    assert "dhash db upgrade" in refused(StoreSchemaError, "merge", str(file))
    dhash("upgrade")
    (merged,) = lines("merge", str(file))
    assert (merged["added"]["images"], merged["added"]["fingerprints"]) == (3, 3)
    (again,) = lines("merge", str(file))
    assert sum(again["added"].values()) == 0
    assert "0 rows added" in dhash("merge", str(file)).output


def test_a_new_store_takes_the_algorithm_of_what_is_merged_into_it(environment: str, tmp_path: Path) -> None:
    dhash("upgrade")
    other = tmp_path / "other.db"
    with Store.open(sqlite_file(other), release="r", algorithm=FAST) as store:
        store.add_image(picture(1), NEW).result(30)
    (merged,) = lines("merge", str(other))
    assert merged["added"]["images"] == 1
    with Store.open(environment, release="r", algorithm=None) as store:
        assert store.algorithm == FAST


def test_a_damaged_file_is_salvaged_only_when_asked(environment: str, tmp_path: Path) -> None:
    dhash("upgrade")
    other = tmp_path / "other.db"
    with Store.open(sqlite_file(other), release="r", algorithm=FAST) as store:
        for number in range(300):
            last = store.add_image(picture(number), NEW)
        last.result(30)
    content = bytearray(other.read_bytes())
    for page in range(50, 53):
        content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    other.write_bytes(content)
    assert "--salvage" in refused(StoreDamagedError, "merge", str(other))
    (merged,) = lines("merge", str(other), "--salvage")
    assert 0 < merged["added"]["images"] <= 300
    assert "left out" in dhash("merge", str(other), "--salvage").output


def test_a_releases_fingerprints_leave_search_and_come_back(environment: str) -> None:
    with Store.open(environment, release="bad", algorithm=FAST, migrate=True) as store:
        image = add(store, "a")
        assert lines("quarantine", "--release", "bad", "--reason", "wrong bits") == [
            {"release": "bad", "hidden": True, "fingerprints": 1}
        ]
        assert store.image(image.id) is None
        assert lines("gone", "--release", "bad") == [{"sha256": image.sha256}]
        assert lines("gone", "--release", "good") == []
        assert lines("quarantine", "--release", "bad", "--lift", "--reason", "they were right") == [
            {"release": "bad", "hidden": False, "fingerprints": 1}
        ]
        assert store.image(image.id) == image
        assert lines("gone", "--release", "bad") == []
    assert "back in search" in dhash("quarantine", "--release", "bad", "--lift", "--reason", "x").output


def test_a_store_that_is_not_there_is_not_made_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHASH_STORE", f"sqlite:///{tmp_path / 'none' / 'dhash.db'}")
    for command in (["check"], ["snapshot", str(tmp_path / "x.db")]):
        assert "There is no store" in refused(StoreSchemaError, *command)
    assert lines("snapshot", "--if-exists", str(tmp_path / "x.db")) == [{"path": None}]
    assert lines("current")[0]["revision"] is None
    assert len(lines("plan")) == len(EACH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "current",
        "plan",
        "lint",
        "upgrade",
        "downgrade",
        "check",
        "snapshot",
        "merge",
        "forget",
        "quarantine",
        "gone",
    ],
)
def test_every_command_shows_an_example(command: str) -> None:
    result = dhash(command, "--help")
    assert result.exit_code == 0
    assert f"Example: dhash db {command}" in " ".join(result.output.split())
