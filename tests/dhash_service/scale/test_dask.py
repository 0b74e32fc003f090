"""A real scheduler and workers over TCP, an object store, and kill -9: nothing is lost, nothing twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from dhash_service.errors import EngineError
from dhash_service.pictures.fingerprint import NEW, read_picture
from dhash_service.scale import engines
from dhash_service.scale.items import cut
from dhash_service.scale.places import place_of
from dhash_service.scale.run import index_into_parts
from dhash_service.scale.sources import Source
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.scale.making import many, put, rows_at, rules
from tests.dhash_service.serving import dhash, free_port
from tests.dhash_service.store.databases import sqlite_file
from tests.guarded_rollout.sandbox import wait_until
from tests.guarded_rollout.storage import listens

pytestmark = pytest.mark.system

FILES, PER_TASK = 1_500, 8


@contextmanager
def process(*words: str, log: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of Python's, ended with the block."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, *words], stdout=output, stderr=output, env={**os.environ, **env}
        )
        try:
            yield started
        finally:
            started.kill()
            started.wait(20)


class Cluster:
    """A scheduler and two workers, each a process of its own; the workers are not watched by a nanny."""

    def __init__(self, folder: Path, env: dict[str, str], stack: ExitStack) -> None:
        self.port = free_port()
        self.engine = f"dask://127.0.0.1:{self.port}"
        self._folder, self._env, self._stack = folder, env, stack
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )
        deadline = time.monotonic() + 120
        while not listens(self.port):
            assert time.monotonic() < deadline, (folder / "scheduler-0.log").read_text()
            assert self.scheduler.poll() is None, (folder / "scheduler-0.log").read_text()
            time.sleep(0.05)
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> "subprocess.Popen[bytes]":
        address = f"tcp://127.0.0.1:{self.port}"
        return self._start(
            "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"
        )

    def _start(self, kind: str, *words: str) -> "subprocess.Popen[bytes]":
        number = len(list(self._folder.glob(f"{kind}-*.log")))
        log = self._folder / f"{kind}-{number}.log"
        scratch = {"DASK_TEMPORARY_DIRECTORY": str(self._folder)}
        return self._stack.enter_context(
            process("-m", "dask", kind, *words, log=log, env={**self._env, **scratch})
        )


@pytest.fixture
def cluster(tmp_path: Path, s3: dict[str, str]) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, s3, stack)


def parts_at(out: str) -> int:
    return sum(1 for _ in place_of(out).find(out)) if _exists(out) else 0


def _exists(out: str) -> bool:
    with contextlib.suppress(Exception):
        return next(iter(place_of(out).find(out)), None) is not None
    return False


def wait_for_parts(out: str, number: int, run: "subprocess.Popen[str]") -> int:
    """How many there are, once there are so many and before the run ends."""
    deadline = time.monotonic() + 120
    while (there := parts_at(out)) < number:
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    return there


def indexing(source: str, out: str, engine: str) -> "subprocess.Popen[str]":
    words = ["index", source, "--out", out, "--engine", engine, "--per-task", str(PER_TASK), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "dhash_service", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def collection(bucket: str, pictures: list[bytes]) -> str:
    put(bucket + "/in", many(pictures, FILES))
    put(bucket + "/in", {"bad.jpg": b"nothing"})
    return bucket


def require_whole(collection: str, pictures: list[bytes]) -> None:
    """Each file has one row, and the bare function's value."""
    rows = rows_at(f"{collection}/out")
    names = Counter(str(row["name"]) for row in rows)
    assert set(names.values()) == {1}
    assert len(names) == FILES + 1
    values = [read_picture(data, NEW).fingerprint.value for data in pictures]
    for row in rows:
        if row["hash"] is not None:
            number = int(str(row["name"])[-9:-4])
            assert row["hash"] == values[number % len(values)]
    (bad,) = [row for row in rows if row["hash"] is None]
    assert str(bad["error"]).startswith("Not a supported picture: ")


def test_a_worker_that_is_killed_costs_nothing(
    cluster: Cluster, collection: str, pictures: list[bytes]
) -> None:
    run = indexing(f"{collection}/in", f"{collection}/out", cluster.engine)
    there = wait_for_parts(f"{collection}/out", 5, run)
    assert there * PER_TASK < FILES // 2  # it is in the middle
    cluster.workers[0].send_signal(signal.SIGKILL)
    said, errors = run.communicate(timeout=150)
    assert run.returncode == 1, errors  # one file is bad
    summary = json.loads(said)
    assert (summary["done"], summary["failed"]) == (FILES + 1, 1)
    assert summary["pictures"] + summary["known"] == FILES  # known: a part of the dead one, not yet told
    assert "bad.jpg: Not a supported picture" in errors
    require_whole(collection, pictures)


def test_a_run_that_is_killed_or_interrupted_goes_on(
    cluster: Cluster, collection: str, pictures: list[bytes]
) -> None:
    run = indexing(f"{collection}/in", f"{collection}/out", cluster.engine)
    wait_for_parts(f"{collection}/out", 5, run)
    run.kill()
    run.communicate()
    left = parts_at(f"{collection}/out")

    run = indexing(f"{collection}/in", f"{collection}/out", cluster.engine)
    wait_for_parts(f"{collection}/out", left + 10, run)
    run.send_signal(signal.SIGINT)
    said, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert json.loads(said)["interrupted"]
    assert "Traceback" not in errors

    run = indexing(f"{collection}/in", f"{collection}/out", cluster.engine)
    said, errors = run.communicate(timeout=150)
    summary = json.loads(said)
    assert summary["known"] >= PER_TASK
    assert summary["known"] + summary["pictures"] == FILES
    require_whole(collection, pictures)


def test_a_scheduler_that_goes_is_told(cluster: Cluster, collection: str) -> None:
    run = indexing(f"{collection}/in", f"{collection}/out", cluster.engine)
    wait_for_parts(f"{collection}/out", 3, run)
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, errors = run.communicate(timeout=150)
    assert run.returncode == 1
    assert "The engine failed: " in errors
    assert "Traceback" not in errors


def test_workers_send_what_the_store_lacks(
    cluster: Cluster, bucket: str, pictures: list[bytes], tmp_path: Path
) -> None:
    put(bucket, many(pictures, 100))
    env = {"DHASH_STORE": sqlite_file(tmp_path / "dhash.db")}
    run = dhash("index", bucket, "--engine", cluster.engine, "--per-task", "10", "--json", env=env)
    summary = json.loads(run.stdout)
    assert (summary["pictures"], summary["known"], summary["failed"]) == (20, 80, 0), run.stderr

    put(bucket, {"more.jpg": pictures[0]})
    again = json.loads(
        dhash("index", bucket, "--engine", cluster.engine, "--per-task", "10", "--json", env=env).stdout
    )
    assert (again["pictures"], again["known"]) == (0, 101)


def test_nobody_at_the_address_is_told(tmp_path: Path) -> None:
    address = f"dask://127.0.0.1:{free_port()}"
    env = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    run = dhash("index", str(tmp_path), "--engine", address, "--out", str(tmp_path / "out"), env=env)
    assert run.returncode == 1
    assert "The engine failed: " in run.stderr


def test_a_run_without_workers_any_more_ends(
    cluster: Cluster, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "WORKERS_SECONDS", 10.0)
    groups = cut(Source([f"{collection}/in"]).items(), PER_TASK)
    with engines.opened(cluster.engine, 1) as engine:
        steps = index_into_parts(groups, rules(), engine, f"{collection}/out", "")
        next(steps)
        for worker in cluster.workers:
            worker.kill()
        with pytest.raises(EngineError, match="no worker any more"):
            for _ in steps:
                pass


def group_of(leader: int) -> list[str]:
    """The names of the processes in a group, but for those that only wait to be buried."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_ctrl_c_at_a_terminal_ends_all_processes_quietly(
    engine: str, tmp_path: Path, pictures: list[bytes]
) -> None:
    """A terminal sends it to the whole group: to workers, too, which it is none of the business of."""
    folder, out = tmp_path / "in", tmp_path / "out"
    put(str(folder), many(pictures, 2_000))
    words = ["index", str(folder), "--out", str(out), "--engine", engine, "--per-task", "4", "--json"]
    run = subprocess.Popen(
        [sys.executable, "-m", "dhash_service", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_parts(str(out), 3, run)
    os.killpg(run.pid, signal.SIGINT)
    said, errors = run.communicate(timeout=150)
    assert run.returncode == 130, errors
    assert json.loads(said)["interrupted"]
    assert errors in ("", "Interrupted; start it again to go on.\n")
    wait_until(lambda: group_of(run.pid) == [], 60, "the last of its processes ends")
    assert all(row["hash"] is not None for row in rows_at(str(out)))


def test_a_cluster_on_this_machine_reads_documents_too(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "report.pdf").write_bytes(document())
    (tmp_path / "in" / "picture.jpg").write_bytes(pictures[0])
    out = tmp_path / "out"
    run = dhash("index", tmp_path / "in", "--engine", "dask", "--out", out, env={"DHASH_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert [row["page"] for row in rows_at(str(out)) if row["document"]] == [1, 1]
    assert len(rows_at(str(out))) == 3
