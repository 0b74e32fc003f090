"""Whole folders into the store, interrupted and resumed; then searched and decided from the terminal."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dhash_service import bulk
from dhash_service.facts import Sha256, Subject, Tombstone, image_id, new_id
from dhash_service.matcher import Matcher
from dhash_service.settings import Settings
from dhash_service.store.store import Store
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.documents import pdfs
from tests.dhash_service.serving import dhash
from tests.dhash_service.store.databases import sqlite_file
from tests.pictures import encode, jpeg, photo

MANY = 1_000
"""Pictures: more than are done while somebody sees the first one in the store."""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A store of its own, and one process that reads files: each takes a second to start."""
    store = sqlite_file(tmp_path / "dhash.db")
    return {"DHASH_STORE": store, "DHASH_RELEASE": "test-1", "DHASH_THREADS": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in a folder and below it, a PDF, what is no picture, and what does not even say so."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for seed in range(12):
        (folder / f"{seed}.jpg").write_bytes(jpeg(200, 150, seed))
    (folder / "below" / "again.jpeg").write_bytes(encode(photo(200, 150, 3), "JPEG", quality=60))
    (folder / "below" / "same bytes.jpg").write_bytes(jpeg(200, 150, 5))
    (folder / "below" / "document.PDF").write_bytes(document())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "notes.txt").write_text("not taken from a folder")
    return folder


def index(env: dict[str, str], *paths: Path) -> tuple[dict[str, int], subprocess.CompletedProcess[str]]:
    run = dhash("index", *paths, "--json", env=env)
    return json.loads(run.stdout), run


def test_a_folder_is_indexed_once_and_skipped_ever_after(env: dict[str, str], folder: Path) -> None:
    several = {**env, "DHASH_THREADS": "2"}
    summary, run = index(several, folder)
    assert run.returncode == 1
    assert "broken.png" in run.stderr
    assert summary["files"] == summary["done"] == 16
    assert summary["failed"] == 1
    assert summary["pictures"] == 12 + 1 + 2  # the JPEGs, the one saved again, and two in the PDF
    assert summary["known"] == 1

    again, _ = index(env, folder)
    assert (again["pictures"], again["known"], again["failed"]) == (0, 15, 1)


def test_what_is_named_is_tried_whatever_it_is_called(env: dict[str, str], tmp_path: Path) -> None:
    odd = tmp_path / "picture.dat"
    odd.write_bytes(jpeg(100, 100, 77))
    summary, run = index(env, odd)
    assert run.returncode == 0
    assert summary["pictures"] == 1


def test_what_a_file_is_called_does_not_matter(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(document())
    (tmp_path / "report.pdf").write_bytes(jpeg(200, 150, 31))
    (tmp_path / "phone.jpg").write_bytes(encode(photo(200, 150, 32), "AVIF"))
    summary, run = index(env, tmp_path / "photo.jpg", tmp_path / "report.pdf", tmp_path / "phone.jpg")
    assert (run.returncode, summary["pictures"], summary["failed"]) == (0, 4, 0)
    summary, run = index({**env, "DHASH_FORMATS": "none"}, tmp_path / "phone.jpg")
    assert (summary["known"], summary["failed"]) == (1, 0)  # by its bytes
    (tmp_path / "other.avif").write_bytes(encode(photo(200, 150, 33), "AVIF"))
    _, run = index({**env, "DHASH_FORMATS": "none"}, tmp_path / "other.avif")
    assert (run.returncode, "DHASH_FORMATS=avif" in run.stderr) == (1, True)


def test_the_summary_counts_what_documents_did_not_give(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(pdfs.showing(jpeg(200, 150, 61), jpeg(20, 15, 62)))
    summary, run = index(env, tmp_path)
    assert (run.returncode, summary["pictures"], summary["skipped"]) == (0, 1, {"tiny": 1})


def test_banks_queue_and_refuse_what_is_indexed(env: dict[str, str], tmp_path: Path) -> None:
    pictures = {
        name: jpeg(200, 150, 40 + number) for number, name in enumerate(("told", "queued", "refused"))
    }
    for name, data in pictures.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
        (tmp_path / f"{name}.csv").write_text(f"kind,value\nmd5,{hashlib.md5(data).hexdigest()}\n")
        dhash("bank", "set", name, "--action", name, env=env)
        dhash("bank", "import", name, tmp_path / f"{name}.csv", env=env)
    summary, run = index(env, *(tmp_path / f"{name}.jpg" for name in pictures))
    assert (run.returncode, summary["pictures"], summary["failed"]) == (1, 2, 1)
    assert "refused.jpg: It matches refused." in run.stderr
    queue = dhash("queue", "list", "--json", env=env).stdout
    assert queue.count('"banked"') == 1


def test_near_pictures_of_one_run_are_matched_with_each_other(env: dict[str, str], folder: Path) -> None:
    index(env, folder)
    found = dhash("search", folder / "below" / "again.jpeg", "--json", env=env)
    near = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(near) >= 2
    assert near[0]["distance"] == 0
    assert [each["distance"] for each in near] == sorted(each["distance"] for each in near)


def test_ctrl_c_keeps_what_was_begun_and_the_next_run_goes_on(env: dict[str, str], tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    pictures = [jpeg(400, 300, seed) for seed in range(40)]
    for number in range(MANY):
        picture = pictures[number % 40]
        comment = number.to_bytes(4, "big")
        (many / f"{number:04}.jpg").write_bytes(picture[:2] + b"\xff\xfe\0\x06" + comment + picture[2:])
    process = subprocess.Popen(
        [sys.executable, "-m", "dhash_service", "index", str(many), "--json"],
        env={**os.environ, **env, "DHASH_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with closing(sqlite3.connect(env["DHASH_STORE"].removeprefix("sqlite:///"))) as store:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not store.execute("SELECT count(*) FROM images").fetchone()[0]:
            time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    first = json.loads(out)
    assert first["interrupted"] is True
    assert 0 < first["pictures"] < MANY
    assert "Traceback" not in err

    second, run = index(env, many)
    assert run.returncode == 0
    assert second["interrupted"] is False
    assert second["known"] + second["pictures"] == MANY
    assert second["known"] >= first["pictures"]


def test_the_queue_is_read_and_decided_from_the_terminal(env: dict[str, str], tmp_path: Path) -> None:
    from PIL import Image

    for width in (300, 301):
        (tmp_path / f"{width}.png").write_bytes(encode(Image.new("L", (width, 200), 90), "PNG"))
    index(env, tmp_path / "300.png", tmp_path / "301.png")
    status = json.loads(dhash("queue", "status", "--json", env=env).stdout)
    assert status["length"] == 1
    item = json.loads(dhash("queue", "list", "--json", env=env).stdout)
    decided = dhash("queue", "decide", item["lookup"], "same", "--reviewer", "rita", env=env)
    assert decided.returncode == 0
    assert json.loads(dhash("queue", "status", "--json", env=env).stdout)["length"] == 0
    nobody = dhash("queue", "decide", "00000000-0000-7000-8000-000000000000", "same", env=env)
    assert nobody.returncode == 1
    assert "dhash queue list" in nobody.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("index", "/nowhere"), 2, "does not exist"),
        (("search", "neither"), 1, "neither a file nor 16 hex digits"),
        (("queue", "decide", "no-id", "same"), 2, "should be a valid UUID"),
        (("token", "create", "x", "--role", "king"), 2, "king"),
    ],
)
def test_what_cannot_be_done_is_said(
    env: dict[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    run = dhash(*arguments, env=env)
    assert run.returncode == code
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_every_command_has_help_with_an_example() -> None:
    from typer.main import get_command

    from dhash_service.cli.app import app

    def leaves(command: object, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], object]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [(path, command)]
        return [leaf for name, each in inner.items() for leaf in leaves(each, (*path, name))]

    import dhash_service.cli  # noqa: F401

    found = leaves(get_command(app), ())
    assert len(found) > 15
    for path, command in found:
        assert "Example: dhash" in str(getattr(command, "epilog", "")), path
        assert getattr(command, "help", ""), path


def test_what_has_not_changed_is_not_read_and_what_has_is(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, old = tmp_path / "a.jpg", time.time() - 60
    settings = Settings.load(store=env["DHASH_STORE"], release="t")

    def run() -> tuple[int, int, int]:
        with Store.open_from(settings) as store, Matcher(store, settings) as matcher:
            done = list(bulk.index_files([name], settings, store, matcher))[-1].progress
        return done.pictures, done.known, done.failed

    def write(seed: int) -> None:
        name.write_bytes(jpeg(200, 150, seed).ljust(40_000, b"\0"))  # as large and as old each time
        os.utime(name, (old, old))

    write(51)
    assert run() == (1, 0, 0)
    assert run() == (0, 1, 0)  # it has just changed, so it was read
    monkeypatch.setattr(bulk, "is_settled", lambda status, now: True)
    assert run() == (0, 1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(bulk.FileReader, "read", None)  # nothing is read
        assert run() == (0, 1, 0)
    write(52)
    assert run() == (1, 0, 0)
    digest = Sha256(hashlib.sha256(name.read_bytes()).hexdigest())
    with Store.open_from(settings) as store:
        now = datetime.now(UTC)
        away = Tombstone(new_id(), Subject.IMAGE, str(image_id(digest)), True, "", "ada", "t", now)
        store.add_tombstone(away).result()
    assert run() == (0, 0, 1)  # it was taken down


def test_a_working_directory_that_was_removed_is_said(tmp_path: Path, env: dict[str, str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = ["sh", "-c", script, "sh", gone, sys.executable, "-m", "dhash_service", "index", "."]
    relative = {**os.environ, **env, "DHASH_STORE": "sqlite:///dhash.db"}
    run = subprocess.run(command, env=relative, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "The working directory is gone." in run.stderr
    assert "Traceback" not in run.stderr
