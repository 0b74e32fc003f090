"""Follows environments while somebody looks at them, and tells every open page what has changed.

One look serves all pages. A look costs what changed: files are compared by their stamps, logs are read on
from where they ended, and a section is rendered again only when what it shows is another.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

import structlog

from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.gates.samples import Side
from guarded_rollout.status.cache import Blind, Kept, stamp
from guarded_rollout.status.chart_line import Dot, Line
from guarded_rollout.status.headline import unwatched
from guarded_rollout.status.snapshot import Overview, Reader
from guarded_rollout.ui.charts import Charts
from guarded_rollout.ui.jobs import Jobs

log = structlog.get_logger()

LOOK_SECONDS = 0.4  # so a change is on the page within a second, with time left for a busy machine
TICK_SECONDS = 2.0  # a page that has heard nothing for three of these has lost us
QUEUE = 200


class Message(NamedTuple):
    """One server-sent event, <https://html.spec.whatwg.org/multipage/server-sent-events.html>."""

    event: str
    data: Mapping[str, Any]
    id: str = ""

    def encode(self) -> bytes:
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.event}\ndata: {json.dumps(self.data)}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Look:
    """All that a page of one environment shows. `structure` changes when a page must be made anew."""

    seen: Overview
    config: EnvironmentGates | None
    charts: Charts | None
    jobs_mark: object

    @property
    def lines(self) -> Mapping[str, Mapping[Side, Line]]:
        return self.charts.lines if self.charts else {}

    @property
    def structure(self) -> str:
        names = [name for name, _ in self.config.quality_gates.enabled()] if self.config else []
        return "|".join([str(self.seen.session.path.name) if self.seen.session else "", *names])


class Watched:
    """One environment, read on demand. One thread at a time."""

    def __init__(self, environment: Environment, jobs: Jobs) -> None:
        self.environment = environment
        self._jobs = jobs
        self._reader = Reader(environment)
        self._config: Kept[EnvironmentGates | None] = Kept("the gates file", None)
        self._charts: Charts | None = None
        self._chart_blind: Blind | None = None

    def look(self) -> Look:
        """Read what has changed. Never raises."""
        seen = self._reader.read()
        config = self._config.get(lambda: stamp(self.environment.gates), self._load, seen.read_at)
        self._follow_charts(seen, config)
        blind = tuple(one for one in (self._config.blind, self._chart_blind) if one)
        return Look(replace(seen, blind=seen.blind + blind), config, self._charts, self._jobs.mark())

    def close(self) -> None:
        self._reader.close()

    def _load(self) -> EnvironmentGates:
        return gates.load(self.environment.gates).environment(self.environment.name)

    def _follow_charts(self, seen: Overview, config: EnvironmentGates | None) -> None:
        session = seen.session
        if session is None or config is None:
            self._charts = None
            return
        if self._charts is None or self._charts.path != session.path or self._charts.gates is not config:
            began_at = session.began_at if session.began_at is not None else seen.read_at
            self._charts = Charts(session.path, config, began_at)
        try:
            self._charts.advance()
            self._chart_blind = None
        except OSError as error:
            since = self._chart_blind.since if self._chart_blind else seen.read_at
            self._chart_blind = Blind("the samples", str(error.strerror), since)


Render = Callable[[Look], dict[str, str]]


class Follower:
    """Looks at one environment twice a second while pages are open, and tells them."""

    def __init__(self, watched: Watched, render: Render) -> None:
        self._watched = watched
        self._render = render
        self._turn = asyncio.Lock()
        self._pages: set[asyncio.Queue[Message]] = set()
        self._task: asyncio.Task[None] | None = None
        self._key: object = None
        self._told: dict[str, str] = {}  # what every page shows that listens
        self._cursor = ""
        self.latest: Look | None = None

    async def look(self) -> Look:
        """What is true now."""
        async with self._turn:
            self.latest = await asyncio.to_thread(self._watched.look)
            return self.latest

    async def sections(self) -> tuple[Look, dict[str, str]]:
        """What is true now, as a page shows it."""
        look = await self.look()
        return look, self._render(look)

    async def events(self, version: str, cursor: str) -> AsyncIterator[Message]:
        """What a page needs to hear that shows `version` and has the points up to `cursor`."""
        queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE)
        look, sections = await self.sections()
        self._pages.add(queue)
        try:
            if version != version_of(sections):
                yield self._state(look, sections)
            if look.charts is not None:
                dots = look.charts.since(cursor)
                yield Message("restart", {}) if dots is None else _dots(look.charts, dots)
            if self._task is None or self._task.done():
                self._key, self._cursor = _key(look), look.charts.cursor if look.charts else ""
                self._told = sections
                self._task = asyncio.create_task(self._follow())
            while True:
                yield await queue.get()
        finally:
            self._pages.discard(queue)
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        ticked = loop.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                messages = self._news(await self.look())
            except Exception as error:  # the next look may go well; until then pages hear nothing
                log.error("a look failed", error=f"{type(error).__name__}: {error}")
                continue
            if not messages and loop.time() - ticked >= TICK_SECONDS and self.latest:
                messages = [Message("tick", {"now": self.latest.seen.read_at})]
            if messages:
                ticked = loop.time()
                self._tell(messages)

    def _news(self, look: Look) -> list[Message]:
        messages: list[Message] = []
        charts = look.charts
        if charts is not None and charts.cursor != self._cursor:
            dots = charts.since(self._cursor)
            messages.append(Message("restart", {}) if dots is None else _dots(charts, dots))
        self._cursor = charts.cursor if charts else ""
        key = _key(look)
        if key != self._key or messages:
            self._key = key
            sections = self._render(look)
            changed = {name: html for name, html in sections.items() if self._told.get(name) != html}
            self._told = sections
            if changed:
                messages.append(self._state(look, changed))
        return messages

    def _state(self, look: Look, sections: Mapping[str, str]) -> Message:
        now = {"now": look.seen.read_at, "structure": look.structure, "sections": sections}
        return Message("state", now)

    def _tell(self, messages: list[Message]) -> None:
        for queue in list(self._pages):
            try:
                for message in messages:
                    queue.put_nowait(message)
            except asyncio.QueueFull:  # it does not read any more: it will come back for all of it
                self._pages.discard(queue)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._watched.close()


def version_of(sections: Mapping[str, str]) -> str:
    """Tells one state of a page from another."""
    whole = json.dumps(sections, sort_keys=True)
    return sha256(whole.encode()).hexdigest()[:16]


def _dots(charts: Charts, dots: list[Dot]) -> Message:
    return Message("dots", {"cursor": charts.cursor, "dots": dots}, charts.cursor)


def _key(look: Look) -> object:
    """What a page shows, without the time that passes."""
    seen = look.seen
    frozen = replace(seen, read_at=0.0, window_left=0.0, unwatched_seconds=0.0)
    return frozen, seen.phase, unwatched(seen), look.structure, look.jobs_mark, look.config
