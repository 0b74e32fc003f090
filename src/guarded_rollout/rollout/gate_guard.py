"""The gates while traffic is shifted: asked at each share, they can take the rollout back."""

import math
import sys
from collections.abc import Callable

from guarded_rollout.checks.window_checks import all_samplers
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import AutoRollbackSettings, GatesFile
from guarded_rollout.config.terms import Action
from guarded_rollout.errors import GateBreachedError
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.verdict import News
from guarded_rollout.monitor.heartbeat import Beater, session_log
from guarded_rollout.monitor.monitor import ROLLED_BACK
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.session import GateSession, SessionTarget
from guarded_rollout.notify.publisher import Publisher
from guarded_rollout.rollout.steps.base import Work
from guarded_rollout.rollout.steps.quarantine import DOUBTED
from guarded_rollout.rollout.steps.shift import candidate_is_alive

POLL_SECONDS = 0.5


class GateGuard:
    """`Shift` asks it while it holds a share. Raises `GateBreachedError` where the gates say so.

    Where a rollback needs confirmation, the share is held until somebody answers, the gates recover, or the
    rollback's own timeout has passed; then the rollout is taken back.
    """

    def __init__(
        self,
        settings: AutoRollbackSettings,
        open_session: Callable[[Work], GateSession],
        ask: Callable[[str], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._open_session = open_session
        self._ask = ask
        self._session: GateSession | None = None
        self._beater: Beater | None = None
        self._declined = False

    def __call__(self, work: Work) -> None:
        candidate_is_alive(work)
        if self._session is None:
            self._session = _started(self._open_session(work))
            self._beater = Beater(work.site.environment, self._session)
        breach = self._poll(self._session, work, 0.0)
        if breach is None or self._declined:
            return
        words = f"Quality gate failed: {breach.verdict.gate}: {breach.verdict.reason}"
        if not self._settings.enabled:
            work.say(f"{words} (auto-rollback is disabled in {work.site.environment.name})")
            self._declined = True
        elif not self._settings.confirmation_required or self._confirmed(self._session, work, words):
            reason = f"{breach.verdict.gate}: {breach.verdict.reason}"
            self._session.say("critical", f"TRIGGERING AUTO-ROLLBACK: {reason}", reason=reason)
            self._session.complete(ROLLED_BACK)
            if self._session.panel.quarantines():
                work.note(DOUBTED, release=work.incoming.id)
            raise GateBreachedError(gate=breach.verdict.gate, reason=breach.verdict.reason)

    def _confirmed(self, session: GateSession, work: Work, words: str) -> bool:
        if self._ask is not None:
            self._declined = not self._ask(words)
            return not self._declined
        work.say(f"{words}; the share is held: Ctrl-C takes the rollout back")
        deadline = work.site.clock.monotonic() + self._settings.rollback_timeout_minutes * 60
        while work.site.clock.monotonic() < deadline:
            self._poll(session, work, POLL_SECONDS)
            if not session.panel.wants_rollback():
                work.say("the gates have recovered; the shift goes on")
                return False
        return True

    def _poll(self, session: GateSession, work: Work, seconds: float) -> Change | None:
        """Poll what is due and judge what came back. Returns the breach that asks for a rollback, if any."""
        observations, _ = session.poll(seconds)
        changes = [change for seen in observations for change in session.record(seen)]
        for change in changes:
            if change.news in (News.FAILED, News.RECOVERED, News.SILENT):
                work.note("gate", gate=change.verdict.gate, news=change.news, reason=change.verdict.reason)
        assert self._beater is not None
        self._beater.beat(session.now())
        return next((one for one in changes if Action.AUTO_ROLLBACK in one.actions), None)


def guard_of(environment: Environment, publisher: Publisher) -> GateGuard:
    """Return the guard of an environment, which asks on a terminal. Raises `GatesFileError`."""
    file = gates.load(environment.gates)
    ask = _ask if sys.stdin.isatty() and sys.stdout.isatty() else None
    config = file.environment(environment.name)
    return GateGuard(config.auto_rollback, lambda work: session_of(work, file, publisher), ask)


def session_of(work: Work, file: GatesFile, publisher: Publisher) -> GateSession:
    """Open the session of a rollout whose traffic is being shifted, or take it over after a crash."""
    environment, clock = work.site.environment, work.site.clock
    config, settings = file.environment(environment.name), file.global_settings
    rollout, outgoing = str(work.rollout), work.outgoing.id if work.outgoing else ""
    shifted = OpenWindow(rollout, work.incoming.id, outgoing, 0.0, 0.0, 0.0)
    return GateSession(
        SessionTarget(environment.name, rollout, work.incoming.id),
        config,
        all_samplers(environment, shifted, config, settings),
        session_log(environment, rollout, clock),
        timeout=settings.timeout_seconds,
        clock=clock,
        publisher=publisher,
        opened_at=math.inf,
    )


def _started(session: GateSession) -> GateSession:
    target = session.target
    gates = ", ".join(session.gates)
    words = f"Watching {target.release} in {target.environment} while its traffic is shifted: {gates}"
    session.say(
        "info",
        words,
        rollout=target.rollout,
        release=target.release,
        gates=session.gates,
        began_at=session.began_at,
        shifting=True,
    )
    return session


def _ask(reason: str) -> bool:
    return input(f"{reason}\nTake the rollout back? Type yes or no: ").strip().lower() in ("y", "yes")
