"""Pictures written to a folder: whole, under safe names, and never over anything."""

import os
from pathlib import Path

import pytest

from dhash_service.errors import UnwritableFolderError
from dhash_service.pictures.export import PictureFolder, name_of

SHA256 = "0123456789ab" + 52 * "f"


@pytest.mark.parametrize(
    ("document", "page", "name"),
    [
        ("scans/report.pdf", 3, "report-p3-0123456789ab.jpg"),
        ("holiday.jpeg", None, "holiday-0123456789ab.jpg"),
        ("Jahresbericht – Übersicht 2024.pdf", 1, "Jahresbericht_Übersicht_2024-p1-0123456789ab.jpg"),
        ("-rf; $(rm *).pdf", 1, "rf_rm_-p1-0123456789ab.jpg"),
        ("---.pdf", None, "picture-0123456789ab.jpg"),
        ("\udcff\udcfe.pdf", 1, "_-p1-0123456789ab.jpg"),
        ("line\nbreak\0.pdf", 1, "line_break_-p1-0123456789ab.jpg"),
    ],
)
def test_names_are_safe_and_say_where_a_picture_comes_from(
    document: str, page: int | None, name: str
) -> None:
    assert name_of(Path(document), page, SHA256, "JPEG") == name


def test_no_name_is_longer_than_file_systems_take() -> None:
    assert len(os.fsencode(name_of(Path("\N{GRINNING FACE}" * 60 + ".pdf"), 1000, SHA256, "JPEG"))) < 255
    assert len(os.fsencode(name_of(Path("語" * 80 + ".pdf"), 1000, SHA256, "JPEG"))) < 255


def test_a_picture_is_written_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "new" / "folder")
    assert folder.add(b"picture", "a.jpg").read_bytes() == b"picture"
    assert [path.name for path in folder.folder.iterdir()] == ["a.jpg"]


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"somebody's")
    (tmp_path / "a-2.jpg").mkdir()
    (tmp_path / "a-3.jpg").symlink_to("nowhere")
    folder = PictureFolder(tmp_path)
    assert folder.add(b"picture", "a.jpg") == tmp_path / "a-4.jpg"
    assert (tmp_path / "a.jpg").read_bytes() == b"somebody's"
    assert not (tmp_path / "nowhere").exists()


def test_writing_the_same_picture_again_adds_nothing(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    paths = {folder.add(b"picture", "a.jpg") for _ in range(3)}
    assert paths == {tmp_path / "a.jpg"} == set(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableFolderError, match="Not a directory"):
        PictureFolder(tmp_path / "file" / "folder")


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    with pytest.raises(UnwritableFolderError, match="File name too long"):
        folder.add(b"picture", "a" * 300 + ".jpg")
    assert list(tmp_path.iterdir()) == []
