"""What an open page is told, and how soon."""

import asyncio
import json
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from guarded_rollout.clock import ManualClock
from guarded_rollout.rollout.window import PAUSED
from guarded_rollout.status.headline import UNWATCHED_SECONDS
from guarded_rollout.ui.hub import Follower, Message, version_of
from tests.guarded_rollout.ui.uikit import NEW, Place, Site, heard, samples


def follower(site: Site) -> Follower:
    return site.dashboard._followers["production"]


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def test_a_page_that_is_up_to_date_hears_only_what_changes_and_within_a_second(
    place: Place, site: Site
) -> None:
    rollout = place.watched()
    page = site.get("/env/production").text
    version = page.partition('data-version="')[2].partition('"')[0]

    async def story() -> None:
        events = follower(site).events(version, "")
        changed = asyncio.ensure_future(heard(events, "state"))
        await asyncio.sleep(0.2)
        place.journal.note(rollout, PAUSED)
        began = time.monotonic()
        message = await changed
        assert time.monotonic() - began < 1.0
        assert "headline" in message.data["sections"]
        assert "history" not in message.data["sections"], "what did not change is not sent"
        assert f"The window of {NEW} is paused" in message.data["sections"]["headline"]

    run(story())


def test_a_page_that_is_behind_is_told_everything_at_once(place: Place, site: Site) -> None:
    place.log(place.watched())

    async def story() -> None:
        message = await heard(follower(site).events("an old one", ""), "state")
        assert {"headline", "actions", "steps", "history", "gate-health"} <= message.data["sections"].keys()

    run(story())


def test_new_samples_are_sent_alone_and_missed_ones_are_sent_after_a_reconnect(
    place: Place, site: Site
) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 60
    log = place.log(rollout, began_at)
    place.watch(log, began_at, 50, lambda age: 0.01)

    async def story() -> None:
        look = await follower(site).look()
        assert look.charts is not None
        cursor = look.charts.cursor
        events = follower(site).events("", cursor)
        first = await heard(events, "dots")
        assert first.data["dots"] == []
        for sample in samples(began_at + 55, 1200, 12):
            log.sample(sample)
        dots = await heard(events, "dots")
        assert {(gate, side) for gate, side, _, _ in dots.data["dots"]} >= {
            ("health", "candidate"),
            ("extraction_failure_rate", "candidate"),
            ("extraction_failure_rate", "stable"),
        }
        assert dots.id == dots.data["cursor"] != cursor
        again = await heard(follower(site).events("", cursor), "dots")
        assert again.data["dots"] == dots.data["dots"]
        unknown = await heard(follower(site).events("", "other-7"), "restart")
        assert unknown.data == {}

    run(story())


def test_time_alone_changes_what_must_be_said(tmp_path: Path) -> None:
    """Nobody watches: no file changes, and after a while the page says so."""
    place = Place(tmp_path, ManualClock(datetime.now(UTC) - timedelta(seconds=UNWATCHED_SECONDS - 3)))
    place.watched()
    site = Site(place)

    async def story() -> None:
        _, before = await follower(site).sections()
        assert f"Nobody watches {NEW}" not in before["headline"]
        message = await heard(follower(site).events(version_of(before), ""), "state", seconds=10)
        assert f"Nobody watches {NEW}" in message.data["sections"]["headline"]

    run(story())
    place.close()


def test_when_nothing_happens_a_page_still_hears_that_we_are_here(place: Place, site: Site) -> None:
    async def story() -> None:
        page = (await follower(site).sections())[1]
        message = await heard(follower(site).events(version_of(page), ""), "tick", seconds=4)
        assert abs(message.data["now"] - time.time()) < 2

    run(story())


def test_the_stream_ends_when_the_dashboard_does(place: Place, site: Site) -> None:
    async def story() -> None:
        ended = asyncio.ensure_future(site.client.get("/env/production/events"))
        await asyncio.sleep(0.5)
        site.dashboard.stop()
        answer = await asyncio.wait_for(ended, 3)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert b"event: state" in answer.content

    run(story())


def test_a_message_is_what_browsers_read() -> None:
    said = Message("dots", {"text": "a\nb\r\n\n"}, "e-1").encode().decode()
    assert said.count("\n\n") == 1
    assert said.endswith("\n\n")
    data = next(line for line in said.splitlines() if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: ")) == {"text": "a\nb\r\n\n"}


def test_one_look_at_a_full_window_costs_little(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 3600
    place.watch(place.log(rollout, began_at), began_at, 3600, lambda age: 0.01)

    async def story() -> None:
        one = follower(site)
        await one.sections()
        begun = time.process_time()
        for _ in range(100):
            one._news(await one.look())
        cost = (time.process_time() - begun) / 100
        assert cost < 0.005, f"{cost * 1000:.1f} ms a look: twice a second is to stay under 1 % of a core"

    run(story())


def test_a_page_that_is_opened_takes_no_news_from_the_others(place: Place, site: Site) -> None:
    rollout = place.watched()

    async def story() -> None:
        one = follower(site)
        _, sections = await one.sections()
        events = one.events(version_of(sections), "")
        changed = asyncio.ensure_future(heard(events, "state"))
        await asyncio.sleep(0.1)
        place.journal.note(rollout, PAUSED)
        await one.sections()  # somebody opens the page before the follower has looked
        message = await changed
        assert "is paused" in message.data["sections"]["headline"]

    run(story())
