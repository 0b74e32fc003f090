"""The tools of chaos themselves: power that fails, a clock that jumps, backups that rot, an oracle."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from chaos.faults import clock, power, preload
from chaos.faults.backups import SPOILS
from chaos.faults.power import Change, not_durable, read_log, undo
from chaos.pictures import document, field, picture
from chaos.plan import DAMAGES
from PIL import Image

from dhash_service.pictures.fingerprint import fingerprint
from guarded_rollout.backup.verify import verify
from guarded_rollout.errors import RolloutError
from tests.guarded_rollout.backups import Project

compiler = pytest.mark.skipif(not preload.can_be_compiled(), reason="no C compiler for Linux here")
WRITES = """
import os, sys
def put(name, content, sync, how=os.O_WRONLY | os.O_CREAT):
    fd = os.open(name, how, 0o600)
    os.write(fd, content)
    if sync:
        os.fsync(fd)
    os.close(fd)
put("kept", b"durable", True)
put("kept", b"DURA", False)
put("moved", b"old", True)
put("aside", b"new", True)
os.rename("aside", "moved")
put("new", b"x", False)
"""


@compiler
def test_power_loss_undoes_what_no_fsync_covers(tmp_path):
    project = tmp_path / "p"
    project.mkdir()
    environment = os.environ | dict(power.variables(tmp_path, project))
    subprocess.run([sys.executable, "-c", WRITES], cwd=project, env=environment, check=True)
    log = tmp_path / power.FOLDER
    for change in reversed(not_durable(list(read_log(log / "undo")))):
        undo(change, log)
    assert {path.name: path.read_text() for path in project.iterdir()} == {
        "kept": "durable",
        "moved": "old",
        "aside": "new",
    }


def test_contents_need_an_fsync_of_their_own_file_and_names_any():
    def change(kind: int, inode: int = 0) -> Change:
        return Change(kind, inode, 0, 0, Path("x"), "", b"")

    mine, other, named = change(power.WRITE, 1), change(power.WRITE, 2), change(power.RENAME)
    synced = change(power.SYNC, 1)
    assert not_durable([mine, other, named, synced]) == [other]
    assert not_durable([synced, mine, named]) == [mine, named]


@compiler
def test_a_clock_jumps_under_a_process_that_runs_and_time_spans_stay_true(tmp_path):
    says = (
        "import sys, time\n"
        "wall, span = time.time(), time.monotonic()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(round(time.time() - wall, -2), round(time.monotonic() - span, -2))\n"
    )
    environment = os.environ | dict(clock.variables(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", says], env=environment, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        (tmp_path / clock.FILE).write_bytes((-3600).to_bytes(8, "little", signed=True))
        told, _ = process.communicate("\n", timeout=30)
    assert told.split() == ["-3600.0", "0.0"]


@pytest.mark.parametrize("target", DAMAGES)
def test_a_damaged_backup_is_refused_by_its_name(target, tmp_path):
    project = Project(tmp_path)
    other = project.take().entry.path
    with closing(sqlite3.connect(project.store, isolation_level=None)) as store:
        store.execute("DELETE FROM image WHERE id < 10")
    archive = project.take().entry.path
    verify(archive)
    SPOILS[target](archive, other)
    with pytest.raises((RolloutError, zipfile.BadZipFile), match=archive.name):
        verify(archive)


def test_the_oracle_and_the_service_agree_on_pictures_that_follow_from_a_number():
    one, again, other = picture(7, 1), picture(7, 1), picture(7, 2)
    assert one == again != other
    assert fingerprint(one.data).hex == one.hash
    data, expected = document(7, 3)
    assert data.startswith(b"%PDF-")
    assert isinstance(field(7, 3), Image.Image)
    assert len(expected) == 16
