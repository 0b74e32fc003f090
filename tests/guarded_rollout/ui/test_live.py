"""What an open page hears when it asks again, and how soon."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from guarded_rollout.host.release import short
from guarded_rollout.rollout.window import PAUSED
from guarded_rollout.status.headline import UNWATCHED_SECONDS
from guarded_rollout.ui.live import RECENT_SECONDS
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, Place, Site, samples


class Page:
    """An open page of production, which asks as its script does."""

    def __init__(self, site: Site) -> None:
        self._site = site
        html = site.get("/env/production").text
        self._address = re.findall(r'hx-get="([^"]+)"', html)[0].replace("&amp;", "&")
        self._etag = ""

    def ask(self) -> httpx.Response:
        headers = {"HX-Request": "true"} | ({"If-None-Match": self._etag} if self._etag else {})
        answer = self._site.get(self._address, headers=headers)
        self._etag = answer.headers.get("etag", self._etag)
        return answer

    def hears(self, wanted: Callable[[httpx.Response], bool], seconds: float = 1.0) -> httpx.Response:
        """The first answer that is wanted. Asks ten times a second: a browser's own second is not ours."""
        end = time.monotonic() + seconds
        while not wanted(answer := self.ask()):
            assert time.monotonic() < end, answer.status_code
            time.sleep(0.1)
        return answer


def sections(answer: httpx.Response) -> set[str]:
    return set(re.findall(r"innerHTML:\[data-section='([^']+)'\]", answer.text))


def changed(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def test_a_page_that_is_up_to_date_hears_nothing_until_something_changes_and_then_at_once(
    place: Place, site: Site
) -> None:
    rollout = place.watched()
    page = Page(site)
    assert page.ask().status_code == 200
    same = page.ask()
    assert (same.status_code, same.content) == (304, b"")
    place.journal.note(rollout, PAUSED)
    answer = page.hears(changed, RECENT_SECONDS + 0.5)
    assert f"The window of {short(NEW)} is paused" in answer.text
    assert page.ask().status_code == 304


def test_a_page_that_was_away_is_told_everything_at_once(place: Place, site: Site) -> None:
    place.log(place.watched())
    answer = Page(site).ask()
    assert {"headline", "actions", "steps", "history", "gate-health"} <= sections(answer)
    shown = set(re.findall(r'data-section="([^"]+)"', site.get("/env/production").text))
    assert sections(answer) == shown


def test_all_environments_are_followed_too(place: Place, site: Site) -> None:
    rollout = place.watched()
    first = site.get("/", headers={"HX-Request": "true"})
    assert "card-production" in sections(first)
    headers = {"HX-Request": "true", "If-None-Match": first.headers["etag"]}
    assert site.get("/", headers=headers).status_code == 304
    place.journal.note(rollout, PAUSED)
    time.sleep(RECENT_SECONDS)
    assert "is paused" in site.get("/", headers=headers).text


def test_a_page_of_another_window_is_loaded_again(place: Place, site: Site) -> None:
    rollout = place.watched()
    page = Page(site)
    assert "hx-refresh" not in page.ask().headers
    place.log(rollout)
    answer = page.hears(lambda answer: "hx-refresh" in answer.headers, RECENT_SECONDS + 0.5)
    assert answer.headers["hx-refresh"] == "true"
    assert "etag" not in answer.headers, "it would take the next answer for the same"


def test_a_page_whose_reader_is_signed_out_asks_for_the_token(place: Place) -> None:
    site = Site(place, loopback=False)
    answer = site.get("/env/production", headers={"HX-Request": "true"})
    assert answer.headers["hx-redirect"] == "/login?next=%2Fenv%2Fproduction"
    assert answer.content == b""


def test_new_samples_are_sent_alone_and_all_where_a_page_s_place_is_not_known(
    place: Place, site: Site
) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 60
    log = place.log(rollout, began_at)
    place.watch(log, began_at, 50, lambda age: 0.01)
    whole = site.get("/env/production/series").json()
    assert "health" in whole["gates"]
    address = f"/env/production/series?since={whole['cursor']}"
    assert site.get(address).json() == {"cursor": whole["cursor"], "dots": []}
    for sample in samples(began_at + 55, 1200, 12):
        log.sample(sample)
    time.sleep(RECENT_SECONDS)
    found = site.get(address).json()
    assert {(gate, side) for gate, side, _, _ in found["dots"]} >= {
        ("health", "candidate"),
        ("extraction_failure_rate", "candidate"),
        ("extraction_failure_rate", "stable"),
    }
    assert found["cursor"] != whole["cursor"]
    assert site.get(address).json() == found, "asked again, as after a lost answer"
    assert "gates" in site.get("/env/production/series?since=other-7").json()


def test_time_alone_changes_what_must_be_said(tmp_path: Path) -> None:
    """Nobody watches: no file changes, and after a while the page says so."""
    place = Place(tmp_path, ManualClock(datetime.now(UTC) - timedelta(seconds=UNWATCHED_SECONDS - 3)))
    place.watched()
    page = Page(Site(place))
    assert f"Nobody watches {short(NEW)}" not in page.ask().text
    answer = page.hears(changed, seconds=10)
    assert f"Nobody watches {short(NEW)}" in answer.text
    place.close()


def test_a_page_that_is_opened_takes_no_news_from_the_others(place: Place, site: Site) -> None:
    rollout = place.watched()
    page = Page(site)
    page.ask()
    place.journal.note(rollout, PAUSED)
    site.get("/env/production")  # somebody opens the page before the first one has asked
    assert "is paused" in page.ask().text


def test_pages_that_ask_at_once_share_a_reading(place: Place, site: Site) -> None:
    place.watched()
    live = site.dashboard._live["production"]

    async def story() -> None:
        first = await live.read()
        assert await live.read(oldest=60.0) is first
        assert await live.read() is not first

    asyncio.run(story())


def test_one_reading_of_a_full_window_costs_little(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 3600
    place.watch(place.log(rollout, began_at), began_at, 3600, lambda age: 0.01)

    async def story() -> None:
        live = site.dashboard._live["production"]
        begun = time.process_time()
        await live.sections()
        first = time.process_time() - begun
        begun = time.process_time()
        for _ in range(100):
            await live.sections()
        cost = (time.process_time() - begun) / 100
        assert cost < first / 10, f"{cost * 1000:.1f} ms, of {first * 1000:.1f} ms for all of it"

    asyncio.run(story())
