"""Acknowledged means kept: kill -9 in the middle of many submits loses nothing that was answered with 2xx."""

import threading
from pathlib import Path

import httpx

from tests.dhash_service.serving import Server, start
from tests.pictures import jpeg

CLIENTS = 8
SUBMITS = 200
KILL_AFTER = 60


def submit_until_it_dies(server: Server, pictures: list[bytes], kept: dict[str, str]) -> None:
    """Send the pictures from many clients, kill the service in between, note what was acknowledged."""
    todo = iter(pictures)
    lock = threading.Lock()
    enough = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            while True:
                with lock:
                    data = next(todo, None)
                if data is None:
                    return
                try:
                    answer = http.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"})
                except httpx.TransportError:
                    return
                assert answer.status_code == 201, answer.text
                with lock:
                    kept[answer.json()["id"]] = answer.json()["hash"]
                    if len(kept) >= KILL_AFTER:
                        enough.set()

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    assert enough.wait(60)
    server.kill()
    for each in clients:
        each.join(30)


def test_every_acknowledged_submit_is_found_after_kill_9(tmp_path: Path, store_url: str) -> None:
    pictures = [jpeg(160, 120, seed) for seed in range(SUBMITS)]
    kept: dict[str, str] = {}
    first = start(tmp_path, store=store_url).wait_until_ready()
    try:
        submit_until_it_dies(first, pictures, kept)
    finally:
        first.stop()
    assert KILL_AFTER <= len(kept) < SUBMITS  # it died in the middle

    second = start(tmp_path, store=store_url).wait_until_ready()
    try:
        for image, value in kept.items():
            assert second.client.get(f"/api/dhash/{image}").json()["hash"] == value
            search = second.client.get("/api/dhash/search", params={"hash": value, "radius": 0, "limit": 100})
            assert image in [near["id"] for near in search.json()["results"]]
        # What was under way when it died can be sent again: it is new, or known, and never an error.
        for data in pictures:
            answer = second.client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"})
            assert answer.status_code in (200, 201)
    finally:
        assert second.stop() in (0, -15)
