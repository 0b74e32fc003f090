"""The monitor: watches a window with its gates, rolls back once, and finishes what went well.

Everything that takes time is a task, so a slow endpoint or a long rollback delays no other poll.
"""

from collections.abc import Callable, Iterable, Sequence

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import OnUndecided
from guarded_rollout.config.terms import Action
from guarded_rollout.errors import LockHeldError
from guarded_rollout.gates.samples import Side
from guarded_rollout.gates.verdict import News, Verdict
from guarded_rollout.interrupts import shielded
from guarded_rollout.monitor.alerts import facts_of
from guarded_rollout.monitor.auto_rollback import AutoRollback, RollbackState
from guarded_rollout.monitor.poller import Observation
from guarded_rollout.monitor.ports import OpenWindow, Rollouts
from guarded_rollout.monitor.session import GateSession
from guarded_rollout.monitor.tasks import TaskResult
from guarded_rollout.notify.events import Facts

NOTICE_SECONDS = 2.0  # at most so long until a promote, pause or abort is noticed
DRAIN_POLL_SECONDS = 0.5  # of what the old release of an accepted rollout still answers
FINISH = "finish"
FINISH_ATTEMPTS = 5

GOOD, ALERTED, ROLLED_BACK, FAILED = 0, 1, 2, 3


class Monitor:
    """Runs a session to the end of its window, or for `seconds` where no rollout is open."""

    def __init__(
        self,
        session: GateSession,
        rollouts: Rollouts | None,
        *,
        seconds: float | None = None,
        ask: Callable[[str], bool] | None = None,
        observers: Iterable[Callable[["Monitor", float], None]] = (),
    ) -> None:
        self.session = session
        self.target = session.target
        self.rollback = AutoRollback(session, rollouts, ask)
        self.ends_at = session.began_at + (seconds or session.config.monitoring.window_minutes * 60)
        self.window: OpenWindow | None = rollouts.open_window() if rollouts and self.target.rollout else None
        self._rollouts = rollouts
        self._observers = tuple(observers)  # a heartbeat, a live view: called first of all, and at every turn
        self._unreadable_published = False
        self._doubt_logged = False
        self._undecided_noted = False
        self._finishing = False
        self._finish_attempts = 0
        self._finish_at = 0.0
        self._accepting = False
        self.exit_code: int | None = None

    # ---- the run

    def run(self) -> int:
        """Watch to the end and close the log. Returns the exit code.

        An interruption lets a rollback that has begun end first.
        """
        session = self.session
        try:
            self.start()
            return self._to_its_end()
        except KeyboardInterrupt:
            if self.rollback.state in (RollbackState.RUNNING, RollbackState.RETRYING):
                with shielded():
                    return self._to_its_end()
            session.say("warning", "Monitoring session interrupted: it watches no more")
            raise
        except Exception as error:
            session.say("critical", f"The monitor failed: {type(error).__name__}: {error}")
            raise
        finally:
            session.log.close()

    def start(self) -> None:
        """Log and publish what is watched, or take over what an earlier process has seen."""
        session = self.session
        self._observe(session.now())  # a heartbeat before all else: the next process finds this log by it
        if session.window_recalled:
            words = f"Monitoring session resumed with {session.recalled} samples"
            session.say("info", words, samples=session.recalled)
        else:
            self._begin()
        if session.recalled:
            self._want_what_gates_want(session.now())

    def turn(self) -> None:
        """Send for what is due, wait for what comes back first, and act on it."""
        now = self.session.now()
        notice = DRAIN_POLL_SECONDS if self.window and self.window.draining else NOTICE_SECONDS
        seconds = min(self.rollback.next_due() - now, notice)
        observations, results = self.session.poll(seconds)
        for seen in observations:
            self._see(seen)
        for result in results:
            if result.name == FINISH:
                self._finished(result, self.session.now())
            else:
                self.rollback.take(result, self.session.now())
        now = self.session.now()
        self.rollback.step(now)
        self._check_window(now)
        self._observe(now)

    def left(self, now: float) -> float:
        """Seconds until the window closes."""
        return self.window.left if self.window is not None else max(0.0, self.ends_at - now)

    def _observe(self, now: float) -> None:
        for observe in self._observers:
            observe(self, now)

    def _to_its_end(self) -> int:
        while self.exit_code is None:
            self.turn()
        self.session.complete(self.exit_code)
        return self.exit_code

    def _begin(self) -> None:
        session, target = self.session, self.target
        left = duration(self.left(session.now()))
        session.say(
            "info",
            f"Monitoring {target.release or 'what serves'} in {target.environment} for {left}:"
            f" {', '.join(session.gates)}",
            rollout=target.rollout,
            release=target.release,
            gates=session.gates,
            began_at=session.began_at,
            opened_at=self.window.opened_at if self.window else session.began_at,
            dry_run=target.dry_run,
        )
        for name in session.unheard:
            session.say("warning", f"{name} is not judged: its source cannot be asked here")
        for estimate in session.outlook():
            session.say("warning" if estimate.advice else "info", estimate.words)
        session.alerts.started(session.gates)

    # ---- what comes in

    def _see(self, seen: Observation) -> None:
        if any(change.news in (News.FAILED, News.SILENT) for change in seen.changes) and self._taken_away():
            self.session.log.sample(seen.sample)
            return  # it was stopped on purpose: an alert would wake somebody, and nothing would end it
        # What is being stopped on purpose stops answering: nobody needs to be paged for that.
        stopping = self.rollback.state is RollbackState.RUNNING and not seen.sample.ok
        stopping = stopping or (self._closing and seen.sample.side is Side.STABLE)
        changes = self.session.record(seen, suppressed=stopping)
        wanting = [change.verdict for change in changes if Action.AUTO_ROLLBACK in change.actions]
        if wanting:
            self._want(wanting, seen.sample.at)
        elif not self.session.panel.wants_rollback():
            self.rollback.relax(seen.sample.at)

    def _want(self, wanting: Sequence[Verdict], now: float) -> None:
        """Ask for a rollback, unless the window has closed: what is being accepted is watched no more."""
        if not self._closing:
            reason = "; ".join(f"{one.gate}: {one.reason}" for one in wanting) or "a gate's source is silent"
            facts = facts_of(wanting[0]) if wanting else Facts()
            self.rollback.want(reason, now, facts, quarantine=self.session.panel.quarantines())

    def _want_what_gates_want(self, now: float) -> None:
        """Act on what was seen while nobody could act on it."""
        panel = self.session.panel
        if panel.wants_rollback():
            self._want([one for one in panel.verdicts if one.gate in panel.failing], now)

    @property
    def _closing(self) -> bool:
        """True once the release is being accepted, or was: it is watched no more, unless finishing fails."""
        accepted = self.window is not None and self.window.accepted and not self._finish_attempts
        return self._finishing or accepted

    def _taken_away(self) -> bool:
        """Return True if somebody else is taking the release back, or has."""
        if not self.target.rollout or self._rollouts is None:
            return False
        window = self._rollouts.open_window()
        if window is not None and window.rollout == self.target.rollout:
            return window.undoing
        return self.rollback.state in (RollbackState.IDLE, RollbackState.RETRYING)

    # ---- the window

    def _check_window(self, now: float) -> None:
        if self.rollback.over:
            done = self.rollback.state is RollbackState.DONE
            self.exit_code = FAILED if not done else ALERTED if self.target.dry_run else ROLLED_BACK
        elif self._finishing:
            return
        elif self.target.rollout:
            self._check_rollout(now)
        elif now >= self.ends_at and not self.rollback.blocking:
            self._note_unreadable(now)
            self.exit_code = self._verdict_of_all()

    def _check_rollout(self, now: float) -> None:
        assert self._rollouts is not None
        self.window = window = self._rollouts.open_window()
        if window is None or window.rollout != self.target.rollout:
            if self.rollback.state in (RollbackState.RUNNING, RollbackState.RETRYING):
                return  # the rollback has closed it, and has the last word
            self._ended_elsewhere()
        elif window.undoing:
            if not window.at_work:  # an operator who takes it back needs no help
                self.rollback.resume("it was being rolled back", now)
        elif window.draining or now < self._finish_at:
            return
        elif window.accepted:
            self._finish()
        elif window.left <= 0 and not self.rollback.blocking:
            # Silence is no pass: the window stays open until there is data, or somebody promotes the release.
            held = self._note_unreadable(now) or self._in_doubt() or self._note_undecided(now)
            if not held or self.target.dry_run:
                self._finish()

    def _note_unreadable(self, now: float) -> bool:
        """At the end, return True if gates that could roll back have no data. Published once."""
        unreadable = self.session.panel.unreadable
        if unreadable and not self._unreadable_published:
            self._unreadable_published = True
            names = ", ".join(unreadable)
            reason = f"the window is over and there is no data for {names}"
            if self.target.rollout:
                reason += "; it stays open until there is, or `rollout promote` accepts the release"
            words = f"Quality gate without data at the end: {reason}"
            self.session.log.write(now, "error", words, gates=unreadable)
            self.session.alerts.unreadable(unreadable, reason)
        return bool(unreadable)

    def _note_undecided(self, now: float) -> bool:
        """At the end, say which gates never had enough to tell; True if that holds the window open."""
        session, undecided = self.session, self.session.panel.undecided
        policy = session.config.monitoring.on_undecided
        if undecided and not self._undecided_noted:
            self._undecided_noted = True
            ends = "Held open" if policy is OnUndecided.HOLD else "Accepted"
            names = ", ".join(undecided)
            words = f"{ends} on {session.requests:g} requests; these gates never decided: {names}"
            session.log.write(now, "warning", words, gates=undecided, requests=session.requests)
            if policy is not OnUndecided.ACCEPT:
                session.alerts.unreadable(undecided, words)
        return bool(undecided) and policy is OnUndecided.HOLD

    def _in_doubt(self) -> bool:
        """At the end, return True if the newest probes failed, or one is out. Logged once."""
        doubts = self.session.panel.doubtful
        if doubts and not self._doubt_logged:
            self._doubt_logged = True
            names = "; ".join(f"{one.gate}: {one.reason}" for one in doubts)
            words = f"The window is over, and stays open until this is decided: {names}"
            self.session.say("warning", words)
        return bool(doubts) or self.session.poller.probing

    def _ended_elsewhere(self) -> None:
        assert self._rollouts is not None
        ended = self._rollouts.ended(self.target.rollout)
        if ended is None or not ended.completed:
            reason = ended.reason if ended else "it is gone from the journal"
            self.session.say("warning", f"The rollout has ended: {reason}")
            self.exit_code = ROLLED_BACK if ended and ended.rolled_back else FAILED
        else:
            self.session.say("info", f"{self.target.release} was accepted")
            self.exit_code = self._verdict_of_all()

    def _finish(self) -> None:
        assert self._rollouts is not None
        if self.target.dry_run:
            self.session.say("info", f"DRY-RUN: would accept {self.target.release}: the window closed")
            self.exit_code = self._verdict_of_all()
            return
        if not (self._accepting or (self.window and self.window.accepted)):
            self._accepting = True
            words = f"The window closed without a rollback: accepting {self.target.release}"
            self.session.say("info", words)
        self._finishing = True
        self.session.executor.start(FINISH, self._rollouts.finish)

    def _finished(self, result: TaskResult, now: float) -> None:
        self._finishing = False
        if result.error is None:
            return  # the journal says how it ended
        if not isinstance(result.error, LockHeldError):
            self._finish_attempts += 1
            self.session.say("error", f"Finishing failed: {result.error}")
        self._want_what_gates_want(now)
        self._finish_at = now + NOTICE_SECONDS
        if self._finish_attempts >= FINISH_ATTEMPTS:
            self.exit_code = FAILED

    def _verdict_of_all(self) -> int:
        return ALERTED if self.session.alerts.count else GOOD
