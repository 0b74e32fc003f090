"""`python -m chaos.soak [--minutes N] [--every N]`: does what a guarded service holds stay flat?

Clients ask as fast as they are answered. Memory and file descriptors of every process are read every few
seconds. The first quarter is warming up, or all until the first release stands by that has served; over the
rest a line is fitted. With `--every` what is watched is accepted each so many minutes, and the next version
rolled out, without a pause for the clients. Exit 1 if a program grows by more than is allowed, a request
fails, or a rollout does.
"""

import argparse
import contextlib
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from bench.clients import connect, distinct
from bench.drawing import Line, over_time
from tests.dhash_service.documents.pdfs import Draft, at
from tests.forked import run
from tests.guarded_rollout.sandbox import Sandbox
from tests.pictures import encode, photo

EVERY_SECONDS = 5.0
KNOWN = 8  # pictures, sent over and over: so few that each is a crowd and under review while it warms up
NEW_SHARE = 10  # one submit in so many is of a new picture
INDEX_BYTES = 60 * 2  # a new fingerprint in the index, which takes twice as much while it is rebuilt
ALLOWED_SHARE = 0.05  # of a process's memory, over the whole soak
ALLOWED_BYTES = 8 * 1024**2  # or so much: what an allocator keeps of one large request
ALLOWED_FILES = 8
COMMAND_SECONDS = 600.0  # that a command may take while the clients leave it next to nothing of the cores


@dataclass(frozen=True, slots=True)
class Reading:
    """What the processes of one program held at a moment: seconds since the start, bytes, descriptors."""

    at: float
    memory: int
    files: int


@dataclass(frozen=True, slots=True)
class Trend:
    """One program over the soak, after warming up: what it held, and by how much that grew on a line."""

    program: str
    memory: float
    grown: float
    files: float
    more_files: float

    def problems(self, allowed: float) -> Iterator[str]:
        """What grew by more than it may. `allowed` bytes are accounted for."""
        most = max(ALLOWED_SHARE * self.memory, ALLOWED_BYTES) + allowed
        if self.grown > most:
            yield f"{self.program} grew by {self.grown / 1e6:.1f} MB; {most / 1e6:.1f} MB can be explained"
        if self.more_files > ALLOWED_FILES:
            yield f"{self.program} holds {self.more_files:.0f} more files"

    def line(self) -> str:
        return (
            f"{self.program:12} {self.memory / 1e6:7.1f} MB {self.grown / 1e6:+7.1f} MB "
            f"{self.files:5.0f} files {self.more_files:+5.1f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", type=float, help="minutes between rollouts [none after the first]")
    parser.add_argument(
        "--drawing", type=Path, metavar="FILE", help="draw what was held, as SVG (make bench)"
    )
    chosen = parser.parse_args()
    sandbox = Sandbox(None)
    try:
        sandbox.configure(window_seconds=chosen.minutes * 60 + 600)
        sandbox.deploy()
        sandbox.version("3.0.0")
        started = sandbox.rollout("up")  # and it is watched all the time
        if started.returncode:
            print(started.stderr, file=sys.stderr)
            return 1
        with clients(sandbox.port) as counts:
            readings, releases, failures = watch(
                sandbox, chosen.minutes * 60, (chosen.every or math.inf) * 60
            )
        if chosen.drawing:
            chosen.drawing.write_text(drawn(readings, releases))
        return tell(readings, min(releases, default=0.0), counts, chosen.minutes, failures)
    finally:
        sandbox.close()


def tell(
    readings: Mapping[str, Sequence[Reading]],
    exchanged: float,  # when another release came for the first time, in seconds
    counts: Mapping[str, int],
    minutes: float,
    failures: Sequence[str],
) -> int:
    """Print what was seen; 1 if something grew, or a request or a rollout failed."""
    trends = [trend(program, seen, exchanged) for program, seen in readings.items()]
    index = counts["new"] * INDEX_BYTES  # what stands by follows the store, too
    allowed = {"service": index, "stand-by": index}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{minutes:g} minutes: {said}")
    for one in trends:
        print(one.line())
    problems = [*failures, *(text for one in trends for text in one.problems(allowed.get(one.program, 0)))]
    if counts["failed"]:
        problems.append(f"{counts['failed']} requests failed")
    print("\n".join(problems) or "flat")
    return 1 if problems else 0


def trend(program: str, readings: Sequence[Reading], exchanged: float) -> Trend:
    """A line through what was read after the first quarter of the time.

    And after the first exchange: until then what stands by has never served.
    """
    settled = [one for one in readings if one.at > max(readings[-1].at / 4, exchanged)]
    at = np.array([one.at for one in settled])

    def grown(values: Sequence[int]) -> float:
        slope = float(np.polyfit(at, np.array(values, float), 1)[0])
        return slope * float(at[-1] - at[0])

    memory, files = [one.memory for one in settled], [one.files for one in settled]
    return Trend(program, float(np.median(memory)), grown(memory), float(np.median(files)), grown(files))


def drawn(readings: Mapping[str, Sequence[Reading]], releases: Mapping[float, str]) -> str:
    """The memory of each program over the time, and when which release was rolled out."""
    lines = [
        Line(program, [(one.at / 60, one.memory / 1e6) for one in seen]) for program, seen in readings.items()
    ]
    title = "What a guarded service holds at full load"
    return over_time(title, lines, "MB", {at / 60: name for at, name in releases.items()})


# ---- what is read


def watch(
    sandbox: Sandbox, seconds: float, every: float
) -> tuple[dict[str, list[Reading]], dict[float, str], list[str]]:
    """Read every program's processes until the time is over, with a line a minute.

    Beside the readings: which version was rolled out when, and what of that failed.
    """
    begin = time.monotonic()
    readings: dict[str, list[Reading]] = {}
    releases: dict[float, str] = {}
    failures: list[str] = []
    told = 0.0
    while (now := time.monotonic() - begin) < seconds:
        if now >= (len(releases) + 1) * every:
            releases[now] = version = f"3.{len(releases) + 1}.0"
            failures += roll_out(sandbox, version)
        with contextlib.suppress(psutil.Error):  # a process may end while it is looked at
            for program, pids in programs(sandbox).items():
                readings.setdefault(program, []).append(read(now, pids))
        if now - told >= 60:
            told = now
            line = ", ".join(f"{name} {seen[-1].memory / 1e6:.0f} MB" for name, seen in readings.items())
            print(f"  {now / 60:.0f} min: {line}", file=sys.stderr, flush=True)
        time.sleep(EVERY_SECONDS)
    return readings, releases, failures


def roll_out(sandbox: Sandbox, version: str) -> Iterator[str]:
    """Accept what is watched, and roll the next version out; what went wrong."""
    sandbox.version(version)
    for words in (("promote",), ("up",)):
        begin = time.monotonic()
        done = run("rollout", *words, folder=sandbox.folder, seconds=COMMAND_SECONDS)
        print(f"  {words[0]} ({version}): {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
        if done.returncode:
            yield f"rollout {words[0]} of {version} ended with {done.returncode}: {done.stderr.strip()}"


def programs(sandbox: Sandbox) -> dict[str, list[int]]:
    """The process ids of each program, with those of its children."""
    roots = {"supervisord": sandbox.supervisor_pid(), **sandbox.pids()}
    serving = sandbox.site.traffic.serving()
    slots = {"blue": "stand-by", "green": "stand-by", str(serving): "service"}
    return {
        slots.get(name, name): [pid, *(children(pid) if name != "supervisord" else [])]
        for name, pid in roots.items()
    }


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def read(now: float, pids: Sequence[int]) -> Reading:
    files = sum(psutil.Process(pid).num_fds() for pid in pids)
    return Reading(now, sum(map(memory_of, pids)), files)


def memory_of(pid: int) -> int:
    """Bytes that a process has filled, and its share of those that it shares with its children.

    Without files: what is mapped of a program weighs less as soon as somebody else runs it, too (proc(5)).
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    kilobytes = dict(line.split()[:2] for line in lines[1:])
    return 1024 * (int(kilobytes["Pss_Anon:"]) + int(kilobytes["Pss_Shmem:"]))


# ---- who asks


@contextlib.contextmanager
def clients(port: int) -> Iterator[dict[str, int]]:
    """Clients that ask as fast as they are answered; what they asked for, by kind."""
    counts = dict.fromkeys(("submits", "new", "documents", "searches", "pages", "failed"), 0)
    lock, done = threading.Lock(), threading.Event()
    known = [encode(photo(640, 480, seed), "JPEG", quality=80) for seed in range(KNOWN)]
    fresh = itertools.count(os.getpid() << 20)
    pdf = document(known[:6])

    def count(kind: str) -> None:
        with lock:
            counts[kind] += 1

    def ask(method: str, path: str, body: bytes, kind: str, media: str) -> None:
        connection = connect(port)
        with contextlib.closing(connection):
            for _ in range(200):  # then on a new connection: those must not add up either
                if done.is_set():
                    return
                sent = body
                if kind == "submits" and (number := next(fresh)) % NEW_SHARE == 0:
                    sent = distinct(known[number // NEW_SHARE % KNOWN], number)
                    count("new")
                elif kind == "submits":
                    sent = known[number % KNOWN]
                connection.request(method, path, sent, {"Content-Type": media} if sent else {})
                answer = connection.getresponse()
                answer.read()
                count(kind if answer.status < 300 else "failed")

    def client(method: str, path: str, body: bytes, kind: str, media: str = "image/jpeg") -> None:
        while not done.is_set():
            try:
                ask(method, path, body, kind, media)
            except OSError:
                count("failed")

    asked = [
        *[("POST", "/api/dhash", known[0], "submits")] * 4,
        ("POST", "/api/dhash/extract", pdf, "documents", "application/pdf"),
        *[("GET", "/api/dhash/search?hash=8f0f0f1f3f7fff00&radius=12", b"", "searches")] * 2,
        ("GET", "/api/dhash/queue?limit=50", b"", "pages"),
        ("GET", "/review", b"", "pages"),
    ]
    threads = [threading.Thread(target=client, args=words) for words in asked]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        done.set()
        for thread in threads:
            thread.join()


def document(pictures: Sequence[bytes]) -> bytes:
    draft = Draft()
    for picture in pictures:
        draft.page(at("A", 50, 400, 500, 375), {"A": draft.jpeg(picture)})
    return draft.save()


if __name__ == "__main__":
    sys.exit(main())
