import io
import os
import struct
import subprocess
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guarded_rollout.backup.zip_reader import PIECE, ZipReader
from guarded_rollout.backup.zip_writer import CHUNK, ZipWriter
from guarded_rollout.errors import BackupDamagedError, BackupFormatError

WHEN = datetime(2026, 6, 1, 12, 30, 10, tzinfo=UTC)
CONTENTS = {
    "empty": b"",
    "text": b"acknowledged means kept\n" * 50,
    "noise": os.urandom(3 * CHUNK + 17),
    "zeros": bytes(5 * CHUNK),
    "chunk": bytes(range(256)) * (CHUNK // 256),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.zip"


def write(path, contents, **options):
    with path.open("wb") as file:
        writer = ZipWriter(file, WHEN, **options)
        written = [writer.add(name, content) for name, content in contents.items()]
        writer.close()
    return written


@pytest.mark.parametrize("limit_32", [0xFFFFFFFF, 1000], ids=["zip", "zip64"])
def test_unzip_and_python_read_what_is_written(path, limit_32):
    written = write(path, CONTENTS, limit_32=limit_32)
    subprocess.run(["unzip", "-tq", path], check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        info = archive.getinfo("text")
        assert info.date_time == (2026, 6, 1, 12, 30, 10)
        assert info.external_attr >> 16 == 0o100600
    with ZipReader(path) as reader:
        assert {entry.name: reader.read(entry.name, entry.size) for entry in written} == CONTENTS


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("abcä日_.-", min_size=1, max_size=20).filter(lambda n: n.strip(".")), st.binary()
    ),
    st.sampled_from([0xFFFFFFFF, 0, 64]),
)
def test_whatever_goes_in_comes_out(path, contents, limit_32):
    write(path, contents, limit_32=limit_32)
    with ZipReader(path) as reader:
        assert {name: reader.read(name, len(content)) for name, content in contents.items()} == contents
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_a_file_that_grows_past_what_the_format_chosen_can_say_is_refused(path):
    class Growing(io.BytesIO):
        def seek(self, offset, whence=0):
            return min(super().seek(offset, whence), 10)  # all that was there when its size was asked for

    with path.open("wb") as file, pytest.raises(BackupFormatError, match="grew"):
        ZipWriter(file, WHEN, limit_32=500).add("growing", Growing(bytes(1000)))


def test_no_more_is_unpacked_than_was_announced(path):
    write(path, {"bomb": bytes(200 * CHUNK)})
    unpacked = []
    with (
        ZipReader(path) as reader,
        pytest.raises(BackupDamagedError, match="bomb: it unpacks to more than 1000"),
    ):
        reader.unpack("bomb", 1000, unpacked.append)
    assert sum(map(len, unpacked)) <= 2 * PIECE


def hostile(path, name="fine", content=b"x", **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        archive.writestr(info, content)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/",
        "C:/evil",
        "a\\b",
        "a\nb",
        "a\x1b[2J",
        "x" * 256,
        "/".join(["deep"] * 250),
    ],
)
def test_names_that_lead_elsewhere_are_refused(path, name):
    hostile(path, name)
    with pytest.raises(BackupFormatError, match="leads elsewhere"):
        ZipReader(path)


def test_a_name_cut_by_a_zero_byte_is_refused(path):
    hostile(path, "evil.txt")
    path.write_bytes(path.read_bytes().replace(b"evil.txt", b"evil\0txt"))
    with pytest.raises((BackupFormatError, BackupDamagedError)):
        ZipReader(path)


def test_links_are_refused(path):
    hostile(path, "link", b"/etc/passwd", create_system=3, external_attr=0o120777 << 16)
    with pytest.raises(BackupFormatError, match="a link or a special file"):
        ZipReader(path)


def test_two_entries_of_one_name_are_refused(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("same", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("same", b"2")
    with pytest.raises(BackupFormatError, match="two entries of one name"):
        ZipReader(path)


@pytest.mark.parametrize("names", [("data", "data/snapshot"), ("a/b", "A/B/c"), ("Same", "same")])
def test_names_that_cannot_stand_side_by_side_are_refused(path, names):
    write(path, dict.fromkeys(names, b"x"))
    with pytest.raises(BackupFormatError, match=r"its folder is a file|two entries of one name"):
        ZipReader(path)


def test_entries_that_share_their_bytes_are_refused(path):
    """The overlapping entries of Fifield's zip bomb (WOOT '19): small on disk, endless when unpacked."""
    write(path, {"a": b"x" * 5000, "b": b"y" * 5000})
    content = bytearray(path.read_bytes())
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    path.write_bytes(content)
    with pytest.raises((BackupFormatError, BackupDamagedError)):
        ZipReader(path)


def test_a_directory_that_names_another_file_than_the_entry_is_refused(path):
    write(path, {"right": b"x"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"right", b"wrong", 1))
    with ZipReader(path) as reader, pytest.raises(BackupDamagedError, match="its header names another file"):
        reader.read("right", 10)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100], ids=["empty", "short", "other"])
def test_what_is_no_zip_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(BackupDamagedError, match="not a whole zip"):
        ZipReader(path)


def read_all(path, contents):
    with ZipReader(path) as reader:
        return {name: reader.read(name, len(content)) for name, content in contents.items()}


def test_any_changed_byte_is_refused_or_changes_nothing(path):
    contents = {"text": CONTENTS["text"], "noise": os.urandom(300)}
    write(path, contents)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            assert read_all(path, contents) == contents
        except (BackupDamagedError, BackupFormatError, KeyError):
            continue


def test_any_cut_is_refused(path):
    write(path, {"text": CONTENTS["text"]})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError):
            read_all(path, {"text": CONTENTS["text"]})
