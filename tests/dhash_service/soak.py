"""Replicas over one PostgreSQL under writers and readers, while they are killed and the database fails over.

All clients keep one book: what was acknowledged, by which id and fingerprint. A search is asked only for what
the book had before, so an answer without it is a miss.
"""

import http.client
import io
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from PIL import Image

from guarded_rollout.host.programs import program
from tests.dhash_service.serving import Server, free_port, start

CADDYFILE = Path(__file__).parents[2] / "examples/replicas/Caddyfile"

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
    """Services that can be killed and restarted, each at the port that it had."""

    def __init__(self, folder: Path, store: str, number: int) -> None:
        self._folder, self._store = folder, store
        self._ports = [free_port() for _ in range(number)]
        self._servers = [self._start(place) for place in range(number)]
        for server in self._servers:
            server.wait_until_ready()
        self.killed = 0

    def __len__(self) -> int:
        return len(self._servers)

    def address(self, place: int) -> tuple[str, int]:
        """Host and port of one of them; nobody may be there."""
        return "127.0.0.1", self._ports[place]

    def kill(self, place: int) -> None:
        """kill -9, and start another in its place; returns once that is ready."""
        self._servers[place].kill()
        self.killed += 1
        self._begin_again(place)

    def restart(self, place: int) -> int:
        """SIGTERM, and once it has drained, another in its place, ready; the exit code."""
        code = self._servers[place].stop()
        self._begin_again(place)
        return code

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def _begin_again(self, place: int) -> None:
        self._servers[place].client.close()
        self._servers[place] = self._start(place)
        self._servers[place].wait_until_ready()

    def _start(self, place: int) -> Server:
        return start(self._folder, store=self._store, port=self._ports[place], threads=1, log_level="warning")


@dataclass(frozen=True)
class Edge:
    """A proxy before replicas, where clients find one address."""

    port: int

    def __len__(self) -> int:
        return 1

    def address(self, place: int) -> tuple[str, int]:
        return "127.0.0.1", self.port


@contextmanager
def edge(running: Replicas, folder: Path) -> Iterator[Edge]:
    """Caddy with the example's configuration before these replicas."""
    port = free_port()
    hosts = [":".join(map(str, running.address(place))) for place in range(len(running))]
    given = {"DHASH_EDGE": f":{port}", "DHASH_REPLICAS": " ".join(hosts), "HOME": str(folder)}
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [program("caddy"), "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"],
            env={**os.environ, **given},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert time.monotonic() < deadline, (folder / "caddy.log").read_text()
            time.sleep(0.05)
        yield Edge(port)
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


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

    def __init__(
        self, book: Book, running: Replicas | Edge, number: int, what: str, ended: threading.Event
    ) -> None:
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


@contextmanager
def clients(running: Replicas | Edge, writers: int, readers: int) -> Iterator[Book]:
    """Threads that write and search until the block ends; the book that they keep."""
    book, ended = Book(), threading.Event()
    jobs = ["write"] * writers + ["search"] * readers
    begun = [Client(book, running, number, what, ended) for number, what in enumerate(jobs)]
    with ExitStack() as stack:
        for client in begun:
            client.thread.start()
            stack.callback(client.thread.join)
        stack.callback(ended.set)
        yield book


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
    with clients(running, writers, readers) as book:
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
