import ast
import errno
import json
import os
import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guarded_rollout import errors
from guarded_rollout.backup.archive import take
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.backup.verify import verify
from guarded_rollout.clock import SystemClock
from guarded_rollout.errors import PortTakenError, RolloutError, all_errors
from guarded_rollout.lock import acquire

ROOT = Path(__file__).parents[2]


def test_every_error_has_a_sentence_advice_and_an_exit_code_of_its_own_kind():
    for error in all_errors():
        if error is not RolloutError:
            assert error.message.endswith((".", "}")), error
        assert 1 <= error.exit_code <= 3, error


def test_no_two_errors_share_their_stable_name():
    codes = [error.code() for error in all_errors()]
    assert len(codes) > 30
    assert sorted(codes) == sorted(set(codes))


def test_every_place_that_raises_an_error_gives_it_what_its_sentence_and_advice_need():
    known = {error.__name__: error for error in all_errors()}
    raised = 0
    for path in (ROOT / "src" / "guarded_rollout").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in known:
                error = known[call.func.id]
                given = {keyword.arg for keyword in call.keywords}
                needed = fields(error.message) | fields(error.advice)
                assert None in given or needed <= given, f"{path.name}:{call.lineno}: {error.__name__}"
                raised += 1
    assert raised > 50


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_an_error_prints_its_sentence_then_its_advice_and_keeps_its_data():
    error = PortTakenError(port=3000)
    assert str(error).startswith("Port 3000 is taken by another program. ")
    assert json.loads(json.dumps(error.as_json()))["data"] == {"port": 3000}
    assert error.as_json()["error"] == "port-taken"


def test_a_cause_within_a_cause_ends_with_one_full_stop():
    inner = errors.BuildError(source="x", problem="no wheel")
    outer = errors.PreflightError(problems=inner.sentence)
    assert ".." not in str(outer)


@pytest.mark.parametrize(
    ("number", "advised"),
    [
        (errno.EACCES, "write access"),
        (errno.ENOSPC, "rollout prune"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "A file stands where a folder is needed"),
    ],
)
def test_what_cannot_be_written_is_advised_by_what_stands_in_the_way(number, advised):
    assert advised in errors.NotWritableError(path="x", reason=os.strerror(number)).hint


def test_a_file_in_the_place_of_a_folder_is_advised_to_be_moved(tmp_path):
    (tmp_path / "environments").write_text("")
    with (
        pytest.raises(errors.NotWritableError, match="A file stands where"),
        acquire(tmp_path / "environments" / "production" / "lock", environment="production", command="x"),
    ):
        pass


def test_a_snapshot_command_that_writes_no_file_is_told_as_that(tmp_path):
    release = SimpleNamespace(id="1.0.0")
    subject: Any = SimpleNamespace(release=release, snapshot=lambda path: None, environment="production")
    folder = BackupFolder(tmp_path / "backups", tmp_path)
    with pytest.raises(errors.SnapshotMissingError, match=r"1\.0\.0 ended well and wrote no file"):
        take(subject, folder, SystemClock())


def test_a_backup_without_its_checksum_is_not_called_damaged(tmp_path):
    (tmp_path / "dhash_production_20260101_000000.zip").write_bytes(b"x")
    with pytest.raises(errors.ChecksumMissingError) as error:
        verify(tmp_path / "dhash_production_20260101_000000.zip")
    assert "damaged" not in str(error.value)
    assert "bring the .sha256 file along" in str(error.value)
