"""`dhash where`, over a real store."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dhash_service.cli import main  # noqa: F401  (registers the commands)
from dhash_service.cli.app import app
from dhash_service.errors import BadRequestError, UnreadableFileError
from dhash_service.pictures.fingerprint import ALGORITHMS, read_picture
from dhash_service.store.sightings import label_of
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NEW
from tests.pictures import jpeg


@pytest.fixture
def picture(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the store knows under another path."""
    monkeypatch.setenv("DHASH_STORE", store_url)
    path = tmp_path / "here.jpg"
    path.write_bytes(jpeg(240, 180, 7))
    algorithm = ALGORITHMS["dhash-64-fast"]
    with Store.open(store_url, release="r1", algorithm=algorithm) as store:
        kept = read_picture(path.read_bytes(), algorithm)
        store.add_image(kept, NEW, label=label_of(None, "/albums/sea.jpg", ["sea"])).result(10)
    return path


def where(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["where", *arguments, "--json"])
    assert result.exit_code == (0 if result.stdout else 1), result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_picture_is_placed_by_file_hash_digest_id_name_and_tag(picture: Path) -> None:
    (line,) = where(str(picture))
    assert (line["name"], line["source"]) == ("sea.jpg", "/albums/sea.jpg")
    assert where(str(line["hash"])) == where(str(line["image"])) == [line]
    assert where("--name", "albums/") == where("--tag", "sea") == [line]
    assert where("--tag", "land") == where("0123456789abcdef") == []


def test_a_copy_with_other_bytes_is_placed_by_its_fingerprint(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert [line["source"] for line in where(str(picture))] == ["/albums/sea.jpg"]


def test_what_is_no_picture_is_said(picture: Path) -> None:
    for given in (["where", "no-such-file"], ["where"]):
        result = CliRunner().invoke(app, given)
        assert isinstance(result.exception, BadRequestError)


def test_indexed_files_are_placed_relative_to_the_root_once_each(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHASH_STORE", store_url)
    monkeypatch.setenv("DHASH_THREADS", "1")
    data = jpeg(240, 180, 8)
    folder = tmp_path / "albums" / "2019"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(data)
    for _ in range(2):
        assert CliRunner().invoke(app, ["index", str(folder), "--root", str(tmp_path)]).exit_code == 0
    assert [line["source"] for line in where("--name", "2019/")] == ["albums/2019/a.jpg"]
    (folder / "b.jpg").write_bytes(data)
    odd = folder / os.fsdecode(b"c\xff\x07.jpg")
    odd.write_bytes(data)
    assert CliRunner().invoke(app, ["index", str(folder), "--root", str(tmp_path)]).exit_code == 0
    assert {line["name"] for line in where(str(folder / "a.jpg"))} == {"a.jpg", "b.jpg", "c\\xff\\x07.jpg"}


def test_search_finds_the_turned_copy_and_refuses_what_it_cannot_read(picture: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    with Image.open(picture) as whole:
        whole.transpose(Image.Transpose.ROTATE_90).save(turned)
    lines = CliRunner().invoke(app, ["search", str(turned), "--variants", "--json"]).stdout.splitlines()
    assert [json.loads(line)["turn"] for line in lines] == ["turned_90"]
    assert CliRunner().invoke(app, ["search", str(turned), "--json"]).stdout == ""
    os.mkfifo(tmp_path / "pipe.jpg")
    for command in (["search"], ["where"], ["erase"]):
        for path in (tmp_path, tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path / ("a" * 300)):
            result = CliRunner().invoke(app, [*command, str(path)])
            assert isinstance(result.exception, UnreadableFileError), (command, path)
    assert isinstance(CliRunner().invoke(app, ["search", "0" * 16, "--variants"]).exception, BadRequestError)
    result = CliRunner().invoke(app, ["index", "a" * 300])
    assert (result.exit_code, "File name too long" in result.stderr) == (1, True)


def test_no_word_that_a_shell_can_give_is_a_traceback(picture: Path) -> None:
    half = os.fsdecode(b"\xff")
    for command in (["where", "--name"], ["where", "--tag"], ["db", "gone", "--release"]):
        assert isinstance(CliRunner().invoke(app, [*command, half]).exception, BadRequestError), command
    for name in ("", " ", "a\x1b[31m", "a" * 201, half):
        assert isinstance(CliRunner().invoke(app, ["token", "create", name]).exception, BadRequestError)


def test_a_limit_beyond_all_numbers_is_a_wrong_limit(picture: Path) -> None:
    assert len(where("--tag", "sea", "--limit", str(2**31 - 1))) == 1
    result = CliRunner().invoke(app, ["where", "--tag", "sea", "--limit", "9" * 23])
    assert (result.exit_code, "--limit" in result.stderr) == (2, True), result.output


def test_what_is_found_is_not_cut_where_nobody_sees_a_terminal(picture: Path) -> None:
    (line,) = where(str(picture))
    assert str(line["image"]) in CliRunner().invoke(app, ["search", str(picture)]).stdout
    assert "DHASH_REQUIRE_SYNCHRONOUS" in CliRunner().invoke(app, ["settings"]).stdout


def test_a_user_without_a_name_may_erase(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert CliRunner().invoke(app, ["erase", str(picture)]).exit_code == 0


def test_what_parquet_cannot_be_asked_is_refused_not_passed_over() -> None:
    for asked in (["--csv"], ["--html"], ["--within", "2019/"], ["--keep", "oldest"]):
        result = CliRunner().invoke(app, ["duplicates", "--parquet", "prints", *asked])
        assert isinstance(result.exception, BadRequestError), asked
