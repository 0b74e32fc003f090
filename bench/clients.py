"""Clients that keep their connections, pictures that are all new, and servers to send them to."""

import http.client
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.guarded_rollout.sandbox import free_port, wait_until
from tests.pictures import encode, photo

MEGAPIXELS_2 = (1632, 1224)

Request = tuple[str, str, bytes]  # method, path, body
Address = int | Path  # a port of this machine, or a unix socket


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of clients saw: how many answers a second, and how long each took."""

    rate: float
    seconds: Sequence[float]

    def percentile(self, q: float) -> float:
        return float(np.quantile(self.seconds, q))


def load(address: Address, requests: Sequence[Request], clients: int) -> Load:
    """Send every request once from `clients` keep-alive connections; each answer must be 2xx.

    http.client in threads: the clients' own work is on the same cores, and counted against the service.
    """
    todo = iter(requests)
    lock = threading.Lock()
    seconds: list[float] = []

    def client() -> None:
        connection = connect(address)
        while True:
            with lock:
                request = next(todo, None)
            if request is None:
                return connection.close()
            method, path, body = request
            begin = time.perf_counter()
            connection.request(method, path, body, {"Content-Type": kind_of(body)} if body else {})
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - begin)
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    if len(seconds) != len(requests):
        raise RuntimeError(f"{len(requests) - len(seconds)} requests failed")
    return Load(len(requests) / elapsed, seconds)


def kind_of(body: bytes) -> str:
    """The media type of what is sent: JSON or a JPEG."""
    return "application/json" if body.startswith(b"{") else "image/jpeg"


def connect(address: Address) -> http.client.HTTPConnection:
    """A connection to a port of this machine, or to a unix socket."""
    if isinstance(address, int):
        return http.client.HTTPConnection("127.0.0.1", address)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(address))
    return connection


def rate(threads: ThreadPoolExecutor, work: Callable[[bytes], object], pictures: Sequence[bytes]) -> float:
    """Pictures a second."""
    begin = time.perf_counter()
    list(threads.map(work, pictures))
    return len(pictures) / (time.perf_counter() - begin)


def distinct(picture: bytes, number: int) -> bytes:
    """The same JPEG as a file of its own: a comment segment after the first marker."""
    comment = number.to_bytes(8, "big")
    return picture[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + picture[2:]


class Camera:
    """An endless supply of distinct 2 MP JPEGs: parts of one large photo, at a camera's quality."""

    QUALITY = 92

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._scene = photo(6400, 4800, seed)

    def picture(self) -> bytes:
        width, height = MEGAPIXELS_2
        left = self._chance.randrange(self._scene.width - width)
        top = self._chance.randrange(self._scene.height - height)
        part = self._scene.crop((left, top, left + width, top + height))
        turn = self._chance.choice((0, 180))
        return encode(part.rotate(turn), "JPEG", quality=self.QUALITY)


@dataclass(frozen=True, slots=True)
class Bare:
    """A server that does the least: its port and its process."""

    port: int
    pid: int


@contextmanager
def bare_server(application: str) -> Iterator[Bare]:
    """A uvicorn server that runs one of `bench.floor`'s applications."""
    port = free_port()
    words = ["-m", "uvicorn", f"bench.floor:{application}", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen([sys.executable, *words, "--no-access-log"])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, what="uvicorn listens")
        yield Bare(port, process.pid)
    finally:
        process.terminate()
        process.wait(10)
