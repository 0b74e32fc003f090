"""The gate session of one rollout: it polls sources, lets the gates judge, logs samples and publishes news.

It lasts from the first share of the traffic until the window closes. Whichever process runs it recalls from
the session's log what the one before has seen, so evaluation windows never begin again.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guarded_rollout.clock import Clock
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.terms import Source
from guarded_rollout.errors import NotALogError, NothingToJudgeError
from guarded_rollout.gates.estimate import Estimate, UsualTraffic, estimates
from guarded_rollout.gates.panel import Change, Panel
from guarded_rollout.gates.samples import SIDES, Recording, Sample, Side
from guarded_rollout.gates.verdict import News
from guarded_rollout.logs import LogLine
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.alerts import AlertPublisher
from guarded_rollout.monitor.edge_log import REQUESTS, EdgeSource
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.monitor.poller import Observation, Poller, judged_gates, polls_for
from guarded_rollout.monitor.schedule import Timeline
from guarded_rollout.monitor.sources import Sampler
from guarded_rollout.monitor.tasks import Executor, TaskResult, ThreadExecutor
from guarded_rollout.notify.events import Facts
from guarded_rollout.notify.publisher import Publisher

COMPLETED = "Monitoring session completed"


@dataclass(frozen=True, slots=True)
class SessionTarget:
    """The subject of a session: a rollout, or (without one) whatever serves in the environment."""

    environment: str
    rollout: str = ""
    release: str = ""
    dry_run: bool = False

    @property
    def facts(self) -> Facts:
        """As a message carries it."""
        return Facts(release=self.release, deployment=self.rollout)


class GateSession:
    """Polls and records.

    `opened_at` is when the window opened, in seconds since 1970: infinite while traffic is shifted, and the
    session's own beginning where no rollout is open.

    Raises `NothingToJudgeError` where no rollout is open and no gate can be judged.
    """

    def __init__(
        self,
        target: SessionTarget,
        config: EnvironmentGates,
        samplers: Sequence[Sampler],
        path: Path,
        *,
        timeout: float,  # of one poll, in seconds
        clock: Clock,
        publisher: Publisher,
        opened_at: float | None = None,
        listeners: tuple[Callable[[LogLine], None], ...] = (),
        executor: Executor | None = None,
    ) -> None:
        past = _past(path)
        now = clock.now().timestamp()
        self.target, self.config = target, config
        self.clock, self.publisher = clock, publisher
        self.executor = executor or ThreadExecutor()
        self.began_at = past.began_at or min(now, now if opened_at is None else opened_at)
        opened_at = self.began_at if opened_at is None else opened_at
        self.recalled = len(past.samples)
        self.window_recalled = past.began_at is not None and past.opened_at != math.inf
        self.alerts = AlertPublisher(publisher, clock, target.environment, target.facts)
        self._failed_probes = 0
        self._before = next((one for one in past.samples if one.side is Side.BEFORE), None)
        self._requests: dict[float | None, float] = {}  # by the process that counted them
        gates, self.unheard = judged_gates(config, samplers)
        self.gates = tuple(gates)
        if not self.gates and not target.rollout:  # an open window is timed and closed all the same
            unheard = ", ".join(self.unheard)
            reason = f"nothing can be asked for {unheard}" if unheard else "no gate is enabled"
            raise NothingToJudgeError(environment=target.environment, reason=reason)
        self.panel = Panel(
            gates.items(), config.monitoring.poll_intervals, self.began_at, opened_at, config.alphas
        )
        self._recall(past.samples)
        self._timeline = Timeline(clock, max((sample.at for sample in past.samples), default=-math.inf))
        heard_until = max((one.at for one in past.samples if one.source is Source.EDGE), default=now)
        for sampler in samplers:
            if isinstance(sampler, EdgeSource):
                sampler.log.begin(heard_until)
        asked = [one for one in samplers if one.side in SIDES]
        polls = polls_for(gates, asked, config.monitoring, timeout)
        self.poller = Poller(self.panel, polls, self.executor, self.began_at, self.now(), opened_at)
        self.log = MonitorLog.open(path, target.environment, listeners)
        if not any(one.side is Side.BEFORE for one in past.samples):
            self._learn_before(one for one in samplers if one.side is Side.BEFORE)

    def now(self) -> float:
        """The time on the session's own line, in seconds since 1970."""
        return self._timeline.now()

    def poll(self, seconds: float) -> tuple[list[Observation], list[TaskResult]]:
        """Send for what is due and wait up to so many seconds for the first answer.

        Returns the observations, not yet recorded, and the results of other tasks.
        """
        now = self.now()
        seen = self.poller.start_due(now)
        seconds = 0.0 if seen else min(seconds, self.poller.next_due() - now)
        others: list[TaskResult] = []
        for result in self.executor.wait(seconds):
            if not self.poller.sent_for(result):
                others.append(result)
            elif (observation := self.poller.take(result, self.now())) is not None:
                seen.append(observation)
        return seen, others

    @property
    def requests(self) -> float:
        """The requests to the candidate that the proxy has noted; 0 where it notes none."""
        return sum(self._requests.values())

    def record(self, seen: Observation, *, suppressed: bool = False) -> tuple[Change, ...]:
        """Log an observation and, unless suppressed, publish its news; returns the changes."""
        self.log.sample(seen.sample)
        self._note_health(seen.sample)
        failing = self.panel.failing
        for change in seen.changes:
            self.log.change(change)
        if suppressed:
            return seen.changes
        for change in seen.changes:
            if change.news is News.FAILED:
                self.alerts.breach(change.verdict, failing)
            elif change.news in (News.RECOVERED, News.HEARD):
                self.alerts.over(change.verdict, failing)
        if silent := [change.verdict for change in seen.changes if change.news is News.SILENT]:
            self.alerts.silence(silent)
        return seen.changes

    def say(self, level: str, words: str, **data: object) -> None:
        """Write a line into the log, now."""
        self.log.write(self.now(), level, words, **data)

    def outlook(self) -> list[Estimate]:
        """Return what the gates will be worth at the traffic of before; empty if there was none."""
        traffic = UsualTraffic.of(self._before, self.began_at) if self._before is not None else None
        return list(estimates(self.config, traffic)) if traffic is not None else []

    def complete(self, exit_code: int) -> None:
        """Write the line that ends a session."""
        self.say("info", COMPLETED, exit_code=exit_code, alerts=self.alerts.count)

    def _note_health(self, sample: Sample) -> None:
        """The lines that operators look for, of the usual health endpoint."""
        self._note_requests(sample)
        if not _is_health(sample):
            return
        if not sample.ok:
            self._failed_probes += 1
            words = f"Health check failed ({self._failed_probes} consecutive): {sample.problem}"
            self.log.write(sample.at, "warning", words, consecutive=self._failed_probes)
        elif self._failed_probes:
            self.log.write(sample.at, "info", "Health check recovered", after=self._failed_probes)
            self._failed_probes = 0

    def _learn_before(self, samplers: Iterable[Sampler]) -> None:
        """Tell the gates once what stable was like before the rollout."""
        for sampler in samplers:
            sample = replace(sampler.sample(), at=self.began_at)
            if sample.ok:
                self._before = sample
                self.panel.take(sample)
                self.log.sample(sample)

    def _note_requests(self, sample: Sample) -> None:
        if sample.source is Source.EDGE and sample.side is Side.CANDIDATE and sample.ok:
            self._requests[sample.started_at] = sample.counters.get(REQUESTS, 0.0)

    def _recall(self, samples: Iterable[Sample]) -> None:
        """Let the gates learn what earlier processes of this session saw."""
        for sample in samples:
            self._note_requests(sample)
            changes = self.panel.take(sample)
            self.alerts.count += sum(change.news is News.FAILED for change in changes)
            self.alerts.count += any(change.news is News.SILENT for change in changes)
            if _is_health(sample):
                self._failed_probes = 0 if sample.ok else self._failed_probes + 1


def _past(path: Path) -> Recording:
    """Return what earlier processes of a session saw; nothing if they died before their first line."""
    try:
        return logs.recording_of(logs.read(path))
    except NotALogError:
        return Recording()


def _is_health(sample: Sample) -> bool:
    return sample.source is Source.PROBE and not sample.path
