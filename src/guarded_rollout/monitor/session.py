"""The monitor: watches a window with its gates, tells, rolls back once, and finishes what went well.

Everything that takes time is an task, so a slow endpoint or a long rollback delays no other poll.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from guarded_rollout.clock import Clock, duration
from guarded_rollout.config.kinds import Action
from guarded_rollout.errors import LockHeldError
from guarded_rollout.gates.panel import News
from guarded_rollout.gates.verdict import Verdict
from guarded_rollout.monitor.alerts import AlertPublisher, facts_of
from guarded_rollout.monitor.auto_rollback import AutoRollback, RollbackState
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.monitor.poller import Observation, Poller
from guarded_rollout.monitor.ports import OpenWindow, Rollouts
from guarded_rollout.monitor.schedule import Timeline
from guarded_rollout.monitor.tasks import Executor, TaskResult
from guarded_rollout.notify.events import Facts
from guarded_rollout.notify.publisher import Publisher

LOOK_SECONDS = 2.0  # at most so long until a promote, pause or abort is noticed
FINISH = "finish"
FINISH_ATTEMPTS = 5

GOOD, ALERTED, ROLLED_BACK, FAILED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """What is watched: an open rollout, or (without `rollout`) whatever serves, until `ends_at`."""

    environment: str
    began_at: float
    ends_at: float
    rollout: str = ""
    release: str = ""
    dry_run: bool = False


class Monitor:
    """Runs one session to its end."""

    def __init__(
        self,
        session: WatchTarget,
        watcher: Poller,
        rollback: AutoRollback,
        rollouts: Rollouts | None,
        executor: Executor,
        timeline: Timeline,
        clock: Clock,
        log: MonitorLog,
        tell: Publisher,
        *,
        looks: Iterable[Callable[["Monitor", float], None]] = (),
    ) -> None:
        self.session = session
        self.watcher = watcher
        self.rollback = rollback
        self._rollouts = rollouts
        self._executor = executor
        self._timeline = timeline
        self._log = log
        self.told = AlertPublisher(tell, clock, session.environment, session.release, session.rollout)
        self._looks = tuple(looks)  # a heartbeat, a live view: called at every turn with the time
        self.window: OpenWindow | None = None
        self._failed_probes = 0
        self._told_blind = False
        self._told_doubt = False
        self._finishing = False
        self._finish_attempts = 0
        self._finish_at = 0.0
        self._exit_code: int | None = None

    def run(self) -> int:
        """Watch until the window is over or the release is rolled back. Returns the exit code."""
        while self._exit_code is None:
            self.turn()
        self._say("info", "Monitoring session completed", exit_code=self._exit_code, alerts=self.told.alerts)
        return self._exit_code

    def turn(self) -> None:
        """Send for what is due, wait for what comes back first, and act on it."""
        now = self._timeline.now()
        for seen in self.watcher.start_due(now):
            self._see(seen)
        due = min(self.watcher.next_due(), self.rollback.next_due(), now + LOOK_SECONDS)
        for done in self._executor.wait(due - now):
            self._take(done, self._timeline.now())
        now = self._timeline.now()
        self.rollback.step(now)
        self._look_at_window(now)
        for look in self._looks:
            look(self, now)

    def left(self, now: float) -> float:
        """Seconds until the window closes."""
        if self.window is not None:
            return self.window.left
        return max(0.0, self.session.ends_at - now)

    # ---- what comes in

    def _take(self, done: TaskResult, now: float) -> None:
        seen = self.watcher.take(done, now)
        if seen is not None:
            self._see(seen)
        elif done.name == FINISH:
            self._finished(done, now)
        else:
            self.rollback.take(done, now)

    def _see(self, seen: Observation) -> None:
        self._log.sample(seen.sample)
        if any(change.news in (News.FAILED, News.SILENT) for change in seen.changes) and self._taken_away():
            return  # it was stopped on purpose: an alert would wake somebody, and nothing would end it
        self._note_health(seen)
        silent: list[Verdict] = []
        wanting: list[Verdict] = []
        for change in seen.changes:
            self._log.change(change)
            if Action.AUTO_ROLLBACK in change.actions:
                wanting.append(change.verdict)
            if change.news is News.SILENT:
                silent.append(change.verdict)
            elif change.news is News.FAILED:
                self.told.breach(change.verdict, self.watcher.panel.failing)
            elif change.news in (News.RECOVERED, News.HEARD):
                self.told.over(change.verdict, self.watcher.panel.failing)
        if silent:
            self.told.silence(silent)
        if wanting:
            self._want(wanting, seen.sample.at)
        elif not self.watcher.panel.wants_rollback():
            self.rollback.relax(seen.sample.at)

    def _want(self, wanting: Sequence[Verdict], now: float) -> None:
        """Ask for a rollback, unless the window has closed: what is being accepted is watched no more."""
        if not self._finishing:
            reason = "; ".join(f"{one.gate}: {one.reason}" for one in wanting) or "a gate's source is silent"
            facts = facts_of(wanting[0]) if wanting else Facts()
            self.rollback.want(reason, now, facts, quarantine=self.watcher.panel.quarantines())

    def _want_what_gates_want(self, now: float) -> None:
        """Act on what was seen while nobody could act on it."""
        if self.watcher.panel.wants_rollback():
            panel = self.watcher.panel
            self._want([one for one in panel.verdicts if one.gate in panel.failing], now)

    def _taken_away(self) -> bool:
        """Whether somebody else is taking the release back, or has. Our own rollback is another matter."""
        if not self.session.rollout or self._rollouts is None:
            return False
        window = self._rollouts.open_window()
        if window is not None and window.rollout == self.session.rollout:
            return window.undoing
        return self.rollback.state in (RollbackState.IDLE, RollbackState.RETRYING)

    def _note_health(self, seen: Observation) -> None:
        """The lines that operators look for, of the usual health endpoint."""
        sample = seen.sample
        if sample.source != "probe" or sample.path:
            return
        if not sample.ok:
            self._failed_probes += 1
            words = f"Health check failed ({self._failed_probes} consecutive): {sample.problem}"
            self._log.write(sample.at, "warning", words, consecutive=self._failed_probes)
        elif self._failed_probes:
            self._log.write(sample.at, "info", "Health check recovered", after=self._failed_probes)
            self._failed_probes = 0

    def _note_blindness(self, now: float) -> bool:
        """At the end: whether gates that could roll back have no data. Told once."""
        blind = self.watcher.panel.blind
        if blind and not self._told_blind:
            self._told_blind = True
            names = ", ".join(blind)
            reason = f"the window is over and there is no data for {names}"
            if self.session.rollout:
                reason += "; it stays open until there is, or `rollout promote` accepts the release"
            self._log.write(now, "error", f"Quality gate without data at the end: {reason}", gates=blind)
            self.told.blind(blind, reason)
        return bool(blind)

    def _in_doubt(self, now: float) -> bool:
        """At the end: whether the newest probes failed, or one is out. The next ones will tell: told once."""
        doubts = self.watcher.panel.doubtful
        if doubts and not self._told_doubt:
            self._told_doubt = True
            names = "; ".join(f"{one.gate}: {one.reason}" for one in doubts)
            self._say("warning", f"The window is over, and stays open until this is decided: {names}")
        return bool(doubts) or self.watcher.probing

    # ---- the window

    def _look_at_window(self, now: float) -> None:
        if self.rollback.over:
            done = self.rollback.state is RollbackState.DONE
            code = FAILED if not done else ALERTED if self.session.dry_run else ROLLED_BACK
            self._exit_code = code
        elif self._finishing:
            return
        elif not self.session.rollout:
            if now >= self.session.ends_at and not self.rollback.blocking:
                self._note_blindness(now)
                self._exit_code = self._verdict_of_all()
        else:
            self._look_at_rollout(now)

    def _look_at_rollout(self, now: float) -> None:
        assert self._rollouts is not None
        self.window = window = self._rollouts.open_window()
        if window is None or window.rollout != self.session.rollout:
            if self.rollback.state in (RollbackState.RUNNING, RollbackState.RETRYING):
                return  # the rollback has closed it, and has the last word
            self._ended_elsewhere()
        elif window.undoing:
            if not window.at_work:  # an operator who takes it back needs no help
                self.rollback.go_on("it was being rolled back", now)
        elif window.left <= 0 and not self.rollback.blocking and now >= self._finish_at:
            if self._note_blindness(now) and not self.session.dry_run:
                return  # silence is no pass: it stays open until there is data, or somebody promotes it
            if self._in_doubt(now) and not self.session.dry_run:
                return
            self._finish(now)

    def _ended_elsewhere(self) -> None:
        assert self._rollouts is not None
        ended = self._rollouts.ended(self.session.rollout)
        if ended is None or not ended.completed:
            reason = ended.reason if ended else "it is gone from the journal"
            self._say("warning", f"The rollout has ended: {reason}")
            self._exit_code = ROLLED_BACK if ended and ended.rolled_back else FAILED
        else:
            self._say("info", f"{self.session.release} was accepted")
            self._exit_code = self._verdict_of_all()

    def _finish(self, now: float) -> None:
        assert self._rollouts is not None
        if self.session.dry_run:
            self._say("info", f"DRY-RUN: would accept {self.session.release}: the window closed")
            self._exit_code = self._verdict_of_all()
            return
        if not self._finish_attempts:
            self._say("info", f"The window closed without a rollback: accepting {self.session.release}")
        self._finishing = True
        self._executor.start(FINISH, self._rollouts.finish)

    def _finished(self, done: TaskResult, now: float) -> None:
        self._finishing = False
        if done.error is None:
            return  # the journal says how it ended
        if not isinstance(done.error, LockHeldError):
            self._finish_attempts += 1
            self._say("error", f"Finishing failed: {done.error}")
        self._want_what_gates_want(now)
        self._finish_at = now + LOOK_SECONDS
        if self._finish_attempts >= FINISH_ATTEMPTS:
            self._exit_code = FAILED

    def _verdict_of_all(self) -> int:
        return ALERTED if self.told.alerts else GOOD

    def _say(self, level: str, words: str, **data: object) -> None:
        self._log.write(self._timeline.now(), level, words, **data)

    # ---- its beginning

    def go_on(self, samples: int, alerts: int, failed_probes: int) -> None:
        """Take over what an earlier process of this session had done; what it had not come to is done now."""
        self._say("info", f"Going on with this session, with {samples} samples", samples=samples)
        self.told.alerts, self._failed_probes = alerts, failed_probes
        self._want_what_gates_want(self._timeline.now())

    def begin(self, gates: Iterable[str], unheard: Iterable[str]) -> None:
        """Say in the log what is watched, and tell that it is."""
        now = self._timeline.now()
        names, missing = tuple(gates), tuple(unheard)
        what = self.session.release or "what serves"
        self._log.write(
            now,
            "info",
            f"Monitoring {what} in {self.session.environment}"
            f" for {duration(self.left(now))}: {', '.join(names)}",
            rollout=self.session.rollout,
            release=self.session.release,
            gates=names,
            began_at=self.session.began_at,
            dry_run=self.session.dry_run,
        )
        for name in missing:
            self._log.write(now, "warning", f"{name} is not judged: its source cannot be asked here")
        self.told.started(names)
