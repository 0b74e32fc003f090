"""Folders, object stores and what fsspec knows are listed, read and written alike."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from dhash_service.errors import BodyTooLargeError, PlaceError
from dhash_service.objects import object_store
from dhash_service.scale.places import MissingError, place_of
from dhash_service.scale.sources import Source
from tests.dhash_service.scale.making import put

NAMES = ["a.jpg", "b c.jpg", "deep/er/ü%20 #?.jpg", "deep/z.jpg"]


@pytest.fixture(params=["folder", "file", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("bucket")
        return f"{bucket}/below"
    kinds = {"folder": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}"}
    return kinds[request.param]


def test_what_is_written_is_listed_in_one_order_and_read(place: str) -> None:
    put(place, {name: name.encode() for name in NAMES})
    found = list(place_of(place).find(place))
    assert found == list(place_of(place).find(place))
    read = {place_of(item.url).read(item.url, 1000).decode(): item for item in found}
    assert sorted(read) == sorted(NAMES)
    assert all(item.url.endswith(name) and item.tag for name, item in read.items())
    assert all(item.size == len(name.encode()) for name, item in read.items())


def test_a_tag_changes_with_the_file(place: str) -> None:
    put(place, {"a.jpg": b"one"})
    (before,) = place_of(place).find(place)
    put(place, {"a.jpg": b"two"})
    (after,) = place_of(place).find(place)
    assert before.tag != after.tag


def test_a_file_that_is_not_there_and_one_that_is_too_large(place: str) -> None:
    put(place, {"a.jpg": b"12345"})
    with pytest.raises(MissingError):
        place_of(place).read(f"{place}/none.jpg", 10)
    with pytest.raises(BodyTooLargeError):
        place_of(place).read(f"{place}/a.jpg", 4)
    place_of(place).remove(f"{place}/a.jpg")
    with pytest.raises(MissingError):
        place_of(place).read(f"{place}/a.jpg", 10)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "part.parquet" / "inside").mkdir(parents=True)
    with pytest.raises(PlaceError):
        place_of("").write(f"{tmp_path}/part.parquet", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]


def test_of_two_that_write_the_same_file_each_writes_all_of_it(tmp_path: Path) -> None:
    url, contents = f"{tmp_path}/part.parquet", [bytes([each]) * 500_000 for each in range(8)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda content: place_of(url).write(url, content), contents))
    assert Path(url).read_bytes() in contents


def test_of_a_folder_only_what_may_hold_pictures_is_taken(place: str) -> None:
    put(place, dict.fromkeys(["a.JPG", "notes.txt", "c3ab8ff1", "report.pdf"], b"x"))
    source = Source([place])
    assert sorted(item.url.rpartition("/")[2] for item in source.items()) == [
        "a.JPG",
        "c3ab8ff1",
        "report.pdf",
    ]
    assert source.left_out == {".txt": 1}
    assert source.count() == 3


def test_a_wrong_key_is_told_without_the_secret(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, {"a.jpg": b"x"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the wrong one")
    object_store.cache_clear()
    try:
        with pytest.raises(PlaceError) as refused:
            list(place_of(bucket).find(bucket))
    finally:
        object_store.cache_clear()
    assert "the wrong one" not in str(refused.value)
    assert "AWS_ACCESS_KEY_ID" in str(refused.value)


def test_a_manifest_names_the_files_wherever_it_lies(place: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    names = [f"s3://pictures/{number}" for number in range(20_000)]
    parquet.write_table(arrow.table({"url": names, "size": list(range(20_000))}), buffer)
    put(place, {"manifest.parquet": buffer.getvalue()})
    source = Source([f"{place}/manifest.parquet"])
    assert [(item.url, item.size) for item in source.items()] == list(zip(names, range(20_000), strict=True))
    assert source.count() == 20_000


def test_a_manifest_without_such_a_column_is_told(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "m.parquet")
    with pytest.raises(PlaceError, match="no column url"):
        list(Source([str(tmp_path / "m.parquet")]).items())
