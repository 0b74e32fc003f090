"""Clients with keep-alive connections, in a process of their own, and the ledger of every answer.

`python -m chaos.clients SPEC`: JSON {"port", "seed", "ledger", "erased"}, the last a file of what they are
to find no more. Ends when its stdin closes. Each answer (or
its absence) is a line of the ledger, written before the next request is sent; the file lies outside of what
is under fire.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.pictures import document, picture

SUBMIT, EXTRACT, READ, SEARCH, STATUS = "submit", "extract", "read", "search", "status"
GONE = "gone"
"""Whoever looks for what was erased: by reading, searching, and submitting it again."""

CLIENTS = {SUBMIT: 3, EXTRACT: 1, READ: 1, SEARCH: 1, STATUS: 1, GONE: 1}
PAUSE = {SUBMIT: 0.1, EXTRACT: 0.2, READ: 0.1, SEARCH: 0.15, STATUS: 0.25, GONE: 0.1}
NOT_FOUND, STILL_THERE = "not found", "erased"
"""How the problem begins of a search without what was acknowledged; of an answer with what was erased."""

EXPECTED = {READ: 404, SEARCH: 200, SUBMIT: 451}
"""What is answered to whoever asks for a picture that was erased."""

PATIENCE = 30.0
"""Seconds after which an answer is not waited for any more: then it failed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. Times are seconds since 1970; `status` 0 means that no whole answer came.

    For a write that was acknowledged, `sha256`, `hash` and `id` are what the service said, and `expected` is
    what the oracle says the fingerprint is. `problem` is empty for an answer that is as it should be.
    """

    kind: str
    begun: float
    ended: float
    status: int
    problem: str = ""
    number: int = 0
    sha256: str = ""
    hash: str = ""
    expected: str = ""
    id: str = ""
    release: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.problem)

    @property
    def acknowledged(self) -> bool:
        return self.kind in (SUBMIT, EXTRACT) and self.status in (200, 201) and bool(self.id)


def read_ledger(path: Path) -> Iterator[Entry]:
    """Every whole line of a ledger."""
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Entry(**json.loads(line))


class Clients:
    """The process, from `with Clients(…)` until the block ends."""

    def __init__(self, port: int, seed: int, ledger: Path, erased: Path) -> None:
        self._spec = json.dumps({"port": port, "seed": seed, "ledger": str(ledger), "erased": str(erased)})

    def __enter__(self) -> "Clients":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.clients", self._spec],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


class Connection:
    """One keep-alive connection; opened when it is needed, given up when anything is odd."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", type_: str = "") -> tuple[int, bytes]:
        """One request. Raises `OSError`, `EOFError` or `ValueError` when no whole answer comes."""
        try:
            return await asyncio.wait_for(self._ask(method, path, body, type_), PATIENCE)
        except BaseException:
            self.close()
            raise

    async def _ask(self, method: str, path: str, body: bytes, type_: str) -> tuple[int, bytes]:
        if self._streams is None or self._streams[0].at_eof():  # the other side may close what is idle
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        if body:
            head += f"Content-Type: {type_}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await reader.readline(), 16):
                content += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            content = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Work:
    """What the clients of one run share."""

    def __init__(self, port: int, seed: int, ledger: Path, erased: Path) -> None:
        self.port, self.seed, self._erased = port, seed, erased
        self._file = ledger.open("a", buffering=1)
        self._number = 0
        self._known: deque[Entry] = deque(maxlen=5000)
        self.random = random.Random(seed)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def write(self, entry: Entry) -> None:
        self._file.write(json.dumps(asdict(entry)) + "\n")
        if entry.acknowledged:
            self._known.append(entry)

    def some_known(self) -> Entry | None:
        """A write that was acknowledged, the newest one half of the time."""
        if not self._known:
            return None
        return self._known[-1] if self.random.random() < 0.5 else self.random.choice(self._known)

    async def client(self, kind: str, stop: asyncio.Event) -> None:
        connection = Connection(self.port)
        while not stop.is_set():
            await getattr(self, kind)(connection)
            await asyncio.sleep(PAUSE[kind])
        connection.close()

    # ---- what they do

    async def submit(self, connection: Connection) -> None:
        number = self.next_number()
        sent = picture(self.seed, number)
        begun = time.time()
        status, told, problem = await answer(connection, "POST", "/api/dhash", sent.data, "image/png")
        if status in (200, 201) and told.get("sha256") != sent.sha256:
            problem = f"acknowledged another picture: {told}"
        self.write(self._entry(SUBMIT, begun, status, problem, number, told, sent.hash))

    async def extract(self, connection: Connection) -> None:
        number = self.next_number()
        data, expected = document(self.seed, number)
        begun = time.time()
        status, told, problem = await answer(
            connection, "POST", "/api/dhash/extract", data, "application/pdf"
        )
        pictures = told.get("pictures") or [{}]
        if status == 200 and not pictures[0]:
            problem = f"no picture was found in it: {told}"
        self.write(self._entry(EXTRACT, begun, status, problem, number, pictures[0], expected))

    async def read(self, connection: Connection) -> None:
        known = self.some_known()
        if known is None:
            return
        begun = time.time()
        status, told, problem = await answer(connection, "GET", f"/api/dhash/{known.id}")
        if status == 200 and told.get("hash") != known.hash:
            problem = f"{known.hash} was acknowledged, {told.get('hash')} is there"
        self.write(self._entry(READ, begun, status, problem, known.number, told, known.hash))

    async def search(self, connection: Connection) -> None:
        known = self.some_known()
        if known is None:
            return
        begun = time.time()
        path = f"/api/dhash/search?hash={known.hash}&radius=0"
        status, told, problem = await answer(connection, "GET", path)
        if status == 200 and known.id not in [found["id"] for found in told.get("results", [])]:
            problem = f"{NOT_FOUND}: {known.id}, acknowledged {begun - known.ended:.1f} s before"
        self.write(self._entry(SEARCH, begun, status, problem, known.number, {}, known.hash))

    async def gone(self, connection: Connection) -> None:
        """Ask for something that was erased, in one of the ways; no answer may have it."""
        lines = self._erased.read_text().splitlines() if self._erased.exists() else []
        if not lines:
            return
        known = json.loads(self.random.choice(lines))
        kind = self.random.choice([READ, SEARCH, SUBMIT])
        begun = time.time()
        if kind == SUBMIT:
            data = picture(self.seed, known["number"]).data
            status, told, problem = await answer(connection, "POST", "/api/dhash", data, "image/png")
            there = status < 400
        elif kind == READ:
            status, told, problem = await answer(connection, "GET", f"/api/dhash/{known['id']}")
            there = status < 400
        else:
            path = f"/api/dhash/search?hash={known['hash']}&radius=0"
            status, told, problem = await answer(connection, "GET", path)
            there = known["id"] in [found["id"] for found in told.get("results", [])]
        if status and there:
            problem = f"{STILL_THERE}, and {kind} answers {status} {told}"
        elif status == EXPECTED[kind]:
            problem = ""
        self.write(self._entry(kind, begun, status, problem, known["number"], {}, ""))

    async def status(self, connection: Connection) -> None:
        begun = time.time()
        status, _, problem = await answer(connection, "GET", "/api/dhash/queue/status")
        self.write(self._entry(STATUS, begun, status, problem, 0, {}, ""))

    def _entry(
        self,
        kind: str,
        begun: float,
        status: int,
        problem: str,
        number: int,
        told: dict[str, Any],
        expected: str,
    ) -> Entry:
        said = {name: str(told.get(name) or "") for name in ("sha256", "hash", "id", "release")}
        return Entry(kind, begun, time.time(), status, problem, number, expected=expected, **said)


async def answer(
    connection: Connection, method: str, path: str, body: bytes = b"", type_: str = ""
) -> tuple[int, dict[str, Any], str]:
    """Status, the JSON object, and what was wrong with it; status 0 if nothing whole came."""
    try:
        status, content = await connection.ask(method, path, body, type_)
    except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        return 0, {}, f"{type(error).__name__}: {error}"
    try:
        told = json.loads(content)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return status, {}, f"{status} with something that is no object: {content[:200]!r}"
    return status, told, "" if status < 400 else f"{status} {content[:300].decode(errors='replace')}"


async def main(spec: dict[str, Any]) -> None:
    work = Work(spec["port"], spec["seed"], Path(spec["ledger"]), Path(spec["erased"]))
    stop = asyncio.Event()
    running = [
        asyncio.create_task(work.client(kind, stop)) for kind, count in CLIENTS.items() for _ in range(count)
    ]
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
