"""The automatic rollback: confirmed where that is wanted, retried if it fails, never started twice."""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from guarded_rollout.clock import duration
from guarded_rollout.errors import LockHeldError
from guarded_rollout.monitor.ports import Rollouts
from guarded_rollout.monitor.session import GateSession
from guarded_rollout.monitor.tasks import TaskResult
from guarded_rollout.notify.events import Facts, Kind, event

ATTEMPTS = 5
RETRY_SECONDS = 10.0  # doubled with each attempt
BUSY_SECONDS = 1.0  # another command holds the lock; it is no failure

ROLLBACK, BACKUP, ANSWER, PAUSE = "rollback", "backup", "answer", "pause"


class RollbackState(StrEnum):
    """The progress of an automatic rollback."""

    IDLE = "idle"
    ASKING = "asking"  # a person is to decide; the traffic stays where it is
    DECLINED = "declined"  # and said no: not asked again for this breach
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    GAVE_UP = "gave up"


class AutoRollback:
    """The automatic rollback of one session."""

    def __init__(
        self, session: GateSession, rollouts: Rollouts | None, ask: Callable[[str], bool] | None = None
    ) -> None:
        self.state = RollbackState.IDLE
        self._session, self._target = session, session.target
        self._settings = session.config.auto_rollback
        self._rollouts = rollouts
        self._executor, self._log = session.executor, session.log
        self._facts = self._target.facts
        self._ask = ask
        self._reason, self._quarantine = "", False
        self._attempts = 0
        self._retry_at = math.inf
        self._overdue_at = math.inf
        self._backup = ""

    # ---- requests

    def want(self, reason: str, now: float, facts: Facts, *, quarantine: bool = False) -> bool:
        """Ask for a rollback. Returns True if one is under way, was asked for or is done."""
        if self.state is not RollbackState.IDLE:
            return self.state is not RollbackState.DECLINED
        if not self._settings.enabled or self._rollouts is None:
            why = "is disabled here" if self._rollouts else "is not possible here"
            self._log.write(now, "warning", f"Auto-rollback {why}: {reason}", **self._data())
            return False
        self._reason, self._quarantine = reason, quarantine
        self._facts = Facts(**{**self._facts, **facts})
        if self._target.dry_run:
            self._log.write(now, "critical", f"DRY-RUN: TRIGGERING AUTO-ROLLBACK: {reason}", **self._data())
            self.state = RollbackState.DONE
        elif self._settings.confirmation_required:
            self._ask_first(now)
        else:
            self._begin(now)
        return True

    def resume(self, reason: str, now: float) -> None:
        """Finish a rollback that was under way when its process died."""
        if self.state is RollbackState.IDLE and self._rollouts is not None:
            self._reason = reason
            self._log.write(now, "warning", f"Resuming a rollback that was interrupted: {reason}")
            self._start(now)

    def relax(self, now: float) -> None:
        """Withdraw what gates asked for: none does any more."""
        if self.state in (RollbackState.ASKING, RollbackState.DECLINED):
            self.state = RollbackState.IDLE
            words = "No gate asks for a rollback any more; the window stays paused until `rollout resume`"
            self._log.write(now, "info", words)

    @property
    def blocking(self) -> bool:
        """True while the window must not close by itself."""
        return self.state in (
            RollbackState.ASKING,
            RollbackState.DECLINED,
            RollbackState.RUNNING,
            RollbackState.RETRYING,
        )

    @property
    def over(self) -> bool:
        return self.state in (RollbackState.DONE, RollbackState.GAVE_UP)

    def next_due(self) -> float:
        return min(self._retry_at, self._overdue_at)

    def step(self, now: float) -> None:
        """Start another attempt when it is due, or warn that the running one takes too long."""
        if self.state is RollbackState.RETRYING and now >= self._retry_at:
            self._start(now)
        if self.state is RollbackState.RUNNING and now >= self._overdue_at:
            self._overdue_at = math.inf
            limit = duration(self._settings.rollback_timeout_minutes * 60)
            self._failed(now, f"it is not done after {limit} and still runs")

    def take(self, done: TaskResult, now: float) -> None:
        """An task of the rollback came back; others are no business of it."""
        match done.name:
            case "rollback" if self.state is RollbackState.RUNNING:
                self._ended(done, now)
            case "backup":
                self._note_backup(done, now)
            case "answer" if self.state is RollbackState.ASKING and done.error is None:
                self._answered(bool(done.result), now)
            case "pause" if done.error is not None:
                self._log.write(now, "error", f"The window could not be paused: {done.error}")

    # ---- asking

    def _ask_first(self, now: float) -> None:
        assert self._rollouts is not None
        self.state = RollbackState.ASKING
        ways = "`rollout abort` rolls back, `rollout promote` accepts the release"
        self._log.write(
            now, "critical", f"Auto-rollback waits for confirmation: {self._reason} ({ways})", **self._data()
        )
        self._publish(
            Kind.AUTO_ROLLBACK, message=f"Waiting for your decision: {ways}.", next_command="rollout abort"
        )
        self._executor.start(PAUSE, self._rollouts.pause)
        if self._ask is not None:
            ask, reason = self._ask, self._reason
            self._executor.start(ANSWER, lambda: ask(reason))

    def _answered(self, yes: bool, now: float) -> None:
        if yes:
            self._begin(now)
        else:
            self.state = RollbackState.DECLINED
            self._log.write(now, "warning", f"Auto-rollback declined: {self._reason}", **self._data())

    # ---- doing

    def _begin(self, now: float) -> None:
        self._log.write(now, "critical", f"TRIGGERING AUTO-ROLLBACK: {self._reason}", **self._data())
        self._start(now)  # before anything that can wait, as the outbox can
        self._publish(Kind.AUTO_ROLLBACK)

    def _start(self, now: float) -> None:
        assert self._rollouts is not None
        rollouts, reason, quarantine = self._rollouts, self._reason, self._quarantine
        if not self._attempts:
            self._overdue_at = now + self._settings.rollback_timeout_minutes * 60
            self._executor.start(BACKUP, rollouts.verified_backup)
        self._attempts += 1
        self.state, self._retry_at = RollbackState.RUNNING, math.inf
        self._executor.start(ROLLBACK, lambda: rollouts.roll_back(reason, quarantine))

    def _note_backup(self, done: TaskResult, now: float) -> None:
        if done.error is not None:
            self._log.write(now, "error", f"The backup file cannot be used: {done.error}")
        elif done.result is not None:
            self._backup = str(done.result)
            self._log.write(now, "info", f"Using backup file: {self._backup}", backup_file=self._backup)

    def _ended(self, done: TaskResult, now: float) -> None:
        if done.error is None:
            self.state, self._overdue_at = RollbackState.DONE, math.inf
            self._log.write(now, "info", "Auto-rollback completed successfully", **self._data())
            self._publish(Kind.ROLLBACK_SUCCEEDED, release=self._returned_to())
        elif isinstance(done.error, LockHeldError):
            self._attempts = max(1, self._attempts - 1)
            self.state, self._retry_at = RollbackState.RETRYING, now + BUSY_SECONDS
        else:
            self._failed(now, str(done.error))
            if self._attempts >= ATTEMPTS:
                self.state, self._overdue_at = RollbackState.GAVE_UP, math.inf
            else:
                self.state = RollbackState.RETRYING
                self._retry_at = now + RETRY_SECONDS * 2 ** (self._attempts - 1)

    def _failed(self, now: float, problem: str) -> None:
        assert self._rollouts is not None
        command = self._rollouts.manual_command
        self._log.write(
            now,
            "critical",
            f"Auto-rollback FAILED: {problem} By hand: {command}",
            manual_command=command,
            attempt=self._attempts,
            **self._data(),
        )
        self._publish(
            Kind.ROLLBACK_FAILED, error=problem, manual_command=command, release=self._returned_to()
        )

    def _publish(self, kind: Kind, message: str = "", **facts: Any) -> None:
        known: Any = {**self._facts, "reason": self._reason, **facts}
        if self._backup:
            known["backup_file"] = self._backup
        at = self._session.clock.now()
        self._session.publisher.publish(event(kind, self._target.environment, at, message=message, **known))

    def _returned_to(self) -> str:
        assert self._rollouts is not None
        return self._rollouts.returns_to

    def _data(self) -> dict[str, Any]:
        return {"reason": self._reason, "rollback": self.state.value}
