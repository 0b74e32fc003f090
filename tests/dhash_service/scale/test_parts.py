"""A task becomes rows and a part, once; bad files are rows too."""

from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from dhash_service.errors import PlaceError, SettingError
from dhash_service.pictures.fingerprint import NEW, read_picture
from dhash_service.scale.items import Item, Task
from dhash_service.scale.parts import batches, counts_at, make_part, part_url, rows, table_of
from dhash_service.scale.places import place_of
from dhash_service.scale.sources import Source
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.scale.making import rows_at, rules, task


@pytest.fixture
def folder(tmp_path: Path, pictures: list[bytes]) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, data in enumerate(pictures[:5]):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "report.pdf").write_bytes(document())
    return folder


def test_rows_have_the_bare_function_s_values_and_bad_files_their_reason(
    folder: Path, pictures: list[bytes]
) -> None:
    found = rows(task(Source([str(folder)]).items()))
    by_name = {Path(row["name"]).name: row for row in found}
    for number, data in enumerate(pictures[:5]):
        picture, row = read_picture(data, NEW), by_name[f"{number}.jpg"]
        assert (row["hash"], row["sha256"]) == (picture.fingerprint.value, picture.sha256)
        assert row["size"] == len(data)
    assert "hash" not in by_name["bad.png"]
    assert by_name["bad.png"]["error"].startswith("The picture cannot be read: ")
    assert [row["page"] for row in found if row["name"].endswith("report.pdf")] == [1, 1]


def test_hashes_are_unsigned_and_exact_in_parquet(tmp_path: Path) -> None:
    values = [0, 1, 2**53 + 1, 2**63, 2**64 - 1]
    table = table_of([{"name": str(value), "hash": value} for value in values])
    parquet.write_table(table, tmp_path / "t.parquet")
    read = parquet.read_table(tmp_path / "t.parquet")
    assert read.schema.field("hash").type == arrow.uint64()
    assert read["hash"].to_pylist() == values


def test_a_part_that_is_there_is_not_made_again(folder: Path, tmp_path: Path) -> None:
    asked, out = task(Source([str(folder)]).items()), str(tmp_path / "out")
    made = make_part(asked, out)
    assert (made.files, made.pictures, made.failed, made.known) == (7, 7, 1, False)
    for path in folder.iterdir():
        path.unlink()  # so reading anything would show
    again = make_part(asked, out)
    assert (again.files, again.pictures, again.failed, again.known) == (7, 7, 1, True)
    assert again.errors


def test_a_part_is_made_again_where_files_did_not_come_or_it_is_cut_short(
    folder: Path, tmp_path: Path
) -> None:
    asked, out = task(Source([str(folder)]).items()), str(tmp_path / "out")
    gone = folder / "2.jpg"
    data = gone.read_bytes()
    gone.unlink()
    assert make_part(asked, out).unread == 1
    gone.write_bytes(data)
    made = make_part(asked, out)
    assert (made.unread, made.pictures, made.known) == (0, 7, False)

    part = Path(part_url(out, asked))
    part.write_bytes(part.read_bytes()[:-20])
    assert counts_at(str(part)) is None
    assert not make_part(asked, out).known
    assert len(rows_at(out)) == 8


def test_a_worker_with_another_pillow_refuses(folder: Path) -> None:
    from dataclasses import replace

    other = Task((Item(str(folder / "0.jpg")),), replace(rules(), pillow="1.0"))
    with pytest.raises(SettingError, match=r"Pillow .* 1\.0"):
        rows(other)


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="no Parquet"):
        list(batches(str(tmp_path)))
    place_of(str(tmp_path)).write(str(tmp_path / "x.parquet"), b"nothing")
    with pytest.raises(PlaceError, match=r"x\.parquet"):
        list(batches(str(tmp_path)))
