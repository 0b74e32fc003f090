import os

import pytest

from guarded_rollout.backup import publish
from guarded_rollout.backup.publish import IncrementallyFlushedFile


@pytest.fixture(autouse=True)
def small_flushes(monkeypatch):
    monkeypatch.setattr(publish, "FLUSH_BYTES", 1000)


def test_an_incrementally_flushed_file_holds_what_was_written(tmp_path):
    pieces = [os.urandom(300) for _ in range(50)]
    with IncrementallyFlushedFile(tmp_path / "file") as file:
        for piece in pieces:
            file.write(piece)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_it_reaches_the_disk_while_it_is_written(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def noting(descriptor):
        fsync(descriptor)
        flushed.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noting)
    with IncrementallyFlushedFile(tmp_path / "file") as file:
        for _ in range(50):
            file.write(bytes(300))
    assert len(flushed) >= 10
    assert flushed == sorted(flushed)


@pytest.mark.parametrize("pieces", [5, 50])
def test_a_disk_that_fails_to_write_is_noticed(tmp_path, monkeypatch, pieces):
    def failing(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)

    def write():
        with IncrementallyFlushedFile(tmp_path / "file") as file:
            for _ in range(pieces):
                file.write(bytes(300))

    with pytest.raises(OSError, match="Input/output error"):
        write()


def test_a_block_that_fails_is_not_hidden_by_the_file(tmp_path):
    with pytest.raises(KeyError), IncrementallyFlushedFile(tmp_path / "file"):
        raise KeyError("x")
