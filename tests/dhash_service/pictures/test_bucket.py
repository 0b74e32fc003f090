"""Originals in an object store: one replica keeps them, each serves them, and an erasure reaches them."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from dhash_service.errors import StoreDamagedError, StoreUnreachableError
from dhash_service.facts import Sha256, image_id
from dhash_service.objects import object_store
from dhash_service.pictures.bucket import BucketOriginals, originals_at
from tests.dhash_service.serving import Server, dhash, serving
from tests.guarded_rollout.storage import KEY, SECRET, WRITER, WRITERS_SECRET, running, s3_server
from tests.pictures import jpeg

CONTENT = b"not even a picture"
DIGEST = Sha256(hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def originals(bucket: str) -> BucketOriginals:
    found = originals_at(bucket)
    assert isinstance(found, BucketOriginals)
    return found


@pytest.fixture
def as_writer(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the credentials of whoever cannot make buckets."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", WRITER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRITERS_SECRET)
    object_store.cache_clear()
    yield
    object_store.cache_clear()


def test_what_was_put_is_there_for_others_until_it_is_removed(
    originals: BucketOriginals, bucket: str
) -> None:
    assert (originals.has(DIGEST), originals.get(DIGEST), list(originals.digests())) == (False, None, [])
    originals.put(CONTENT, DIGEST)
    originals.put(CONTENT, DIGEST)
    other = BucketOriginals(bucket)
    assert (other.has(DIGEST), other.get(DIGEST), list(other.digests())) == (True, CONTENT, [DIGEST])
    originals.remove(DIGEST)
    originals.remove(DIGEST)
    assert (originals.has(DIGEST), other.get(DIGEST), list(other.digests())) == (False, None, [])


def test_bytes_that_are_not_those_are_neither_kept_nor_served(
    originals: BucketOriginals, bucket: str
) -> None:
    with pytest.raises(StoreDamagedError):
        originals.put(b"something else", DIGEST)
    root, _, prefix = bucket.rpartition("/")
    object_store(root).put(f"{prefix}/{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST}", b"something else")
    with pytest.raises(StoreDamagedError, match="has changed"):
        originals.get(DIGEST)


def test_a_bucket_that_is_not_there_is_named(as_writer: None) -> None:
    originals = BucketOriginals("s3://nowhere/kept")
    for ask in (originals.require_usable, lambda: originals.get(DIGEST), lambda: list(originals.digests())):
        with pytest.raises(StoreUnreachableError, match=r"s3://nowhere/kept .*NoSuchBucket") as told:
            ask()
        assert "DHASH_ORIGINALS" in told.value.hint
    with pytest.raises(StoreUnreachableError, match="cannot be kept"):
        originals.put(CONTENT, DIGEST)


def test_credentials_that_do_not_hold_are_told_at_the_start(
    s3: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    env = s3 | {"DHASH_STORE": f"sqlite:///{tmp_path}/dhash.db", "DHASH_ORIGINALS": bucket}
    env |= {"DHASH_KEEP_ORIGINALS": "true", "AWS_SECRET_ACCESS_KEY": "wrong", "DHASH_PORT": "0"}
    said = dhash("serve", "--migrate", env=env)
    assert said.returncode == 1
    assert "cannot be listed" in said.stderr
    assert "credentials" in said.stderr
    assert "Traceback" not in said.stderr


def send(server: Server, picture: bytes) -> httpx.Response:
    return server.client.post("/api/dhash", content=picture, headers={"Content-Type": "image/jpeg"})


@pytest.mark.system
def test_a_replica_serves_and_erases_what_another_kept(
    s3: dict[str, str], bucket: str, postgres_url: str, tmp_path: Path
) -> None:
    kept = {"store": postgres_url, "keep_originals": True, "originals": bucket}
    with serving(tmp_path, **kept) as one, serving(tmp_path, **kept) as other:
        sent = send(one, jpeg(1500, 1100, 1)).json()
        large = f"/pictures/{sent['id']}/large"
        assert other.client.get(large).status_code == 200
        assert "/large" in other.client.get(f"/pictures/{sent['id']}").text
        admin = other.token("admin", "admin")
        assert other.client.delete(f"/api/dhash/{sent['id']}?erase=true", headers=admin).status_code == 200
        assert one.client.get(large).status_code == 404
        assert not list(BucketOriginals(bucket).digests())
        assert send(one, jpeg(1500, 1100, 1)).status_code == 451
        assert one.client.get("/health").json()["checks"]["disk"]["detail"].startswith("What is kept")


@pytest.mark.system
def test_an_object_store_killed_under_load_costs_no_acknowledged_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is 201, with its original in the bucket, or 503, of a picture that nobody knows."""
    pictures = [jpeg(640, 480, seed) for seed in range(16)]
    with ExitStack() as stack:
        senders = stack.enter_context(ThreadPoolExecutor(4))
        with s3_server(tmp_path / "s3") as place:
            given = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET, "ENDPOINT_URL": place.endpoint}
            for name, value in (given | {"REGION": "us-east-1"}).items():
                monkeypatch.setenv(f"AWS_{name}", value)
            originals = BucketOriginals("s3://killed/kept")
            originals.put(CONTENT, DIGEST)  # which makes the bucket
            url = originals.url
            server = stack.enter_context(serving(tmp_path, keep_originals=True, originals=url))
            sent = [senders.submit(send, server, picture) for picture in pictures]
            while sum(each.done() for each in sent) < 6:
                time.sleep(0.01)
        codes = [each.result().status_code for each in sent]
        assert set(codes) == {201, 503}, "some before, some after"
        problem = send(server, pictures[codes.index(503)])
        assert (problem.status_code, problem.json()["type"]) == (503, "/problems/store-unreachable")
        assert server.client.get("/health").status_code == 200, "it searches all the same"
        port = int(place.endpoint.rpartition(":")[2])
        with running(place.command, tmp_path / "weed.log", port):
            kept = set(BucketOriginals(url).digests()) - {DIGEST}
            for picture, code in zip(pictures, codes, strict=True):
                digest = Sha256(hashlib.sha256(picture).hexdigest())
                known = server.client.get(f"/api/dhash/{image_id(digest)}").status_code
                assert known == (200 if code == 201 else 404)
                assert code == 503 or digest in kept
            again = [send(server, picture).status_code for picture in pictures]
            assert again == [200 if code == 201 else 201 for code in codes]
