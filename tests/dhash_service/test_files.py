"""A user's files: bounded, regular, and named in UTF-8."""

import base64
import os
from pathlib import Path

import pytest

from dhash_service.errors import BodyTooLargeError, UnreadableFileError
from dhash_service.files import path_fields, read_file


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_file(path, 100) == b"x" * 100
    with pytest.raises(BodyTooLargeError):
        read_file(path, 99)


def test_what_might_never_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "zero", "loop", "missing", ".", "a\0b"):
        with pytest.raises(UnreadableFileError):
            read_file(tmp_path / name, 100)


def test_a_shell_s_pipe_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"picture")
    os.close(writing)
    assert read_file(Path(f"/dev/fd/{reading}"), 100) == b"picture"
    os.close(reading)


def test_a_name_that_is_not_utf_8_is_escaped_and_kept_beside() -> None:
    assert path_fields("é.jpg") == {"path": "é.jpg"}
    fields = path_fields(os.fsdecode(b"caf\xe9.jpg"))
    assert fields["path"] == "caf\\xe9.jpg"
    assert base64.b64decode(fields["path_bytes"]) == b"caf\xe9.jpg"
