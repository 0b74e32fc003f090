"""Two processes on one store: each finds what the other acknowledged, and one alone calls a picture new."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from dhash_service.facts import UNLABELLED, Source, Status
from dhash_service.metrics import Metrics
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.engine import writing
from tests.dhash_service.store.facts import NEW, picture
from tests.pictures import jpeg

Start = Callable[[], Service]


@pytest.fixture
def start(store_url: str) -> Iterator[Start]:
    """Starts services on the test's store; each has its own connections, writer, index and follower."""
    with ExitStack() as stack:

        def start_one() -> Service:
            settings = Settings(store=store_url, release="r1", threads=2)  # type: ignore[arg-type]
            service = Service(settings, Metrics("r1")).start()
            stack.callback(service.close)
            return service

        yield start_one


def test_a_search_finds_what_another_process_has_acknowledged(start: Start) -> None:
    one, other = start(), start()
    for number in range(40):
        value = 0x0123_4567_89AB_CDEF * (number + 1) & ~(1 << 63)
        written = one.store.add_image(picture(number, value), NEW).result(10)
        found = asyncio.run(other.search(value, 0, 5))
        assert [near.image.id for near in found.neighbours] == [written.image.id]


def test_the_version_of_a_store_moves_with_each_commit_and_only_then(start: Start) -> None:
    one, other = start(), start()
    assert one.matcher.catch_up()
    is_sqlite = one.store.engine.dialect.name == "sqlite"
    assert one.matcher.follower.is_current() == is_sqlite
    before = one.store.feed.version()
    other.store.add_image(picture("a"), NEW).result(10)
    assert (one.store.feed.version() != before) == is_sqlite
    assert one.matcher.catch_up()
    assert one.matcher.follower.is_current() == is_sqlite


@pytest.mark.parametrize("processes", [1, 2])
def test_of_pictures_alike_that_are_sent_at_once_one_is_new(start: Start, processes: int) -> None:
    """Both have been matched before either can be written: the store's write lock is held meanwhile."""
    services = [start() for _ in range(processes)]
    alike = [jpeg(320, 240, 7, quality=quality) for quality in (70, 80, 90, 95)]

    def submit(number: int, data: bytes):  # type: ignore[no-untyped-def]
        return asyncio.run(services[number % processes].submit(data))

    with ThreadPoolExecutor(len(alike)) as threads:
        with writing(services[0].store.engine):
            answers = [threads.submit(submit, number, data) for number, data in enumerate(alike)]
            wait_until_matched(services, len(alike))
        submissions = [answer.result(20) for answer in answers]
    new = [each for each in submissions if each.match.status is Status.NEW]
    assert len(new) == 1
    for each in submissions:
        assert each.created
        kept = services[0].store.lookup(each.lookup)
        assert (kept.match.status, kept.match.confidence) == (each.match.status, each.match.confidence)
        if each is not new[0]:
            assert each.match.nearest.image.id in {other.picture_id for other in submissions}
            assert kept.match.nearest.image.id == each.match.nearest.image.id


def wait_until_matched(services: list[Service], number: int) -> None:
    """Wait until all are decoded and matched and wait for the writers."""
    deadline = time.monotonic() + 10
    while sum(service.metrics._images.labels("ok")._value.get() for service in services) < number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_alike_pictures_of_one_document_are_not_all_new(start: Start) -> None:
    service = start()
    after = service.matcher.follower.position
    place = Source(picture("pdf").sha256, 1, (0, 0, 1, 1))
    with writing(service.store.engine):
        waiting = []
        for number in range(3):
            alike = picture(number, 0b111 & number)
            (looked,) = service._submitter._looked([alike], True)
            assert looked.after == after
            waiting.append(service._submitter.keep(looked, UNLABELLED, place))
    statuses = [written.result(10).match.status for written in waiting]
    assert statuses.count(Status.NEW) == 1
