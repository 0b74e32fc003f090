"""A real `dhash serve` process for tests, on a free port or a unix socket, ended by its process id."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.forked import Forked, run


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dhash(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return run("dhash", *arguments, env=env)


@dataclass
class Server:
    """A running service. `url` is where it listens; `env` is what it was told."""

    process: Forked
    url: str
    env: dict[str, str]
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def wait_until_ready(self, seconds: float = 60) -> "Server":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise RuntimeError(f"not ready after {seconds} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code once it has drained."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.client.close()

    def token(self, name: str, role: str) -> dict[str, str]:
        """Headers with a fresh token of this role."""
        made = dhash("token", "create", name, "--role", role, "--json", env=self.env)
        assert made.returncode == 0, made.stderr
        import json

        return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}


def start(folder: Path, *, store: str | None = None, port: int | None = None, **settings: object) -> Server:
    """Start a service with its files in `folder`. Settings by their names without DHASH_."""
    port = port or free_port()
    env = {
        "DHASH_STORE": store or f"sqlite:///{folder}/dhash.db",
        "DHASH_ORIGINALS": str(folder / "originals"),
        "DHASH_RELEASE": "test-1",
        "DHASH_PORT": str(port),
        "DHASH_DOCUMENT_WORKERS": "1",  # each takes half a second of a core to start
        **{f"DHASH_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = Path(tempfile.mkstemp(dir=folder, prefix="serve-", suffix=".log")[1])
    process = Forked("dhash", ["serve", "--migrate"], {**os.environ, **env}, log)
    return Server(process, f"http://127.0.0.1:{port}", env, log)


@contextmanager
def serving(folder: Path, *, store: str | None = None, **settings: object) -> Iterator[Server]:
    """A ready service, stopped at the end of the block."""
    server = start(folder, store=store, **settings)  # type: ignore[arg-type]
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()
