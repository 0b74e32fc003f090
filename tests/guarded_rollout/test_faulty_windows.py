"""Releases that pass every check before traffic, under the shipped gates and 15 requests/s: all come back.

Each is built from the real source. The seconds are those from when the monitor was started, or the release
was frozen, until the old one had the traffic; `make bench ARGS=watching` holds a frozen one to ten.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from dhash_service.checks.drawing import picture
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox, wait_until
from tests.guarded_rollout.servicekit import SERVICE

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

MIDDLEWARE = """

class Faulty:
    def __init__(self, app):
        self.app, self.number = app, 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, public = scope["path"], b"x-forwarded-for" in dict(scope["headers"])
        self.number += 1
{body}
        await self.app(scope, receive, send)
"""


def answering(body: str) -> Callable[[Sandbox], None]:
    """Let this decide about requests before the application does."""

    def spoil(dhash: Sandbox) -> None:
        indented = "\n".join(f"        {row}" for row in body.splitlines())
        dhash.edit(
            f"{SERVICE}/app.py",
            lambda text: (
                text.replace("    return app\n", "    app._front = Faulty(app._front)\n    return app\n", 1)
                + MIDDLEWARE.replace("{body}", indented)
            ),
        )

    return spoil


SAYS = """
async def say(status, content, short=0):
    length = str(len(content) + short).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": bool(short)})
"""

CUTS = (
    SAYS
    + """
if public and path.startswith("/api") and self.number % 5 == 0:
    await say(200, b"x" * 100, short=3000)
    raise OSError("cut")
"""
)
UNWELL = (
    SAYS
    + """
if public and path == "/health":
    return await say(503, b"{}")
"""
)
SLOW_METRICS = """
if path == "/metrics" and public is False:
    import asyncio
    await asyncio.sleep(29)
"""
LOSES = (
    SAYS
    + """
if public and path == "/api/dhash" and scope["method"] == "POST" and self.number % 25 == 0:
    while (await receive()).get("more_body"):
        pass
    return await say(201, b'{"hash": "00ff00ff00ff00ff"}')
"""
)


@dataclass(frozen=True)
class Faulty:
    name: str
    spoil: Callable[[Sandbox], None] | None
    gate: str
    within: float


CRASHES = """
if public and self.number % 25 == 0:
    import os
    os._exit(9)
"""


WINDOWS = [
    Faulty("E1 confirms writes that it does not store", answering(LOSES), "lost_writes", 60),
    Faulty("E4 cuts a fifth of its answers", answering(CUTS), "cut_answers", 60),
    Faulty("E6 is unwell on the public port alone", answering(UNWELL), "window_checks", 60),
    Faulty("E8 takes 29 s for its metrics", answering(SLOW_METRICS), "metrics_answer", 60),
    Faulty("E14 freezes with all of the traffic", None, "(unanswered|failed)_requests", 50),
]


class Clients:
    """Three clients, fifteen requests a second in all: new pictures, searches and pages."""

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        turn = 0
        while not self._stop.wait(0.2):
            turn += 1
            body = picture(f"{os.getpid()} {number} {turn}") if turn % 3 == 0 else None
            path = "/api/dhash" if body else "/api/dhash/search?hash=00ff00ff00ff00ff"
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                headers = {"Content-Type": "image/png"} if body else {}
                connection.request("POST" if body else "GET", path, body=body, headers=headers)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass  # what it got is the edge's log to know
            finally:
                connection.close()


def said(dhash: Sandbox, words: str) -> list[str]:
    paths = sorted((dhash.folder / "monitor_logs").glob("dhash_production_*.log"))
    rows = [json.loads(row) for path in paths for row in path.read_text().splitlines()]
    return [row["message"] for row in rows if words in row["message"]]


def freeze(dhash: Sandbox, slot: str) -> None:
    process = psutil.Process(dhash.pids()[slot])
    for one in (process, *process.children(recursive=True)):
        one.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("fault", WINDOWS, ids=lambda fault: fault.name.split()[0])
def test_a_release_that_looks_good_before_traffic_is_taken_back_in_its_window(dhash, fault):
    shutil.copy(SHIPPED, dhash.folder / "quality-gates-config.json")
    is_taken_back(dhash, fault)


def is_taken_back(dhash: Sandbox, fault: Faulty) -> None:
    serving, before = dhash.served_by(), len(said(dhash, "TRIGGERING AUTO-ROLLBACK"))
    if fault.spoil:
        fault.spoil(dhash)
    else:
        dhash.version("9.9.9")
    new = dhash.deploy().release.id
    slot = dhash.slot_of(new)
    begun = time.monotonic()
    with Clients(dhash.port):
        watcher = subprocess.Popen(
            dhash.command("monitor", "--env", "production"),
            cwd=dhash.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            if not fault.spoil:
                known = len(said(dhash, "Sample"))
                wait_until(lambda: len(said(dhash, "Sample")) > known + 6, 40, "the monitor watches")
                freeze(dhash, slot)
            begun = time.monotonic()
            wait_until(lambda: dhash.site.traffic.serving() != slot, 90, f"{fault.gate} brings it back")
            seconds = time.monotonic() - begun
            output, _ = watcher.communicate(timeout=90)
        finally:
            watcher.kill()
            watcher.wait()
    print(f"{fault.name}: back after {seconds:.1f} s")
    assert watcher.returncode == 2, output
    assert dhash.served_by() == serving
    (trigger,) = said(dhash, "TRIGGERING AUTO-ROLLBACK")[before:]
    assert re.search(rf"{fault.gate}: .*\d", trigger), trigger
    assert seconds <= fault.within
    assert last(dhash).outcome is not None


def test_a_release_whose_server_processes_are_replaced_when_they_crash_is_taken_back():
    """Their parent begins others and the proxy asks again: no client notices.

    Where so many ask, `failed_requests` is quicker, for what the other release answers meanwhile.
    """
    gates = json.loads(SHIPPED.read_text())
    del gates["environments"]["production"]["quality_gates"]["failed_requests"]
    with postgres_server(durable=False) as server, fresh_database(server) as url:
        dhash = Sandbox(None)
        try:
            dhash.configure(more=f"store = {json.dumps(url)}\nworkers = 2")
            (dhash.folder / "quality-gates-config.json").write_text(json.dumps(gates))
            dhash.deploy()
            is_taken_back(dhash, Faulty("crashes", answering(CRASHES), "server_crashes", 60))
        finally:
            dhash.close()
