"""The monitor's way to the engine, on the journal of one environment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.verify import verify
from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Environment
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import Rollout, RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire, owner
from guarded_rollout.monitor.ports import Ended, OpenRollout, OpenWindow
from guarded_rollout.notify.publisher import NullPublisher, Publisher
from guarded_rollout.rollout.announce import PublishingJournal
from guarded_rollout.rollout.draining import Drain
from guarded_rollout.rollout.engine import MONITOR, Engine, Request
from guarded_rollout.rollout.rollback import previous
from guarded_rollout.rollout.steps.base import Options
from guarded_rollout.rollout.window import accepted, window

COMMAND = "rollout monitor"


class EngineRollouts:
    """Implements `Rollouts`. Each call runs in a thread of its own, with its own journal and site."""

    def __init__(
        self,
        environment: Environment,
        clock: Clock,
        say: Callable[[str], None],
        publisher: Publisher | None = None,
    ) -> None:
        self._environment = environment
        self._clock = clock
        self._say = say
        self._publisher = publisher or NullPublisher()
        self._journal = Journal.open(environment.journal, clock=clock, create=False)
        self._drain = Drain(Site(environment, clock), self._journal)
        self._stable, self._rollout = "", ""

    @property
    def manual_command(self) -> str:
        name = self._environment.name
        if self._stable:
            return f"rollout rollback --to {self._stable} --env {name} --force"
        backup = latest(self._environment.backups, name, self._environment.service.name)
        file = self._environment.shown(backup.path) if backup else "FILE"
        front = f"scripts/rollback_{self._environment.service.name}.sh"  # the guide's name, where it stands
        command = f"./{front}" if (self._environment.project / front).exists() else "rollout rollback"
        return f"{command} --backup {file} --env {name} --force"

    @property
    def returns_to(self) -> str:
        return self._stable

    def open_window(self) -> OpenWindow | None:
        rollout = self._journal.open_rollout(self._environment.name)
        if rollout is None:
            return None
        found = window(rollout)
        back = rollout.is_rollback
        if found is None and not back:
            return None  # it is being rolled out; its own guard watches until the window opens
        if not self._rollout:
            self._rollout = str(rollout.id)
            self._stable = (rollout.target if back else rollout.source) or ""
        now = self._clock.instant()
        return OpenWindow(
            rollout=str(rollout.id),
            candidate=rollout.target or "",
            stable=rollout.source or "",
            opened_at=(found.opened_at(now) if found else rollout.started_at).timestamp(),
            seconds=found.seconds if found else 0.0,
            left=found.left(now) if found else 0.0,
            paused=bool(found and found.paused),
            undoing=back or rollout.undoing,
            at_work=owner(self._environment.lock) is not None,
            accepted=accepted(rollout),
            draining=self._draining(rollout),
        )

    def _draining(self, rollout: Rollout) -> bool:
        found = self._drain.look(rollout)
        return found is not None and found.waits

    def open_rollout(self) -> OpenRollout | None:
        rollout = self._journal.open_rollout(self._environment.name)
        if rollout is None:
            return None
        watched = window(rollout) is not None and not (rollout.is_rollback or rollout.undoing)
        step = rollout.unfinished or next(reversed(rollout.steps), None)
        return OpenRollout(
            rollout=str(rollout.id),
            release=rollout.target or "",
            step=step.name if step else "the start",
            owner=owner(self._environment.lock) is not None,
            watched=watched,
            accepted=accepted(rollout),
            draining=self._draining(rollout),
        )

    def last(self) -> Rollout | None:
        """Return the newest rollout of this environment."""
        return next(iter(self._journal.history(self._environment.name, limit=1)), None)

    def rolling_out(self) -> bool:
        """Return True while somebody is taking a rollout to its window."""
        rollout = self._journal.open_rollout(self._environment.name)
        at_work = owner(self._environment.lock) is not None
        return rollout is not None and at_work and window(rollout) is None and not rollout.is_rollback

    def ended(self, rollout: str) -> Ended | None:
        found = self._journal.rollout(UUID(rollout))
        if found.outcome is None:
            return None
        reason = found.reason or f"{found.command} has {found.outcome}"
        completed = found.outcome is RolloutOutcome.COMPLETED and not found.is_rollback
        return Ended(completed, taken_back(self._journal, found.id), reason)

    def verified_backup(self) -> Path | None:
        """Return this rollout's backup, else this environment's newest, after reading all of it."""
        path = self._backup()
        if path is None:
            return None
        verify(path, allowed_signers=self._environment.allowed_signers)
        return Path(self._environment.shown(path))

    def _backup(self) -> Path | None:
        if self._rollout:
            step = self._journal.rollout(UUID(self._rollout)).last("backup")
            if step is not None and step.evidence and "backup" in step.evidence:
                return Path(str(step.evidence["backup"]))
        entry = latest(self._environment.backups, self._environment.name, self._environment.service.name)
        return entry.path if entry else None

    def roll_back(self, reason: str, quarantine: bool) -> None:
        with self._engine() as engine:
            rollout = engine.journal.open_rollout(self._environment.name)
            if rollout is not None and (rollout.is_rollback or rollout.undoing):
                engine.resume()
                return
            if rollout is None and self._rollout and taken_back(engine.journal, UUID(self._rollout)):
                return  # by somebody else, while this waited for the lock
            options = Options(quarantine=quarantine)
            request = Request(command="rollback", operator=MONITOR, why=reason, options=options)
            engine.roll_back(self._target(engine), request)

    def _target(self, engine: Engine) -> Release:
        return engine.site.release(self._stable) if self._stable else previous(engine.site, engine.journal)

    def finish(self) -> None:
        with self._engine(self._publisher) as engine:
            engine.resume(patience=0)

    def pause(self) -> None:
        with self._engine() as engine:
            engine.pause()

    @contextmanager
    def _engine(self, publisher: Publisher | None = None) -> Iterator[Engine]:
        """The engine, with the lock. Events are published where the monitor has none of its own for them."""
        environment = self._environment
        held = acquire(environment.lock, environment=environment.name, command=COMMAND)
        with held, PublishingJournal.open(environment.journal) as journal:
            journal.publisher = publisher or NullPublisher()
            yield Engine(Site(environment), journal, self._say)

    def close(self) -> None:
        self._journal.close()


def taken_back(journal: Journal, rollout: UUID) -> bool:
    """Return True if a rollout has ended with the release before it."""
    found = journal.rollout(rollout)
    return found.outcome is not None and (found.outcome is RolloutOutcome.ROLLED_BACK or found.is_rollback)
