"""Logs are compressed after a day and removed after thirty; nothing else is touched."""

import gzip
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.errors import NotWritableError
from guarded_rollout.rotation import DAY, Found, Rotation, Verb, carry_out, cut, due, plan, tidy

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SESSION = "dhash_production_2026-02-01T10-00-00-000Z.log"
DEPLOY = "deploy_production_2026-02-01T10-00-00-000Z.log"


def make(folder: Path, name: str, days: float, content: bytes = b"line\n" * 100) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    then = NOW.timestamp() - days * DAY
    os.utime(path, (then, then))
    return path


def verbs(actions: list[Rotation]) -> list[tuple[Verb, str]]:
    return [(action.verb, action.path.name) for action in actions]


@pytest.mark.parametrize(
    ("name", "days", "size", "verb"),
    [
        (SESSION, 0.9, 1, None),
        (SESSION, 1.1, 1, Verb.COMPRESS),
        (DEPLOY, 1.1, 1, Verb.COMPRESS),
        (SESSION, 0.5, 65 * 2**20, Verb.COMPRESS),
        (SESSION, 0.001, 65 * 2**20, None),  # the session may not be over
        (f"{SESSION}.gz", 29, 1, None),
        (f"{SESSION}.gz", 31, 1, Verb.REMOVE),
        ("green-20260101T000000.log.gz", 31, 1, Verb.REMOVE),
        ("notification_fallback.jsonl", 400, 1, None),
        ("notes.log", 400, 1, None),
        ("notes.log.gz", 400, 1, None),
        (".hidden", 400, 1, None),
    ],
)
def test_age_and_size_decide_over_our_own_logs_alone(
    name: str, days: float, size: int, verb: Verb | None
) -> None:
    found = Found(Path(name), size, NOW.timestamp() - days * DAY)
    assert [action.verb for action in plan([found], NOW.timestamp())] == ([verb] if verb else [])


@pytest.mark.parametrize(("size", "cuts"), [(10 * 2**20, False), (11 * 2**20, True)])
def test_the_log_of_a_running_process_is_cut_by_size_whatever_its_age(size: int, cuts: bool) -> None:
    found = Found(Path("green.log"), size, 0.0, running=True)
    assert bool(plan([found], NOW.timestamp())) is cuts


@given(st.floats(-400, 400), st.integers(0, 10**9))
def test_nothing_is_removed_before_its_time(days: float, size: int) -> None:
    found = [Found(Path(name), size, NOW.timestamp() - days * DAY) for name in (SESSION, f"{SESSION}.gz")]
    removed = [action for action in plan(found, NOW.timestamp()) if action.verb is Verb.REMOVE]
    assert not removed or days > 30


def test_a_compressed_log_is_whole_and_keeps_its_time_and_mode(tmp_path: Path) -> None:
    folder = tmp_path / "monitor_logs"
    path = make(folder, SESSION, 2, os.urandom(300_000))
    content, mode, changed = path.read_bytes(), path.stat().st_mode, path.stat().st_mtime
    carry_out(due(folder, tmp_path / "none", NOW), NOW)
    packed = path.with_name(path.name + ".gz")
    assert not path.exists()
    assert gzip.decompress(packed.read_bytes()) == content
    assert (packed.stat().st_mode, packed.stat().st_mtime) == (mode, changed)
    assert due(folder, tmp_path / "none", NOW) == []


def test_rotation_compresses_then_removes_and_says_what(tmp_path: Path) -> None:
    folder = tmp_path / "monitor_logs"
    make(folder, SESSION, 2)
    make(folder, f"{DEPLOY}.gz", 40)
    make(folder, "theirs.log", 400)
    actions = due(folder, tmp_path / "none", NOW)
    assert sorted(verbs(actions)) == [(Verb.COMPRESS, SESSION), (Verb.REMOVE, f"{DEPLOY}.gz")]
    assert str(actions[-1]) == f"compress {SESSION} (2 days old)"
    carry_out(actions, NOW)
    carry_out(actions, NOW)  # twice is as good as once
    assert sorted(path.name for path in folder.iterdir()) == [f"{SESSION}.gz", "theirs.log"]


def test_a_process_goes_on_in_a_log_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "green.log"
    program = "import time\nfor n in range(60): print('line', n, flush=True); time.sleep(0.01)"
    with path.open("ab") as log, subprocess.Popen([sys.executable, "-c", program], stdout=log) as process:
        while path.stat().st_size < 100:
            time.sleep(0.01)
        cut(path, NOW)
        process.wait()
    packed = gzip.decompress((tmp_path / "green-20260301T000000.log.gz").read_bytes())
    together = (packed + path.read_bytes()).split(b"\n")
    assert b"\x00" not in path.read_bytes()
    assert 59 <= len([line for line in together if line]) <= 60  # one may fall between copy and cut


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("keep")
    folder = tmp_path / "monitor_logs"
    folder.mkdir()
    (folder / SESSION).symlink_to(outside)
    assert due(folder, tmp_path / "none", NOW) == []


def test_a_rotation_that_cannot_write_is_a_clear_error_and_stops_no_command(tmp_path: Path) -> None:
    folder = tmp_path / "monitor_logs"
    path = make(folder, SESSION, 2)
    (folder / f"{SESSION}.gz").mkdir()  # in the way, also for root
    with pytest.raises(NotWritableError, match=SESSION):
        carry_out(due(folder, tmp_path / "none", NOW), NOW)
    tidy(folder, tmp_path / "none", NOW)
    assert path.exists()
    assert [child.name for child in folder.iterdir() if child.name.startswith(".")] == []
