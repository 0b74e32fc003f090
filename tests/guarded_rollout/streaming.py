"""A service with long requests, event streams and WebSockets, as its clients meet it behind the proxy.

On SIGTERM it ends its streams, closes its WebSockets with 1001 and answers the rest; `/deaf` does not listen.
"""

import http.client
import shutil
import socket
import threading
from contextlib import suppress
from typing import Any

from tests.guarded_rollout.sandbox import Sandbox

GOING_AWAY = b"\x88\x02\x03\xe9"
"""The close frame of a WebSocket with status 1001 (RFC 6455 §7.4.1)."""

PROGRAM = r"""
import asyncio, base64, hashlib, json, os, signal
from urllib.parse import parse_qs, urlsplit

stopping = asyncio.Event()
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def stream(writer, deaf):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    while deaf or not stopping.is_set():
        line = f"data: {os.environ['RELEASE']}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        await writer.drain()
        await asyncio.wait([asyncio.ensure_future(stopping.wait())], timeout=0.1)
        await asyncio.sleep(0.1 if deaf else 0)
    writer.write(b"0\r\n\r\n")


async def websocket(head, reader, writer):
    lines = [line.partition(": ") for line in head.split("\r\n")]
    key = next(value for name, _, value in lines if name.lower() == "sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n")
    await stopping.wait()
    writer.write(b"\x88\x02\x03\xe9")
    await writer.drain()
    await asyncio.wait([asyncio.ensure_future(reader.read(100))], timeout=1)


async def handle(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    asked = urlsplit(head.split()[1])
    if asked.path in ("/events", "/deaf"):
        await stream(writer, deaf=asked.path == "/deaf")
    elif asked.path == "/socket":
        await websocket(head, reader, writer)
    else:
        query = parse_qs(asked.query)
        await asyncio.sleep(float(query.get("seconds", ["0"])[0]))
        while "until" in query and not os.path.exists(query["until"][0]):
            await asyncio.sleep(0.05)
        body = json.dumps({"release": os.environ["RELEASE"]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


async def main():
    at_work = set()

    async def noted(reader, writer):
        at_work.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        finally:
            at_work.discard(asyncio.current_task())

    server = await asyncio.start_unix_server(noted, os.environ["UDS"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    server.close()
    while at_work:
        await asyncio.wait(at_work)


asyncio.run(main())
"""

SETTINGS = """
[service]
name = "talks"
build = "directory"
source = "src"

[service.store]
kind = "none"

[service.commands]
serve = ["{{python}}", "program.py"]

[service.variables]
RELEASE = "{{release}}"
UDS = "{{uds}}"

[environments.production]
port = {port}
control_percent = 0
traffic = [{{ percent = 50, hold_seconds = 0.0 }}, {{ percent = 100, hold_seconds = 0.0 }}]

[environments.production.checks]
interval_seconds = 0.05
validation_interval_seconds = 0.05
drain_seconds = {drain_seconds}
finish_seconds = {finish_seconds}
"""


class Talks(Sandbox):
    """The service, with so much time for requests when a release is accepted, and then until it is killed."""

    drain_seconds, finish_seconds = 2, 600

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.source)
        self.source.mkdir()
        self.version("1")

    def configure(self, **rules: Any) -> None:
        super().configure(**rules)
        text = SETTINGS.format(
            port=self.port, drain_seconds=self.drain_seconds, finish_seconds=self.finish_seconds
        )
        (self.folder / "rollout.toml").write_text(text)

    @property
    def held(self) -> str:
        """A path that is answered once `let_go` is called."""
        return f"/?until={self.folder}/go"

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def version(self, version: str) -> None:
        (self.source / "program.py").write_text(PROGRAM + f"# {version}\n")


class Request(threading.Thread):
    """A GET that takes its time; `body` is what came, `cut` whether it ended before its end."""

    def __init__(self, sandbox: Sandbox, path: str, **headers: str) -> None:
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=300)
        self.path, self.headers = path, headers
        self.status, self.body, self.cut = 0, b"", False
        self.start()

    def run(self) -> None:
        try:
            self.connection.request("GET", self.path, headers=self.headers)
            answer = self.connection.getresponse()
            self.status = answer.status
            while part := answer.read1(1000):
                self.body += part
        except (OSError, AttributeError, http.client.HTTPException):  # closed by the test, perhaps
            self.cut = True
        finally:
            self.connection.close()

    @property
    def whole(self) -> bool:
        """True if it was answered to its end."""
        return not self.is_alive() and self.status == 200 and not self.cut


def events(sandbox: Sandbox, path: str = "/events") -> Request:
    """An event stream, as a browser's EventSource asks for it."""
    return Request(sandbox, path, Accept="text/event-stream")


class WebSocket(threading.Thread):
    """A WebSocket; `frames` is what came until the other side closed."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(daemon=True)
        self.connection = socket.create_connection(("127.0.0.1", sandbox.port), 60)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.connection.sendall(
            f"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self.connection.recv(1)
        self.frames = b""
        self.start()

    def run(self) -> None:
        with self.connection, suppress(OSError):  # closed by the test, perhaps
            while part := self.connection.recv(1000):
                self.frames += part
