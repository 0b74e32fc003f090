"""Puts a session together, and lets it go on with what an earlier process of it had seen."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.clock import Clock
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.errors import NothingToJudgeError
from guarded_rollout.gates.panel import News, Panel
from guarded_rollout.interrupts import shielded
from guarded_rollout.logs import LogLine
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.auto_rollback import AutoRollback, RollbackState
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.monitor.poller import Poller, judged_gates, polls_for
from guarded_rollout.monitor.ports import Rollouts
from guarded_rollout.monitor.schedule import Timeline
from guarded_rollout.monitor.session import Monitor, WatchTarget
from guarded_rollout.monitor.sources import Sampler
from guarded_rollout.monitor.tasks import Executor, ThreadExecutor
from guarded_rollout.notify.events import Facts
from guarded_rollout.notify.publisher import Publisher

Look = Callable[[Monitor, float], None]


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier process of the same session left in its log."""

    alerts: int = 0
    failed_probes: int = 0
    newest: float = float("-inf")  # time of its last sample
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of a session. `minutes` is how long to watch where no rollout is open."""

    environment: str
    config: EnvironmentGates
    timeout: float  # of one poll, in seconds
    samplers: Sequence[Sampler]
    clock: Clock
    tell: Publisher
    show: Callable[[LogLine], None]
    ask: Callable[[str], bool] | None = None
    minutes: float | None = None
    dry_run: bool = False

    def run(self, path: Path, rollouts: Rollouts | None, looks: Iterable[Look] = ()) -> int:
        """Watch to the end and return the exit code. An existing log at `path` is gone on with."""
        executor, now = ThreadExecutor(), self.clock.now().timestamp()
        window = rollouts.open_window() if rollouts else None
        began_at = window.opened_at if window else now
        watcher, judged, unheard = watcher_of(
            self.config, self.samplers, self.timeout, executor, began_at, now
        )
        if not judged and window is None:  # an open window is timed and closed all the same
            reason = f"nothing can be asked for {', '.join(unheard)}" if unheard else "no gate is enabled"
            raise NothingToJudgeError(environment=self.environment, reason=reason)
        past = recall(watcher.panel, logs.read(path)) if path.exists() else None
        timeline = Timeline(self.clock, past.newest if past else float("-inf"))
        log = MonitorLog.open(path, self.environment, (self.show,))
        session = WatchTarget(
            self.environment,
            began_at,
            ends_at=began_at + (self.minutes or self.config.monitoring.window_minutes) * 60,
            rollout=window.rollout if window else "",
            release=window.candidate if window else "",
            dry_run=self.dry_run,
        )
        rollback = AutoRollback(
            self.config.auto_rollback,
            self.environment,
            rollouts,
            executor,
            log,
            self.tell,
            self.clock,
            facts=Facts(deployment=session.rollout, release=session.release),
            ask=self.ask,
            dry_run=self.dry_run,
        )
        monitor = Monitor(
            session, watcher, rollback, rollouts, executor, timeline, self.clock, log, self.tell, looks=looks
        )
        monitor.window = window
        try:
            if past is None:
                monitor.begin(judged, unheard)
            else:
                monitor.go_on(past.samples, past.alerts, past.failed_probes)
            return _to_its_end(monitor)
        except KeyboardInterrupt:
            log.write(timeline.now(), "warning", "Monitoring session interrupted: it watches no more")
            raise
        except Exception as error:
            log.write(timeline.now(), "critical", f"The monitor failed: {type(error).__name__}: {error}")
            raise
        finally:
            log.close()


def _to_its_end(monitor: Monitor) -> int:
    """Run a session; an interruption lets a rollback that has begun end first."""
    try:
        return monitor.run()
    except KeyboardInterrupt:
        if monitor.rollback.state in (RollbackState.RUNNING, RollbackState.RETRYING):
            with shielded():
                return monitor.run()
        raise


def watcher_of(
    config: EnvironmentGates,
    samplers: Sequence[Sampler],
    timeout: float,
    executor: Executor,
    began_at: float,
    now: float,
) -> tuple[Poller, list[str], list[str]]:
    """The watcher, the gates that it judges, and those that have no source here."""
    gates, unheard = judged_gates(config, samplers)
    panel = Panel(gates.items(), config.monitoring.poll_intervals, began_at)
    polls = polls_for(gates, samplers, config.monitoring, timeout)
    return Poller(panel, polls, executor, began_at, now), list(gates), unheard


def recall(panel: Panel, lines: Iterable[LogLine]) -> Past:
    """Let the gates learn what an earlier process of this session saw."""
    alerts, failed_probes, newest, count = 0, 0, float("-inf"), 0
    for sample in filter(None, map(logs.sample_of, lines)):
        changes = panel.take(sample)
        alerts += sum(change.news is News.FAILED for change in changes)
        alerts += any(change.news is News.SILENT for change in changes)
        if sample.source == "probe" and not sample.path:
            failed_probes = 0 if sample.ok else failed_probes + 1
        newest, count = max(newest, sample.at), count + 1
    return Past(alerts, failed_probes, newest, count)
