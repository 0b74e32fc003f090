"""`dhash extract`, as a shell runs it."""

import hashlib
import json
from pathlib import Path

import pikepdf
import pytest

from dhash_service.pictures.fingerprint import fingerprint
from tests.dhash_service.documents.pdfs import Draft, at, showing
from tests.dhash_service.serving import dhash
from tests.pictures import jpeg

FIRST, SECOND, TINY = jpeg(320, 240, 1), jpeg(200, 300, 2), jpeg(20, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draft = Draft()
    drawn = {"A": draft.jpeg(FIRST), "B": draft.jpeg(SECOND), "T": draft.jpeg(TINY)}
    draft.page(at("A", 72, 144.5, 216, 162) + at("T", 0, 0, 5, 5), drawn)
    draft.page(at("B", 10, 20, 200, 300) + at("A", 300, 20, 100, 75), drawn)
    (tmp_path / "report.pdf").write_bytes(draft.save())
    (tmp_path / "photo.jpg").write_bytes(SECOND)
    (tmp_path / "locked.pdf").write_bytes(showing(FIRST, encryption=pikepdf.Encryption(owner="a", user="b")))
    (tmp_path / "cut.pdf").write_bytes(showing(FIRST)[:3000])
    return tmp_path


def test_each_picture_is_one_json_object_a_line(folder: Path) -> None:
    run = dhash("extract", folder / "report.pdf", folder / "photo.jpg", "--json")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert (run.returncode, run.stderr) == (0, "")
    assert [(Path(line["path"]).name, line["page"], line["box"]) for line in lines] == [
        ("report.pdf", 1, [72, 144.5, 288, 306.5]),
        ("report.pdf", 2, [10, 20, 210, 320]),
        ("report.pdf", 2, [300, 20, 400, 95]),
        ("photo.jpg", None, None),
    ]
    assert lines[0] | {"path": ""} == {
        "path": "",
        "page": 1,
        "box": [72, 144.5, 288, 306.5],
        "sha256": hashlib.sha256(FIRST).hexdigest(),
        "format": "JPEG",
        "size": len(FIRST),
        "width": 320,
        "height": 240,
        "algorithm": "dhash-64-visual-fast",
        "hash": fingerprint(FIRST).hex,
        "quality": fingerprint(FIRST).quality,
        "reasons": [],
    }
    assert lines[1]["hash"] == lines[3]["hash"]


def test_a_person_reads_where_each_picture_stands_and_what_was_left_out(folder: Path) -> None:
    path = folder / "report.pdf"
    run = dhash("extract", path)
    assert run.stdout.splitlines()[0] == (
        f"{fingerprint(FIRST).hex}  {fingerprint(FIRST).quality:.2f}  320×240 JPEG  "
        f"{path}, page 1 at 72,144.5 to 288,306.5"
    )
    assert run.stderr == f"{path}: skipped 1 tiny\n"


def test_pictures_are_written_once_each_and_again_without_change(folder: Path) -> None:
    output = folder / "out"
    first, second = (dhash("extract", folder / "report.pdf", "--output", output, "--json") for _ in range(2))
    assert first.stdout == second.stdout
    names = [Path(json.loads(line)["saved"]).name for line in first.stdout.splitlines()]
    assert names[0] == names[2] == f"report-p1-{hashlib.sha256(FIRST).hexdigest()[:12]}.jpg"
    written = {path.name: path.read_bytes() for path in output.iterdir()}
    assert written == {names[0]: FIRST, names[1]: SECOND}


def test_it_goes_on_after_bad_files_and_exits_with_1(folder: Path) -> None:
    names = ("locked.pdf", "cut.pdf", "missing.pdf", "report.pdf")
    run = dhash("extract", *(folder / name for name in names), "--json")
    assert run.returncode == 1
    assert len(run.stdout.splitlines()) == 3
    assert f"{folder / 'locked.pdf'}: The PDF is encrypted" in run.stderr
    assert f"{folder / 'cut.pdf'}: The PDF cannot be read" in run.stderr
    assert f"{folder / 'missing.pdf'}: The file cannot be read: No such file" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_that_cannot_be_written_to_is_said_first(folder: Path) -> None:
    run = dhash("extract", folder / "report.pdf", "--output", folder / "photo.jpg")
    assert (run.returncode, run.stdout) == (1, "")
    assert "The folder cannot be written to" in run.stderr


def test_the_limits_of_the_settings_hold(folder: Path) -> None:
    run = dhash("extract", folder / "report.pdf", env={"DHASH_MAX_PAGES": "1"})
    assert run.returncode == 1
    assert "The PDF has too many pages" in run.stderr
