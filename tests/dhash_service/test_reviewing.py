"""Reviewing: the pair that is shown now, and blank pictures decided together, on both databases."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dhash_service.facts import Match, Neighbour, Status, Verdict, new_id
from dhash_service.metrics import Metrics
from dhash_service.reviewing import Reviewing
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.review import EVERYTHING
from tests.dhash_service.store.facts import NEW, picture, session
from tests.dhash_service.web.conftest import new_token


@pytest.fixture
def service(store_url: str) -> Iterator[Service]:
    running = Service(Settings(store=store_url, release="r1"), Metrics("r1")).start()  # type: ignore[arg-type]
    yield running
    running.close()


def waits(service: Service, name: str, value: int, nearest: Neighbour, *reasons: str):  # type: ignore[no-untyped-def]
    match = Match(Status.REVIEW, 0.4, reasons, nearest, None, 9)
    return service.store.add_image(picture(name, value), match).result(10)


def test_the_pair_that_is_shown_is_the_nearest_known_now(service: Service) -> None:
    far = service.store.add_image(picture("far", 0b1111111), NEW).result(10).image
    waiting = waits(service, "asked", 0, Neighbour(far, 7), "small_margin")
    (pair,) = asyncio.run(Reviewing(service).browse(EVERYTHING, None, 5))
    assert (pair.lookup.match.nearest.image.id, pair.lookup.match.nearest.distance) == (far.id, 7)
    near = service.store.add_image(picture("near", 0), NEW).result(10).image
    (pair,) = asyncio.run(Reviewing(service).browse(EVERYTHING, None, 5))
    assert (pair.lookup.id, pair.lookup.match.nearest.image.id) == (waiting.lookup, near.id)
    assert pair.lookup.match.nearest.distance == 0
    assert [other.image.id for other in pair.others] == [far.id]


def test_blank_pictures_are_one_pair_and_are_decided_and_taken_back_together(service: Service) -> None:
    blank = service.store.add_image(picture("blank", 0), NEW).result(10).image
    lookups = [waits(service, f"dark {n}", n, Neighbour(blank, 1), "low_quality").lookup for n in range(8)]
    other = waits(service, "other", 0xFFFF << 30, Neighbour(blank, 9), "low_quality").lookup
    new_token(service.store, "ada", "reviewer")
    who = service.store.sessions.open(session(service.store, datetime.now(UTC))).result(10)

    async def work() -> None:
        reviewing = Reviewing(service)
        pairs = await reviewing.hand_out(who.id, EVERYTHING, None, 20)
        assert [pair.lookup.id for pair in pairs] == [lookups[0], other]
        assert sorted(pairs[0].alike) == sorted(lookups[1:])
        assert await reviewing.hand_out(who.id, EVERYTHING, other, 20, [lookups[0], other]) == []
        made, _ = await reviewing.decide(who, new_id(), lookups[0], Verdict.DIFFERENT, "all dark")
        assert service.store.queue.status().length == 1
        (judged,) = service.store.verdicts.about(lookups[5])
        assert (judged.decision.verdict, judged.decision.reviewer) == (Verdict.DIFFERENT, "ada")
        assert service.store.verdicts.undoable("ada", 20) == [made.id]
        await reviewing.take_back(who, new_id(), made.id)
        assert service.store.queue.status().length == 9
        assert service.store.verdicts.undoable("ada", 20) == []
        again = await reviewing.decide(who, made.id, lookups[0], Verdict.DIFFERENT, "all dark")
        assert again == (made, False)  # its answer was lost, and it was taken back meanwhile
        assert service.store.queue.status().length == 9

    asyncio.run(work())


def test_a_setting_says_which_reasons_send_to_review(store_url: str) -> None:
    settings = Settings(store=store_url, review_reasons="small_margin, crowded")  # type: ignore[arg-type]
    flat = replace(picture("flat", 0).fingerprint, quality=0.05)
    running = Service(settings, Metrics("r1")).start()
    try:
        known = running.store.add_image(picture("known", 0), NEW).result(10).image
        assert running.matcher.match(flat).status is Status.MATCHED
        assert running.matcher.match(flat).nearest.image.id == known.id
    finally:
        running.close()
    every = Service(settings.model_copy(update={"review_reasons": "low_quality"}), Metrics("r1")).start()
    try:
        assert every.matcher.match(flat).status is Status.REVIEW
    finally:
        every.close()


@pytest.mark.parametrize(("reasons", "queueing"), [("none", []), ("crowded", ["crowded"])])
def test_reasons_are_a_list_with_commas(reasons: str, queueing: list[str]) -> None:
    assert sorted(Settings(review_reasons=reasons).queueing) == queueing


def test_a_reason_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ugly is none of crowded"):
        Settings(review_reasons="ugly")
