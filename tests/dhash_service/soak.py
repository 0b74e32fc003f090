"""Replicas over one PostgreSQL under writers and readers, while they are killed and the database fails over.

All clients keep one book: what was acknowledged, by which id and fingerprint. A search is asked only for what
the book had before, so an answer without it is a miss.
"""

import http.client
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
from PIL import Image

from tests.dhash_service.serving import Server, start

PATIENCE = 60.0
"""Seconds within which a write must be acknowledged by some replica, or the run fails."""

PAUSE = 0.02
"""Seconds between tries, and that a client thinks between two requests."""


@dataclass
class Book:
    """What was acknowledged, in order, and what the clients saw."""

    acknowledged: list[tuple[str, str]] = field(default_factory=list)  # id, hash
    seen: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"write": [], "search": []})
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lost(self, url: str) -> int:
        """Acknowledged pictures that the database does not have."""
        with psycopg.connect(url) as connection:
            there = {str(id) for (id,) in connection.execute("SELECT id FROM images")}
        return sum(id not in there for id, _ in self.acknowledged)

    def quantile(self, what: str, q: float) -> float:
        """Seconds from the first try to the answer."""
        return float(np.quantile(self.seconds[what], q))


class Replicas:
    """Services that can be killed, each beginning again at another port."""

    def __init__(self, folder: Path, store: str, number: int) -> None:
        self._folder, self._store = folder, store
        self._servers = [self._start() for _ in range(number)]
        for server in self._servers:
            server.wait_until_ready()
        self.killed = 0

    def __len__(self) -> int:
        return len(self._servers)

    def address(self, place: int) -> tuple[str, int]:
        """Host and port of one of them; nobody may be there."""
        parts = urlsplit(self._servers[place].url)
        return str(parts.hostname), int(parts.port or 0)

    def kill(self, place: int) -> None:
        """kill -9, and start another in its place; returns once that is ready."""
        self._servers[place].kill()
        self._servers[place].client.close()
        self.killed += 1
        self._servers[place] = self._start()
        self._servers[place].wait_until_ready()

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def _start(self) -> Server:
        # No document is sent: a worker is begun when the first one is.
        return start(self._folder, store=self._store, threads=1, log_level="warning")


@contextmanager
def replicas(folder: Path, store: str, number: int) -> Iterator[Replicas]:
    """So many, ready; stopped at the end of the block."""
    running = Replicas(folder, store, number)
    try:
        yield running
    finally:
        running.stop()


class Client:
    """A thread that writes or searches at a replica of its own, and at the next one where that fails."""

    def __init__(self, book: Book, running: Replicas, number: int, what: str, ended: threading.Event) -> None:
        self._book, self._running, self._place, self._what = book, running, number % len(running), what
        self._chance = random.Random(number)
        self._noise = np.random.default_rng(number)
        self._connections: dict[tuple[str, int], http.client.HTTPConnection] = {}
        self._ended = ended
        self.thread = threading.Thread(target=self._run, name=f"{what}-{number}")

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                if self._what == "write":
                    self._write()
                elif self._book.acknowledged:
                    self._search()
                time.sleep(PAUSE)
        except Exception as error:
            self._book.faults.append(f"{self.thread.name}: {type(error).__name__}: {error}")
        finally:
            for connection in self._connections.values():
                connection.close()

    def _write(self) -> None:
        answer = self._answered("POST", "/api/dhash", noise(self._noise))
        with self._book.lock:
            self._book.acknowledged.append((answer["id"], answer["hash"]))

    def _search(self) -> None:
        known = self._book.acknowledged
        newest = self._chance.random() < 0.5
        id, hash = known[-1] if newest else known[self._chance.randrange(len(known))]
        answer = self._answered("GET", f"/api/dhash/search?hash={hash}&radius=0")
        if id not in [each["id"] for each in answer["results"]]:
            self._book.missed.append((id, hash))

    def _answered(self, method: str, path: str, body: bytes = b"") -> dict:  # type: ignore[type-arg]
        """A 2xx answer, from whichever replica gives one; what came before it is counted."""
        begin = time.monotonic()
        while time.monotonic() - begin < PATIENCE:
            status, answer = self._asked(method, path, body)
            self._book.seen[f"{self._what} {status}"] += 1
            if status in (200, 201):
                self._book.seconds[self._what].append(time.monotonic() - begin)
                return answer
            if status not in (0, 503):
                raise RuntimeError(f"{method} {path}: {status} {answer}")
            self._place = (self._place + 1) % len(self._running)
            time.sleep(PAUSE)
        raise TimeoutError(f"{method} {path}: no answer within {PATIENCE:.0f} s")

    def _asked(self, method: str, path: str, body: bytes) -> tuple[int, dict]:  # type: ignore[type-arg]
        """Status and answer; 0 where there was none."""
        address = self._running.address(self._place)
        connection = self._connections.setdefault(address, http.client.HTTPConnection(*address, timeout=20))
        try:
            connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0, {}


def noise(random: np.random.Generator) -> bytes:
    """A small picture whose fingerprint is like that of no other."""
    cells = Image.fromarray(random.integers(0, 256, (8, 9), np.uint8))
    file = io.BytesIO()
    cells.resize((54, 48), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def run(
    running: Replicas,
    seconds: float,
    *,
    writers: int,
    readers: int,
    kill_every: float | None = None,
    disaster: Callable[[Book], object] | None = None,
) -> Book:
    """Clients at all replicas for so long; `disaster` strikes in the middle."""
    book, ended = Book(), threading.Event()
    jobs = ["write"] * writers + ["search"] * readers
    clients = [Client(book, running, number, what, ended) for number, what in enumerate(jobs)]
    with ExitStack() as stack:
        for client in clients:
            client.thread.start()
            stack.callback(client.thread.join)
        stack.callback(ended.set)
        begin = time.monotonic()
        struck, next_kill = disaster is None, kill_every or seconds
        while (now := time.monotonic() - begin) < seconds:
            if not struck and now >= seconds / 2:
                assert disaster is not None
                disaster(book)
                struck = True
            if kill_every and now >= next_kill:
                running.kill(running.killed % len(running))
                next_kill += kill_every
            time.sleep(0.05)
    return book
