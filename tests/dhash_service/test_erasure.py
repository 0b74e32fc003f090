"""What was taken down or erased comes back by no way in: every way is walked, on both databases."""

import asyncio
import contextlib
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner

from dhash_service.bulk import index_files
from dhash_service.cli import main  # noqa: F401  (registers the commands)
from dhash_service.cli.app import app as commands
from dhash_service.errors import BadRequestError, NotFoundError, TakenDownError
from dhash_service.facts import Label, Match, Neighbour, Role, Sha256, Status, Verdict, new_id
from dhash_service.metrics import Metrics
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.check import check
from dhash_service.store.engine import reading
from dhash_service.store.merge import merge
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store
from dhash_service.store.tables import metadata
from tests.dhash_service.documents.pdfs import showing
from tests.dhash_service.serving import Server, serving
from tests.dhash_service.store.facts import decision, picture, queued
from tests.dhash_service.ways import open_ways, ways
from tests.dhash_service.web.conftest import new_token
from tests.pictures import jpeg

Start = Callable[..., Service]
PICTURE, OTHER = jpeg(320, 240, 7), jpeg(320, 240, 8)


def settings_of(store_url: str, folder: Path, **given: object) -> Settings:
    named = {"store": store_url, "release": "r1", "threads": 2, "algorithm": "dhash-64-fast"}
    kept = {"originals": folder / "originals", "keep_originals": True, "document_workers": 1}
    return Settings(**(named | kept | given))  # type: ignore[arg-type]


@pytest.fixture
def start(store_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts services on the test's store, with originals beside it."""
    with ExitStack() as stack:

        def start_one(url: str = store_url, **given: object) -> Service:
            settings = settings_of(url, tmp_path, **given)
            service = Service(settings, Metrics("r1")).start()
            stack.callback(service.close)
            return service

        yield start_one


def submitted(service: Service, data: bytes = PICTURE, **options: bool) -> UUID:
    label = Label("face.jpg", "/private/face.jpg", ("face",))
    return asyncio.run(service.submit(data, label=label, **options)).picture_id


def nothing_is_left(service: Service, id: UUID, sha256: str) -> None:
    """No answer, no row and no file has anything of the picture, but its keyed digest."""
    assert service.image(id) is None
    assert service.store.thumbnail(id) is None
    assert service.matcher.catch_up()
    found = asyncio.run(service.search(0, 64, 1000))
    assert id not in {near.image.id for near in found.neighbours}
    assert found.total == len(found.neighbours)
    assert service.store.originals is not None
    assert service.store.originals.get(Sha256(sha256)) is None
    with reading(service.store.engine) as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                assert id not in row
                assert sha256 not in row
                assert "/private/face.jpg" not in row
    assert all(finding.ok for finding in check(service.store.engine))


def erase(service: Service, id: UUID) -> None:
    asyncio.run(service.erase(id, "asked for by the person shown", "ada"))


@pytest.fixture
def erased(start: Start) -> tuple[Service, UUID, str]:
    """A service in which a picture that much was said about has been erased."""
    service = start()
    kept = asyncio.run(service.submit(PICTURE, label=Label("face.jpg", "/private/face.jpg", ("face",))))
    image = service.image(kept.picture_id)
    assert image is not None
    lookup = queued(service.store, "near", image)
    service.store.verdicts.record(decision(kept.lookup, Verdict.SAME)).result(10)
    erase(service, kept.picture_id)
    still = service.store.lookup(lookup)
    assert still is not None
    assert still.match.nearest is None
    return service, kept.picture_id, kept.sha256


def test_erasing_leaves_nothing_and_every_process_drops_it(
    erased: tuple[Service, UUID, str], start: Start
) -> None:
    service, id, sha256 = erased
    nothing_is_left(service, id, sha256)
    other = start()
    kept = asyncio.run(other.submit(OTHER))
    erase(service, kept.picture_id)
    nothing_is_left(other, kept.picture_id, kept.sha256)
    assert other.matcher.follower.failover is None
    with pytest.raises(NotFoundError):
        erase(service, UUID(int=7))


def test_an_erased_picture_is_refused_to_everybody_on_every_way(
    erased: tuple[Service, UUID, str], tmp_path: Path
) -> None:
    service, id, sha256 = erased
    for as_admin in (False, True):
        with pytest.raises(TakenDownError, match=r"erased on .*: asked for by the person shown"):
            submitted(service, as_admin=as_admin)
        refused, taken = asyncio.run(
            service.submit_batch([(lambda: PICTURE, Label()), (lambda: OTHER, Label())], as_admin=as_admin)
        )
        assert isinstance(refused, TakenDownError)
        assert not isinstance(taken, Exception)
    assert asyncio.run(service.submit(PICTURE, register=False)).lookup is None
    (tmp_path / "face.jpg").write_bytes(PICTURE)
    settings = service.settings
    (tmp_path / "scan.pdf").write_bytes(showing(PICTURE))
    files = [tmp_path / "face.jpg", tmp_path / "scan.pdf"]
    alone, scanned = index_files(files, settings, service.store, service.matcher)
    nothing_is_left(service, id, sha256)
    assert isinstance(alone.error, TakenDownError)
    assert (scanned.error, scanned.progress.pictures, scanned.progress.skipped) == (None, 0, {"refused": 1})


def test_a_picture_in_a_pdf_is_left_out_and_counted(start: Start) -> None:
    service = start()
    data = showing(PICTURE, OTHER)
    first, second = asyncio.run(service.extract(data)).pictures
    erase(service, first[1].picture_id)
    again = asyncio.run(service.extract(data, as_admin=True))
    assert [each.picture_id for _, each in again.pictures] == [second[1].picture_id]
    assert again.skipped["refused"] == 1


def test_no_merge_and_no_restored_file_brings_it_back(start: Start, tmp_path: Path, store_url: str) -> None:
    service = start()
    id = submitted(service)
    sha256 = service.image(id).sha256  # type: ignore[union-attr]
    image = service.image(id)
    assert image is not None
    matched = Match(Status.REVIEW, 0.5, ("small_margin",), Neighbour(image, 3), None, 1)
    other = service.store.add_image(picture("other"), matched).result(10)
    service.store.verdicts.record(decision(other.lookup)).result(10)
    lookup = service.store.kept_by(image)
    assert lookup is not None
    service.store.verdicts.record(decision(lookup.id)).result(10)
    before = take(service.store.engine, tmp_path / "before.db").path
    originals = shutil.copytree(tmp_path / "originals", tmp_path / "saved")
    erase(service, id)
    after = take(service.store.engine, tmp_path / "after.db").path

    def merged(store: Store, file: Path) -> None:
        merge(store.engine, file, algorithm=store.algorithm)

    merged(service.store, before)  # a backup into the live store, its originals unpacked as well
    shutil.copytree(originals, tmp_path / "originals", dirs_exist_ok=True)
    assert service.store.erase_again() == 1
    nothing_is_left(service, id, sha256)
    assert service.store.lookup(other.lookup) is not None  # the others' facts stay

    restored = start(f"sqlite:///{before}")  # the backup in place of the store, then what was live into it
    assert restored.image(id) is not None
    merged(restored.store, after)
    assert restored.store.erase_again() == 1
    nothing_is_left(restored, id, sha256)
    with pytest.raises(TakenDownError):
        submitted(restored)
    merged(restored.store, after)
    assert restored.store.erase_again() == 0

    replica = start(f"sqlite:///{after}")  # a copy made since
    nothing_is_left(replica, id, sha256)
    merged(replica.store, take(restored.store.engine, tmp_path / "again.db").path)
    nothing_is_left(replica, id, sha256)


def test_a_store_that_an_older_backup_replaced_learns_what_was_erased_since(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `rollout rollback --data exact` does: the data of the backup, the erasures of the store before."""
    service = start()
    id = submitted(service)
    image = service.image(id)
    assert image is not None
    before = take(service.store.engine, tmp_path / "before.db").path
    erase(service, id)
    since = submitted(service, OTHER)
    live = take(service.store.engine, tmp_path / "live.db").path
    restored = start(f"sqlite:///{before}")
    assert restored.image(id) is not None
    monkeypatch.setenv("DHASH_STORE", f"sqlite:///{before}")
    monkeypatch.setenv("DHASH_ORIGINALS", str(tmp_path / "originals"))
    for expected in ({"erasures": 1, "erased": 1}, {"erasures": 0, "erased": 0}):
        said = CliRunner().invoke(commands, ["db", "forget", "--json", str(live)])
        assert json.loads(said.output) == expected
    nothing_is_left(restored, id, image.sha256)
    assert restored.image(since) is None, "nothing else is taken"
    with pytest.raises(TakenDownError):
        submitted(restored)


def test_originals_that_are_kept_no_more_are_erased_too(start: Start, tmp_path: Path) -> None:
    service = start()
    id = submitted(service)
    service.close()
    later = Service(
        settings_of(service.settings.store.get_secret_value(), tmp_path, keep_originals=False), Metrics("r1")
    )
    with contextlib.closing(later.start()):
        submitted(later, OTHER)
        assert len([path for path in (tmp_path / "originals").rglob("*") if path.is_file()]) == 1
        erase(later, id)
        assert not any(path.is_file() for path in (tmp_path / "originals").rglob("*"))


def test_a_file_restored_by_hand_is_cleaned_when_a_service_starts(start: Start, tmp_path: Path) -> None:
    service = start()
    id = submitted(service)
    (tmp_path / "kept").write_bytes(PICTURE)
    before = service.image(id)
    assert before is not None
    erase(service, id)
    assert service.store.originals is not None
    path = service.store.originals.path(before.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PICTURE)
    service.close()
    again = start()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(again._readers.shutdown).result(20)
    assert not path.exists()


def test_an_erased_picture_leaves_no_bytes_in_the_file(start: Start, store_url: str, tmp_path: Path) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("PostgreSQL's files are its own; its rows are vacuumed")
    service = start()
    id = submitted(service)
    small = service.store.thumbnail(id)
    assert small is not None
    part = small[200:232]
    files = [tmp_path / "dhash.db", tmp_path / "dhash.db-wal"]
    assert any(part in file.read_bytes() for file in files)
    erase(service, id)
    assert not any(part in file.read_bytes() for file in files if file.exists())


def test_erasing_beside_a_reader_that_never_ends_keeps_nobody_from_writing(
    start: Start, tmp_path: Path, store_url: str
) -> None:
    """As litestream does, which holds the log of SQLite so that nobody else empties it."""
    if not store_url.startswith("sqlite"):
        pytest.skip("PostgreSQL has no log that is emptied")
    service = start()
    erased = submitted(service)
    with contextlib.closing(sqlite3.connect(tmp_path / "dhash.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM images").fetchone()
        with ThreadPoolExecutor(1) as threads:
            erasing = threads.submit(erase, service, erased)
            longest = 0.0
            while not erasing.done():
                begin = time.monotonic()
                submitted(service, OTHER)
                longest = max(longest, time.monotonic() - begin)
            erasing.result()
    assert longest < 3, "and not as long as a writer waits for another"
    assert service.image(erased) is None


def test_the_command_erases_known_files_and_unknown_ones_beforehand(
    start: Start, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    submitted(service)
    (tmp_path / "face.jpg").write_bytes(PICTURE)
    (tmp_path / "other.jpg").write_bytes(OTHER)
    monkeypatch.setenv("DHASH_STORE", store_url)
    monkeypatch.setenv("DHASH_BACKUP_DAYS", "30")
    monkeypatch.setenv("DHASH_BACKUP_COUNT", "10")
    said = CliRunner().invoke(commands, ["erase", str(tmp_path / "face.jpg"), str(tmp_path / "other.jpg")])
    assert said.exit_code == 0, said.output
    assert "1 picture removed. Backups from before" in said.output
    assert "and until 10 newer ones are there" in said.output
    assert f"until {datetime.now(UTC).year}" in said.output or f"{datetime.now(UTC).year + 1}" in said.output
    for data in (PICTURE, OTHER):
        with pytest.raises(TakenDownError):
            submitted(service, data)
    unknown = CliRunner().invoke(commands, ["erase", "f" * 16])
    assert (unknown.exit_code, unknown.stdout) == (1, "0 pictures removed.\n")  # and no backup holds any
    with pytest.raises(BadRequestError):
        CliRunner().invoke(commands, ["erase"], catch_exceptions=False, standalone_mode=False)


def test_the_files_kept_to_compare_releases_have_none_that_was_erased(start: Start, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    service = start(samples=tmp_path / "samples")
    id = submitted(service)
    assert len(list((tmp_path / "samples").iterdir())) == 1
    erase(service, id)
    assert not list((tmp_path / "samples").iterdir())
    again = start(samples=tmp_path / "samples")
    with pytest.raises(TakenDownError):
        submitted(again)
    assert not list((tmp_path / "samples").iterdir())


# ---- over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that keeps neither originals nor thumbnails."""
    with serving(tmp_path_factory.mktemp("erasure"), keep_thumbnails=False) as running:
        yield running


def headers(server: Server, role: Role) -> dict[str, str]:
    with Store.open(server.env["DHASH_STORE"], release="r1", algorithm=None) as store:
        secret = new_token(store, f"{role} {new_id()}", role)
    return {"Authorization": f"Bearer {secret}"}


def send(server: Server, data: bytes, role: Role | None = None) -> httpx.Response:
    given = headers(server, role) if role else {}
    return server.client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"} | given)


def test_what_an_admin_took_down_only_an_admin_brings_back(server: Server) -> None:
    client, data = server.client, jpeg(320, 240, 11)
    id = send(server, data).json()["id"]
    admin = headers(server, Role.ADMIN)
    assert client.delete(f"/api/dhash/{id}?reason=not+ours", headers=admin).status_code == 204
    for role in (None, Role.CLIENT, Role.REVIEWER):
        refused = send(server, data, role)
        assert refused.status_code == 451
        assert refused.json()["type"].endswith("/taken-down")
        assert "not ours" in refused.json()["detail"]
        assert client.get(f"/api/dhash/{id}").status_code == 404
    assert send(server, data, Role.ADMIN).status_code == 201
    assert client.get(f"/api/dhash/{id}").status_code == 200


def test_erasing_is_for_admins_and_says_what_backups_hold(server: Server) -> None:
    client, data = server.client, jpeg(320, 240, 12)
    id = send(server, data).json()["id"]
    address = f"/api/dhash/{id}?erase=true"
    assert client.delete(address).status_code == 401
    assert client.delete(address, headers=headers(server, Role.REVIEWER)).status_code == 403
    admin = headers(server, Role.ADMIN)
    answer = client.delete(address, headers=admin)
    assert answer.status_code == 200
    assert answer.json()["id"] == id
    assert "Backups from before" in answer.json()["backups"]
    assert client.delete(address, headers=admin).json() == answer.json()  # it is gone: so it should be
    assert client.delete(f"/api/dhash/{UUID(int=1)}?erase=true", headers=admin).status_code == 404
    assert client.get(f"/api/dhash/{id}").status_code == 404
    assert send(server, data, Role.ADMIN).status_code == 451


def test_without_thumbnails_pages_show_the_fingerprint(server: Server) -> None:
    client = server.client
    sent = send(server, jpeg(320, 240, 13)).json()
    assert client.get(f"/api/dhash/{sent['id']}/thumbnail").status_code == 404
    shown = client.get(f"/pictures/{sent['id']}/thumbnail")
    assert shown.status_code == 200
    bits = Image.open(io.BytesIO(shown.content)).convert("L").resize((8, 8), Image.Resampling.NEAREST)
    assert f"{int(''.join('1' if level else '0' for level in bits.tobytes()), 2):016x}" == sent["hash"]
    assert client.get(f"/pictures/{UUID(int=1)}/thumbnail").status_code == 404


NAME = "face-of-somebody.jpg"


def test_no_way_in_serves_what_was_erased_even_after_a_backup_was_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, keep_originals=True) as running:
        client = running.client

        def ask(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
            kind = {"Content-Type": "application/json"} if body else {}
            answer = client.request(method, path, content=body, headers=kind)
            return answer.status_code, answer.content

        def put(data: bytes, name: str) -> dict[str, str]:
            sent = client.post(
                "/api/dhash", files={"file": (name, data, "image/jpeg")}, data={"source": name}
            )
            assert sent.status_code == 201, sent.text
            known: dict[str, str] = sent.json()
            return known

        face = put(PICTURE, NAME)
        put(PICTURE + b"one byte more: another file, the same picture", "twin.jpg")
        with Store.open(running.env["DHASH_STORE"], release="r1", algorithm=None) as store:
            image = store.image(UUID(face["id"]))
            assert image is not None
            queued(store, "waits", image)
            before = take(store.engine, tmp_path / "before.db").path
        known = (face["id"], face["hash"], NAME)
        assert open_ways(ask, *known) == set(ways(*known)), "each of them would find it"
        admin = headers(running, Role.ADMIN)
        assert client.delete(f"/api/dhash/{face['id']}?erase=true", headers=admin).status_code == 200
        assert open_ways(ask, *known) == set()
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        said = CliRunner().invoke(commands, ["db", "merge", "--json", str(before)])
        assert said.exit_code == 0, said.output
        assert open_ways(ask, *known) == set()
        bank = client.put("/api/dhash/banks/known", json={"action": "told"}, headers=admin)
        assert bank.status_code == 200
        entry = f"kind,value\ndhash,{face['hash']}\n"
        loaded = client.post("/api/dhash/banks/known/entries", content=entry, headers=admin)
        assert loaded.json()["changed"] == 1, loaded.text
        assert open_ways(ask, *known) == set(), "its hash on a list brings no picture"
        for role in (None, Role.REVIEWER, Role.ADMIN):
            assert send(running, PICTURE, role).status_code == 451
