"""Folders, object stores and what fsspec knows are listed, read and written alike."""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from dhash_service.errors import BodyTooLargeError, PlaceError
from dhash_service.objects import object_store
from dhash_service.scale.items import cut
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


@pytest.mark.parametrize(
    ("sizes", "read"),
    [
        (["12", "many", "", None], [12, None, None, None]),
        ([12.0, math.nan, math.inf, -1.0], [12, None, None, None]),
        ([b"12", b"", b"x", None], [None] * 4),
    ],
    ids=["text", "fractions", "bytes"],
)
def test_a_size_that_is_no_number_of_bytes_is_not_known(
    sizes: list[object], read: list[object], tmp_path: Path
) -> None:
    parquet.write_table(arrow.table({"url": list("abcd"), "size": sizes}), tmp_path / "m.parquet")
    found = list(Source([str(tmp_path / "m.parquet")]).items())
    assert [item.size for item in found] == read
    assert [len(group) for group in cut(found, per_task=100)] == [4]


def test_a_manifest_without_such_a_column_is_told(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "m.parquet")
    with pytest.raises(PlaceError, match="no column url"):
        list(Source([str(tmp_path / "m.parquet")]).items())


def test_an_object_that_stands_for_a_folder_is_no_file_and_an_odd_key_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [("2026/", 0), ("2026/a.jpg", 3), ("2026/sub/", 0)]

    class Listing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            each = (
                "<Contents><Key>{}</Key><Size>{}</Size><LastModified>2026-06-01T12:00:00.000Z</LastModified>"
            )
            rows = "".join(f"{each.format(*key)}<ETag>e</ETag></Contents>" for key in keys)
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        object_store.cache_clear()
        try:
            found = [item.url for item in place_of("s3://photos").find("s3://photos/2026/")]
            assert found == ["s3://photos/2026/a.jpg"]
            keys.append(("2026//b.jpg", 3))
            with pytest.raises(PlaceError, match=r"2026//b\.jpg") as told:
                list(place_of("s3://photos").find("s3://photos/2026/"))
            assert "Rename that object" in told.value.hint
        finally:
            object_store.cache_clear()
            server.shutdown()
