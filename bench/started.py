"""Started as an operator does, Python and all: what the tests start is forked from a warm process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.dhash_service.serving import free_port
from tests.guarded_rollout.sandbox import Sandbox
from tests.waiting import wait_until


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """`dhash serve` over the store in a folder: ready when the block begins, and ended after it."""
    port = free_port()
    env = {
        "DHASH_STORE": f"sqlite:///{folder}/dhash.db",
        "DHASH_ORIGINALS": str(folder / "originals"),
        "DHASH_PORT": str(port),
        "DHASH_DOCUMENT_WORKERS": "1",
    }
    words = [sys.executable, "-m", "dhash_service", "serve", "--migrate"]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(words, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        wait_until(lambda: _is_ready(port), 60, "ready")
        yield
    finally:
        process.terminate()
        process.wait(40)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def typed(sandbox: Sandbox, *words: str) -> None:
    """Run `rollout …` in the project's folder to its end; it must succeed."""
    done = subprocess.run(sandbox.command(*words), cwd=sandbox.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
