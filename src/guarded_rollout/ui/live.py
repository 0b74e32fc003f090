"""The live state of an environment's page: read when a page polls, rendered when something changed.

One reading serves all pages that ask at once. A reading costs what changed: files are compared by their
stamps, and logs are read on from where they ended.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from guarded_rollout.backup import copies
from guarded_rollout.backup.copies import CopyRecord
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates, gates_of
from guarded_rollout.gates.samples import Side
from guarded_rollout.status.cache import Cached, Unreadable, stamp
from guarded_rollout.status.chart_line import ChartLine
from guarded_rollout.status.headline import unwatched
from guarded_rollout.status.snapshot import Reader, Snapshot
from guarded_rollout.ui.charts import Charts
from guarded_rollout.ui.edge_trend import EdgeTrend, TrendPoint
from guarded_rollout.ui.jobs import Jobs

RECENT_SECONDS = 0.4  # of a reading that another page may be answered with

Sections = Mapping[str, str]
"""The parts of a page that change by themselves, as HTML, by name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a page of one environment shows. `structure` changes when the page must be reloaded."""

    seen: Snapshot
    config: EnvironmentGates | None
    charts: Charts | None
    jobs_mark: object
    trend: tuple[TrendPoint, ...] = ()
    copies: tuple[CopyRecord, ...] = ()

    @property
    def lines(self) -> Mapping[str, Mapping[Side, ChartLine]]:
        return self.charts.lines if self.charts else {}

    @property
    def structure(self) -> str:
        names = [name for name, _ in self.config.quality_gates.enabled()] if self.config else []
        return "|".join([str(self.seen.session.path.name) if self.seen.session else "", *names])

    @property
    def key(self) -> object:
        """Changes when the page does: all of it but the time that passes."""
        frozen = replace(self.seen, read_at=0.0, window_left=0.0, unwatched_seconds=0.0)
        drawn = self.charts.cursor if self.charts else ""
        return (
            frozen,
            self.seen.phase,
            unwatched(self.seen),
            self.structure,
            self.jobs_mark,
            self.config,
            drawn,
            self.trend,
            self.copies,
        )


class Live:
    """One environment, read and rendered on demand."""

    def __init__(self, environment: Environment, jobs: Jobs, render: Callable[[Reading], Sections]) -> None:
        self.environment = environment
        self._jobs = jobs
        self._render = render
        self._reader = Reader(environment)
        self._config: Cached[EnvironmentGates | None] = Cached("the gates file", None)
        self._trend = EdgeTrend(environment)
        self._copies: Cached[tuple[CopyRecord, ...]] = Cached("the copies", ())
        self._charts: Charts | None = None
        self._chart_unreadable: Unreadable | None = None
        self._turn = asyncio.Lock()
        self._latest: Reading | None = None
        self._read_at = 0.0
        self._rendered: tuple[object, Sections] | None = None

    async def read(self, oldest: float = 0.0) -> Reading:
        """Return the current reading, or one at most `oldest` seconds old. Never raises."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if self._latest is None or now - self._read_at > oldest:
                self._latest = await asyncio.to_thread(self._read)
                self._read_at = now
            return self._latest

    async def sections(self, oldest: float = 0.0) -> tuple[Reading, Sections]:
        """Return a reading and its rendered sections."""
        reading = await self.read(oldest)
        key = reading.key
        if self._rendered is None or self._rendered[0] != key:
            self._rendered = key, self._render(reading)
        return reading, self._rendered[1]

    def close(self) -> None:
        self._reader.close()
        self._trend.close()

    def _read(self) -> Reading:
        seen = self._reader.read()
        config = self._config.get(
            lambda: stamp(self.environment.gates), lambda: gates_of(self.environment), seen.read_at
        )
        self._follow_charts(seen, config)
        unreadable = tuple(one for one in (self._config.unreadable, self._chart_unreadable) if one)
        return Reading(
            replace(seen, unreadable=seen.unreadable + unreadable),
            config,
            self._charts,
            self._jobs.mark(),
            self._trend.points(seen.read_at),
            self._copies.get(
                lambda: stamp(self.environment.root / copies.RECORD), self._read_copies, seen.read_at
            ),
        )

    def _read_copies(self) -> tuple[CopyRecord, ...]:
        return tuple(copies.records(self.environment))

    def _follow_charts(self, seen: Snapshot, config: EnvironmentGates | None) -> None:
        session = seen.session
        if session is None or config is None:
            self._charts = None
            return
        if self._charts is None or self._charts.path != session.path or self._charts.gates is not config:
            began_at = session.began_at if session.began_at is not None else seen.read_at
            self._charts = Charts(session.path, config, began_at)
        try:
            self._charts.advance()
            self._chart_unreadable = None
        except OSError as error:
            since = self._chart_unreadable.since if self._chart_unreadable else seen.read_at
            self._chart_unreadable = Unreadable("the samples", str(error.strerror), since)


def etag_of(sections: Sections) -> str:
    """Tells one state of a page from another, RFC 9110 section 8.8.3."""
    whole = json.dumps(sections, sort_keys=True)
    return f'"{sha256(whole.encode()).hexdigest()[:16]}"'
