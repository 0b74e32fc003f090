"""Replicas over one PostgreSQL: what a search pays, how soon others hear, what they write, and a soak.

All of it runs on this machine, the database, its standby and the clients too: its cores are what rates show.
"""

import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.dhash_service.serving import serving
from tests.dhash_service.soak import Book, replicas, run
from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.dhash_service.store.facts import NEW, picture
from tests.dhash_service.store.standby import pair_of_servers

from bench.clients import load
from bench.http import port_of
from bench.table import Table, Target, duration
from dhash_service.search.feed import Bell
from dhash_service.search.follower import Follower
from dhash_service.search.index import HammingIndex
from dhash_service.store.migrate import upgrade
from dhash_service.store.prompt import glancing
from dhash_service.store.recorder import Registered
from dhash_service.store.store import Store

IN_FLIGHT = 64
"""Pictures that each replica has on their way to the store."""

WRITERS, READERS = 3, 6
"""Clients of the soak, each with a pause of 20 ms between two requests."""


def tables(quick: bool) -> list[Table]:
    with postgres_server(durable=True) as server:
        return [
            asking(server, 200 if quick else 2_000),
            hearing(server, 20 if quick else 200),
            writing(server, 1_000 if quick else 8_000),
            soak(20 if quick else 600),
        ]


# ---- a search


def asking(server: str, count: int) -> Table:
    """A search that finds nothing, on each database, and the question that it asks PostgreSQL."""
    chance = random.Random(7)
    paths = [f"/api/dhash/search?hash={chance.getrandbits(64):016x}&radius=0" for _ in range(count)]
    requests = [("GET", path, b"") for path in paths]
    rows: list[tuple[str, ...]] = []
    with fresh_database(server) as url, ExitStack() as stack:
        upgrade(url, release="bench")
        for name, store in (("SQLite, one process", None), ("PostgreSQL, one of several replicas", url)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = port_of(stack.enter_context(serving(folder, store=store)))
            load(port, requests[: count // 10], 1)
            for clients in (1, 8):
                seen = load(port, requests, clients)
                times = (duration(seen.percentile(q)) for q in (0.5, 0.99))
                rows.append((f"{name}, {clients} at once", f"{seen.rate:.0f}", *times))
        with Store.open(url, release="bench", algorithm=None) as opened:
            position = opened.feed.changes(None).position

            def borrowed() -> None:
                with glancing(opened.engine) as driver:
                    opened.feed._newest.rows(driver)

            for what, ask in (
                ("asking what is newest, on the kept connection", lambda: opened.feed.changes(position)),
                ("the same on a connection borrowed from the pool", borrowed),
            ):
                found = times_of(ask, count)
                p99 = statistics.quantiles(found, n=100)[98]
                rows.append((what, "", duration(statistics.median(found)), duration(p99)))
    return Table("A search by hash that finds nothing", ("", "requests/s", "p50", "p99"), rows)


def times_of(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


# ---- hearing of a write


def hearing(server: str, count: int) -> Table:
    """From an acknowledgement by one replica until another's index has it, though nobody asks."""
    rows = []
    for name, listens in (("LISTEN", True), ("polling", False)):
        with fresh_database(server) as url:
            upgrade(url, release="bench")
            found = heard(url, count if listens else min(count, 40), listens=listens)
        slowest = duration(max(found))
        rows.append((name, duration(statistics.median(found)), slowest))
    return Table("From an acknowledgement to another replica's index", ("", "median", "slowest"), rows)


def heard(url: str, count: int, *, listens: bool) -> list[float]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(Store.open(url, release="bench", algorithm=None)) for _ in range(2))
        index, chance = HammingIndex(), random.Random(7)
        follower = Follower(index, other.feed, other.bell if listens else Bell())
        follower.start()
        stack.callback(follower.stop)
        follower.ready.wait(10)
        time.sleep(1)  # it listens by then
        found = []
        for number in range(count):
            time.sleep(chance.uniform(0, 0.05 if listens else 0.25))
            one.add_image(picture(number), NEW).result(30)
            begin = time.perf_counter()
            while len(index) <= number:
                time.sleep(0.0001)
            found.append(time.perf_counter() - begin)
        return found


# ---- writing together


def writing(server: str, count: int) -> Table:
    """Pictures that are read and matched already, by as many processes as replicas."""
    rows = []
    for number in (1, 2, 4):
        with fresh_database(server) as url:
            upgrade(url, release="bench")
            rate, group = together(url, number, count // number)
        rows.append((str(number), f"{rate:.0f}", f"{group:.0f}"))
    return Table(
        "Pictures kept by replicas together",
        ("replicas", "pictures/s", "in one commit"),
        rows,
        note=f"{IN_FLIGHT} on their way in each. One writes at a time, whichever it is, so that rows become"
        " visible in the order of their numbers.",
    )


def together(url: str, number: int, each: int) -> tuple[float, float]:
    """Pictures a second of all, and pictures in a commit."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(number), context.SimpleQueue()
    processes = [
        context.Process(target=write, args=(url, place, each, barrier, told)) for place in range(number)
    ]
    for process in processes:
        process.start()
    answers = [told.get() for _ in processes]
    for process in processes:
        process.join()
    commits = sum(commits for _, commits in answers)
    return number * each / max(seconds for seconds, _ in answers), number * each / commits


def write(url: str, place: int, count: int, barrier: Barrier, told: "multiprocessing.SimpleQueue") -> None:  # type: ignore[type-arg]
    """A replica's part, in a process of its own; tells its seconds and commits."""
    wanted = [picture(f"{place}-{number}") for number in range(count)]
    room, commits = threading.Semaphore(IN_FLIGHT), [0]
    futures: list[Future[Registered]] = []

    def committed(_: Sequence[int]) -> None:
        commits[0] += 1

    def written(_: Future[Registered]) -> None:
        room.release()

    with Store.open(url, release="bench", algorithm=None) as store:
        store.on_commit(committed)
        barrier.wait()
        begin = time.perf_counter()
        for each in wanted:
            room.acquire()
            futures.append(store.add_image(each, NEW))
            futures[-1].add_done_callback(written)
        for future in futures:
            future.result(60)
        told.put((time.perf_counter() - begin, commits[0]))


# ---- the soak


def soak(seconds: float) -> Table:
    """Three replicas, one killed -9 at a time, and a failover in the middle, beside others left alone."""
    every = 4.0 if seconds < 60 else 20.0
    with tempfile.TemporaryDirectory() as folder, pair_of_servers(durable=True) as pair:
        pair.make_synchronous()
        with replicas(Path(folder), pair.url, 1) as alone:
            calm = run(alone, max(10.0, seconds / 10), writers=WRITERS, readers=READERS)
        with replicas(Path(folder), pair.url, 3) as running:
            three = run(running, max(10.0, seconds / 10), writers=WRITERS, readers=READERS)
            book = run(
                running,
                seconds,
                writers=WRITERS,
                readers=READERS,
                kill_every=every,
                disaster=lambda _: pair.fail_over(),
            )
        books = (calm, three, book)
        lost = sum(each.lost(pair.standby) for each in books)
    missed = sum(len(each.missed) for each in books)
    faults = [fault for each in books for fault in each.faults]
    refused = sum(number for what, number in book.seen.items() if what.endswith((" 0", " 503")))
    return Table(
        f"{WRITERS} writers and {READERS} readers: {seconds:.0f} s on three replicas of which one is killed"
        f" -9 each {every:.0f} s, with a failover to the synchronous standby in the middle",
        ("", "acknowledged", "searches", "write p50", "p99", "search p50", "p99", "slowest"),
        [
            shown("one replica, left alone", calm),
            shown("three, left alone", three),
            shown("three, killed and failed over", book),
        ],
        [
            Target("acknowledged and lost", "0", str(lost), lost == 0),
            Target(
                "searches that missed what was acknowledged before",
                "0",
                str(missed),
                not missed,
            ),
            Target("clients that gave up", "0", str(len(faults)), not faults),
        ],
        note=f"{running.killed} kills. Times are from the first try to the answer: {refused} tries were"
        " refused or cut, and sent to the next replica. " + "; ".join(faults[:3]),
    )


def shown(name: str, book: Book) -> tuple[str, ...]:
    times = [duration(book.quantile(what, q)) for what in ("write", "search") for q in (0.5, 0.99)]
    slowest = duration(max(max(each) for each in book.seconds.values()))
    return name, str(len(book.acknowledged)), str(len(book.seconds["search"])), *times, slowest
