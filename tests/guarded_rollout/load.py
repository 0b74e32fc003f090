"""Clients with keep-alive connections, in a process of their own.

`python -m tests.guarded_rollout.load SPEC`, where SPEC is JSON: {"port": n, "kinds": [{"name", "clients",
"method", "path", "picture": bytes or 0, "pause": seconds}]}.
Answers each line on its stdin with the number of requests so far. When stdin closes it ends and prints JSON:
requests and failures by kind, the seconds of each request of a kind that is "timed", what failed first, the
SHA-256 of every picture whose submit was acknowledged, and for each release the time at which the last
request was sent that it answered.
"""

import asyncio
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

RELEASE = re.compile(rb'"release": ?"([^"]+)"')
ROOT = Path(__file__).parents[2]
GET = {"name": "get", "clients": 12, "method": "GET", "path": "/health", "picture": 0, "pause": 0.0}
POST = {"name": "post", "clients": 4, "method": "POST", "path": "/api/dhash", "picture": 20_000, "pause": 0.0}
SLOW = {
    "name": "slow",
    "clients": 4,
    "method": "GET",
    "path": "/slow?seconds=1.5",
    "picture": 0,
    "pause": 0.0,
}


class Load:
    """Load on a port, from `with Load(port, kinds) as load:` until the block ends; then `load.report`."""

    def __init__(self, port: int, kinds: list[dict[str, Any]]) -> None:
        spec = json.dumps({"port": port, "kinds": kinds})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.guarded_rollout.load", spec],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.report: dict[str, Any] = {}

    def __enter__(self) -> "Load":
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.report = json.loads(self._process.communicate("", timeout=60)[0])

    def count(self) -> int:
        """Requests answered so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def requests(self) -> int:
        return sum(self.report["requests"].values())


class Client:
    """One keep-alive connection that sends one request after another."""

    def __init__(self, port: int, kind: dict[str, Any], report: dict[str, Any]) -> None:
        self.port, self.kind, self.report = port, kind, report
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            body = picture(self.kind["picture"]) if self.kind["picture"] else b""
            begin = time.time()
            try:
                status, answer = await asyncio.wait_for(self.ask(body), 30)
                problem = "" if status < 400 else f"{status} {answer[:200]!r}"
                if found := RELEASE.search(answer):
                    release = found[1].decode()
                    self.report["last"][release] = max(begin, self.report["last"].get(release, 0.0))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                self.close()
            self.count(body, problem, begin)
            if self.kind.get("timed"):
                self.report["seconds"].append(time.time() - begin)
            if self.kind["pause"]:
                await asyncio.sleep(self.kind["pause"])

    def count(self, body: bytes, problem: str, begin: float) -> None:
        name = self.kind["name"]
        self.report["requests"][name] = self.report["requests"].get(name, 0) + 1
        if problem:
            self.report["failed"][name] = self.report["failed"].get(name, 0) + 1
            self.report["first"].setdefault(name, f"{problem} (begun {time.time() - begin:.3f} s before)")
        elif body:
            self.report["acknowledged"].append(hashlib.sha256(body).hexdigest())

    async def ask(self, body: bytes) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        head = f"{self.kind['method']} {self.kind['path']} HTTP/1.1\r\nHost: localhost\r\n"
        if body:
            head += f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await self.reader.readline(), 16):
                content += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        else:
            content = await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def picture(size: int) -> bytes:
    """A gray PNG of random pixels, about so many bytes: never the same twice."""
    side = int(size**0.5)
    lines = b"".join(b"\0" + os.urandom(side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


async def main(spec: dict[str, Any]) -> None:
    report: dict[str, Any] = {
        "requests": {},
        "failed": {},
        "first": {},
        "acknowledged": [],
        "last": {},
        "seconds": [],
    }
    stop = asyncio.Event()
    clients = [
        Client(spec["port"], kind, report) for kind in spec["kinds"] for _ in range(int(kind["clients"]))
    ]
    running = [asyncio.create_task(client.run(stop)) for client in clients]
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(sum(report["requests"].values()), flush=True)
    stop.set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*running)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
