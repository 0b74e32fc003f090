"""Golden fingerprints: those of this release, moved ones, and those of a running service."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from dhash_service.errors import (
    BadRequestError,
    GoldenMovedError,
    GoldenRecordError,
    ServiceAnswerError,
)
from dhash_service.facts import Algorithm
from dhash_service.golden import FOLDER, Golden, check, record
from dhash_service.golden.draw import draw
from dhash_service.golden.readers import LocalReader, ServiceReader, over_socket, over_url
from dhash_service.pictures.fingerprint import ALGORITHMS, EXACT, FAST
from dhash_service.pictures.formats import sniff
from dhash_service.settings import Settings
from tests.dhash_service.serving import dhash, free_port, serving, start
from tests.pictures import jpeg


@pytest.fixture(scope="module")
def local() -> Iterator[LocalReader]:
    with LocalReader(Settings.load()) as reader:
        yield reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden folder that a test may change."""
    return Path(shutil.copytree(FOLDER, tmp_path / "golden"))


def known(file: str, data: bytes, algorithm: Algorithm) -> tuple[str, ...]:
    """A reader that finds what is recorded."""
    return Golden.load().of(file, algorithm)


# ---- the folder of this release


def test_no_fingerprint_of_this_release_moved(local: LocalReader) -> None:
    golden = Golden.load()
    for algorithm in ALGORITHMS.values():
        checked = check(golden, algorithm, local.read)
        checked.require()
        assert checked.pictures == len(golden.files(algorithm)) + 1  # the PDF holds two


def test_the_folder_is_small_and_holds_every_format() -> None:
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
    assert sum(map(len, files.values())) < 450_000
    assert {sniff(data) for data in files.values()} >= {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert set(Golden.load().values) == set(files) - {"values.json"}


def test_the_files_are_those_that_the_project_draws(tmp_path: Path, local: LocalReader) -> None:
    draw(tmp_path)
    drawn = record(tmp_path, local.read)
    assert drawn.values == Golden.load().values


# ---- what moved


def test_a_picture_that_moved_is_named_with_the_number_of_bits() -> None:
    def moved(file: str, data: bytes, algorithm: Algorithm) -> tuple[str, ...]:
        values = known(file, data, algorithm)
        return (f"{int(values[0], 16) ^ 0b10110:016x}",) if file == "photo.jpg" else values

    checked = check(Golden.load(), FAST, moved)
    assert [(one.picture, one.distance) for one in checked.moved] == [("photo.jpg", 3)]
    with pytest.raises(GoldenMovedError, match=r"photo\.jpg moved by 3 bits"):
        checked.require()


def test_pictures_of_a_document_are_compared_in_their_order() -> None:
    def other(file: str, data: bytes, algorithm: Algorithm) -> tuple[str, ...]:
        values = known(file, data, algorithm)
        return values[:1] if file == "pages.pdf" else values

    (gone,) = check(Golden.load(), EXACT, other).moved
    assert (gone.picture, gone.found, gone.distance) == ("pages.pdf#2", None, None)
    assert str(gone) == "pages.pdf#2: is not found any more"

    def more(file: str, data: bytes, algorithm: Algorithm) -> tuple[str, ...]:
        values = known(file, data, algorithm)
        return (*values, "0" * 16) if file == "pages.pdf" else values

    (new,) = check(Golden.load(), EXACT, more).moved
    assert (new.picture, new.recorded) == ("pages.pdf#3", None)


def test_a_file_that_cannot_be_read_any_more_has_moved(folder: Path, local: LocalReader) -> None:
    (folder / "photo.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:5000])
    (folder / "color.png").unlink()
    moved = {one.picture: one.reason for one in check(Golden.load(folder), FAST, local.read).moved}
    assert set(moved) == {"photo.jpg", "color.png"}
    assert "truncated" in moved["photo.jpg"]
    assert "FileNotFoundError" in moved["color.png"]


# ---- recording


def test_recording_never_replaces_values_unasked(folder: Path, local: LocalReader) -> None:
    before = (folder / "values.json").read_text()
    (folder / "photo.jpg").write_bytes(jpeg(64, 48))
    with pytest.raises(GoldenRecordError, match="exists"):
        record(folder, local.read)
    assert (folder / "values.json").read_text() == before
    record(folder, local.read, accept=True)
    assert check(Golden.load(folder), FAST, local.read).ok
    assert (folder / "values.json").read_text() != before


def test_values_of_another_version_are_not_compared(folder: Path) -> None:
    values = json.loads((folder / "values.json").read_text())
    values["algorithms"][FAST.name] = FAST.version + 1
    (folder / "values.json").write_text(json.dumps(values))
    with pytest.raises(GoldenRecordError, match="version"):
        check(Golden.load(folder), FAST, known)
    assert check(Golden.load(folder), EXACT, known).ok


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"algorithms": {}, "files": []}', '{"algorithms": 3}'])
def test_a_damaged_record_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "values.json").write_text(text)
    with pytest.raises(GoldenRecordError, match=r"values\.json"):
        Golden.load(tmp_path)


def test_an_empty_folder_has_nothing_to_record_or_check(tmp_path: Path) -> None:
    with pytest.raises(GoldenRecordError, match="holds no files"):
        record(tmp_path, known)
    with pytest.raises(GoldenRecordError, match="does not exist"):
        Golden.load(tmp_path)


# ---- the command


def test_the_command_checks_this_release() -> None:
    run = dhash("golden", "check", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    pictures = sum(len(values) for file in Golden.load().values.values() for values in file.values())
    expected = {"ok": True, "algorithms": list(ALGORITHMS), "pictures": pictures, "moved": []}
    assert json.loads(run.stdout) == expected


def test_the_command_exits_with_1_and_names_what_moved(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(jpeg(64, 48))
    run = dhash("golden", "check", "--folder", folder, "--json")
    assert run.returncode == 1
    answer = json.loads(run.stdout)
    assert not answer["ok"]
    assert {one["picture"] for one in answer["moved"]} == {"photo.jpg"}
    assert f"photo.jpg moved by {answer['moved'][0]['distance']} bits" in run.stderr


def test_the_command_does_not_replace_a_record_without_accept(folder: Path) -> None:
    assert dhash("golden", "record", "--folder", folder).returncode == 1
    assert dhash("golden", "record", "--folder", folder, "--accept").returncode == 0


# ---- a running service


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_service_is_asked_at_its_address_and_keeps_nothing(tmp_path: Path, algorithm: str) -> None:
    with serving(tmp_path, algorithm=algorithm, locked=True) as server:
        token = server.token("golden", "client")["Authorization"].removeprefix("Bearer ")
        run = dhash("golden", "check", "--url", server.url, "--json", env={"DHASH_TOKEN": token})
        assert run.returncode == 0, run.stderr
        pictures = len(Golden.load().files(ALGORITHMS[algorithm])) + 1
        expected = {"ok": True, "algorithms": [algorithm], "pictures": pictures, "moved": []}
        assert json.loads(run.stdout) == expected

        refused = dhash("golden", "check", "--url", server.url, "--json")
        assert refused.returncode == 1
        assert "401" in refused.stderr
        assert token not in run.stdout + run.stderr

        headers = {"Authorization": f"Bearer {token}"}
        answer = server.client.get("/api/dhash/search", params={"hash": "0" * 16}, headers=headers).json()
        assert answer["known"] == 0


def test_a_service_is_asked_on_its_socket(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as short:
        socket = Path(short) / "s"
        server = start(Path(short), uds=socket)
        server.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://localhost"
        )
        try:
            server.wait_until_ready()
            assert dhash("golden", "check", "--uds", socket).returncode == 0
            (folder / "photo.jpg").write_bytes(jpeg(64, 48))
            run = dhash("golden", "check", "--uds", socket, "--folder", folder)
            assert run.returncode == 1
            assert "photo.jpg moved by" in run.stderr
        finally:
            server.stop()


def test_nobody_listening_is_said_so(tmp_path: Path) -> None:
    for arguments in (("--url", f"http://127.0.0.1:{free_port()}"), ("--uds", tmp_path / "none")):
        run = dhash("golden", "check", *arguments)
        assert run.returncode == 1
        assert "got no answer" in run.stderr
        assert "Traceback" not in run.stderr


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("localhost:3000", "ftp://host", "http://host/api", "http://host:port", "https://"):
        with pytest.raises(BadRequestError):
            over_url(url)
    assert dhash("golden", "check", "--url", "http://a", "--uds", "b").returncode == 1


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that gives these answers in turn, the last one for ever; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(f"{self.command} {self.path} {self.headers.get('Content-Type')}")
            self.send_response(status)
            self.send_header("Retry-After", "2")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_busy_service_is_asked_again_when_it_says_so() -> None:
    pauses: list[float] = []
    with (
        answering((503, b"{}"), (429, b"{}"), (200, b'{"hash": "00000000000000ff"}')) as (url, asked),
        ServiceReader(over_url(url), pause=pauses.append) as service,
    ):
        assert service.read("photo.jpg", jpeg(64, 48), FAST) == ("00000000000000ff",)
    assert pauses == [2.0, 2.0]
    assert asked == ["POST /api/dhash?register=false image/jpeg"] * 3


def test_a_service_that_stays_busy_is_given_up() -> None:
    pauses: list[float] = []
    with (
        answering((503, b'{"detail": "still starting"}')) as (url, asked),
        ServiceReader(over_url(url), pause=pauses.append) as service,
        pytest.raises(ServiceAnswerError, match="503: still starting"),
    ):
        service.algorithm()
    assert len(asked) == len(pauses) + 1 == 5


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b""), (200, b"[]"), (200, b"{}"), (200, b"<html>"), (500, b"\xff\xfe"), (404, b'"no"')],
)
def test_an_answer_without_fingerprints_is_an_error(status: int, body: bytes) -> None:
    with answering((status, body)) as (url, _), ServiceReader(over_url(url)) as service:
        for file in ("photo.jpg", "pages.pdf"):
            with pytest.raises(ServiceAnswerError):
                service.read(file, (FOLDER / file).read_bytes(), FAST)


def test_a_service_with_an_algorithm_unknown_here_is_an_error() -> None:
    with (
        answering((200, b'{"algorithm": "dhash-65"}')) as (url, _),
        ServiceReader(over_url(url)) as service,
        pytest.raises(GoldenRecordError, match="dhash-65"),
    ):
        service.algorithm()


def test_a_socket_path_that_is_too_long_is_no_answer(tmp_path: Path) -> None:
    with (
        ServiceReader(over_socket(tmp_path / ("x" * 200))) as service,
        pytest.raises(ServiceAnswerError, match="no answer"),
    ):
        service.algorithm()
