import os
import pickle
import stat
import subprocess
import sys

import pytest

from guarded_rollout.files import replacing, scratch_folder, write_atomic
from guarded_rollout.secret import Secret
from tests.guarded_rollout.manual_clock import ManualClock


def test_a_file_is_there_wholly_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "before")
    with pytest.raises(RuntimeError, match="stop"):
        interrupted(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


def interrupted(path):
    with replacing(path) as file:
        file.write(b"half of what was to co")
        raise RuntimeError("stop")


def test_an_existing_file_stays_where_it_must_not_be_overwritten(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "first", overwrite=False)
    with pytest.raises(FileExistsError):
        write_atomic(path, "second", overwrite=False)
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file"]


WRITES = """
import os, sys
from pathlib import Path
from guarded_rollout.files import replacing, scratch_folder
folder = Path(sys.argv[1])
with scratch_folder("scratch-", folder), replacing(folder / "file") as file:
    file.write(b"half of what was to co")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_goes_with_the_next_one_and_what_a_living_one_writes_stays(tmp_path):
    command = [sys.executable, "-c", WRITES, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "writing\n"
        under_way = set(tmp_path.iterdir())
        assert len(under_way) == 2
        use_both(tmp_path)
        assert set(tmp_path.iterdir()) == {*under_way, tmp_path / "other"}
        writer.kill()
    use_both(tmp_path)
    assert os.listdir(tmp_path) == ["other"]


def use_both(folder):
    write_atomic(folder / "other", "x")
    with scratch_folder("scratch-", folder) as scratch:
        assert scratch.is_dir()


def test_a_file_has_the_mode_it_was_asked_for_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "open", "x", mode=0o644)
        write_atomic(tmp_path / "closed", "x", mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o600


def test_a_secret_shows_itself_nowhere():
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>8}", "%s" % secret, str({"password": secret})]  # noqa: UP031
    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_manual_time_passes_only_when_told():
    clock = ManualClock()
    start = clock.now()
    clock.sleep(90)
    clock.sleep(-5)
    assert (clock.now() - start).total_seconds() == clock.monotonic() == 90
