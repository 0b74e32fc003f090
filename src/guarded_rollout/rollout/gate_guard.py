"""The gates while traffic is shifted: asked at each share, they can take the rollout back."""

import sys
from collections.abc import Callable

from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import GatesFile
from guarded_rollout.config.kinds import Action
from guarded_rollout.errors import GateBreachedError
from guarded_rollout.gates.panel import Change, News
from guarded_rollout.monitor.poller import Poller
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.schedule import Timeline
from guarded_rollout.monitor.start import watcher_of
from guarded_rollout.monitor.targets import samplers_of
from guarded_rollout.monitor.tasks import Executor, ThreadExecutor
from guarded_rollout.rollout.steps.base import Work
from guarded_rollout.rollout.steps.shift import candidate_is_alive

LOOK_SECONDS = 0.5


def guard_of(environment: Environment) -> "GateGuard":
    """The guard of an environment, which asks on a terminal. Raises `GatesFileError`."""
    ask = _ask if sys.stdin.isatty() and sys.stdout.isatty() else None
    return GateGuard(gates.load(environment.gates), ask=ask)


class GateGuard:
    """What `Shift` asks while it holds a share. Raises `GateBreachedError` where the gates say so.

    Where a rollback needs confirmation, the share is held until somebody answers, the gates recover, or the
    rollback's own timeout has passed; then the rollout is taken back.
    """

    def __init__(
        self, file: GatesFile, *, executor: Executor | None = None, ask: Callable[[str], bool] | None = None
    ) -> None:
        self._file = file
        self._executor = executor or ThreadExecutor()
        self._ask = ask
        self._watcher: Poller | None = None
        self._timeline: Timeline | None = None
        self._declined = False

    def __call__(self, work: Work) -> None:
        candidate_is_alive(work)
        breach = self._look(work, 0.0)
        settings = self._file.environment(work.site.environment.name).auto_rollback
        if breach is None or self._declined:
            return
        words = f"Quality gate failed: {breach.verdict.gate}: {breach.verdict.reason}"
        if not settings.enabled:
            work.say(f"{words} (auto-rollback is disabled in {work.site.environment.name})")
            self._declined = True
        elif not settings.confirmation_required or self._confirmed(work, words):
            raise GateBreachedError(gate=breach.verdict.gate, reason=breach.verdict.reason)

    def _confirmed(self, work: Work, words: str) -> bool:
        if self._ask is not None:
            self._declined = not self._ask(words)
            return not self._declined
        settings = self._file.environment(work.site.environment.name).auto_rollback
        work.say(f"{words}; the share is held: Ctrl-C takes the rollout back")
        deadline = work.site.clock.monotonic() + settings.rollback_timeout_minutes * 60
        while work.site.clock.monotonic() < deadline:
            self._look(work, LOOK_SECONDS)
            if self._watcher is not None and not self._watcher.panel.wants_rollback():
                work.say("the gates have recovered; going on")
                return False
        return True

    def _look(self, work: Work, seconds: float) -> Change | None:
        """Poll what is due and judge what came back. The breach that asks for a rollback, if there is one."""
        watcher, timeline = self._watching(work)
        seen = watcher.start_due(timeline.now())
        for done in self._executor.wait(seconds):
            found = watcher.take(done, timeline.now())
            seen += [found] if found else []
        changes = [change for one in seen for change in one.changes]
        for change in changes:
            if change.news in (News.FAILED, News.RECOVERED, News.SILENT):
                work.note("gate", gate=change.verdict.gate, news=change.news, reason=change.verdict.reason)
        return next((one for one in changes if Action.AUTO_ROLLBACK in one.actions), None)

    def _watching(self, work: Work) -> tuple[Poller, Timeline]:
        if self._watcher is None or self._timeline is None:
            environment = work.site.environment
            config = self._file.environment(environment.name)
            settings = self._file.global_settings
            stable = work.outgoing.id if work.outgoing else ""
            shifted = OpenWindow(str(work.rollout), work.incoming.id, stable, 0.0, 0.0, 0.0)
            samplers = samplers_of(environment, shifted, config, settings)
            self._timeline = Timeline(work.site.clock)
            now = self._timeline.now()
            self._watcher, _, _ = watcher_of(
                config, samplers, settings.timeout_seconds, self._executor, now, now
            )
        return self._watcher, self._timeline


def _ask(reason: str) -> bool:
    return input(f"{reason}\nTake the rollout back? Type yes or no: ").strip().lower() in ("y", "yes")
