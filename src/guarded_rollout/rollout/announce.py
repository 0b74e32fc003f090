"""Rollout events: the notifications that follow from the journal, each sent once.

An event's id follows from the rollout and from what happened, so publishing it again after a crash changes
nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import structlog

from guarded_rollout.errors import RolloutError
from guarded_rollout.journal.model import OVERRIDDEN, Rollout, RolloutOutcome, StepOutcome, StepRun
from guarded_rollout.journal.store import Journal
from guarded_rollout.logs import ModuleLog
from guarded_rollout.notify.events import LEVELS, Event, Facts, Kind, Level
from guarded_rollout.notify.publisher import NullPublisher, Publisher
from guarded_rollout.rollout.engine import MONITOR
from guarded_rollout.rollout.steps.quarantine import QUARANTINED, Quarantine
from guarded_rollout.rollout.window import WATCH, accepted

log = ModuleLog()

FRESH = timedelta(hours=6)
"""Older events are history, not news."""

ROLLBACK = "rollback"


class PublishingJournal(Journal):
    """A journal that publishes the events that follow from what is written into it."""

    publisher: Publisher = NullPublisher()

    def begin(self, environment: str, command: str, **about: Any) -> UUID:
        rollout = super().begin(environment, command, **about)
        structlog.contextvars.bind_contextvars(rollout=str(rollout))  # in every log line from here on
        for changed in filter(None, (about.get("closes"), rollout)):
            self._publish(changed)
        return rollout

    def intend(self, rollout: UUID, step: str, **plan: object) -> None:
        structlog.contextvars.bind_contextvars(rollout=str(rollout))
        super().intend(rollout, step, **plan)
        if step == WATCH:
            self._publish(rollout)

    def settle(self, rollout: UUID, step: str, outcome: StepOutcome, **evidence: object) -> None:
        super().settle(rollout, step, outcome, **evidence)
        if step == WATCH:
            self._publish(rollout)

    def note(self, rollout: UUID, name: str, **data: object) -> None:
        super().note(rollout, name, **data)
        if name == OVERRIDDEN:
            self._publish(rollout)

    def end(self, rollout: UUID, outcome: RolloutOutcome, reason: str = "") -> None:
        super().end(rollout, outcome, reason)
        self._publish(rollout)

    def catch_up(self, environment: str) -> None:
        """Publish the newest rollout's events that a killed process had journalled and not published.

        The monitor's own rollbacks are left out: the monitor publishes its own events for them.
        """
        newest = next(iter(self.history(environment, limit=1)), None)
        if newest is not None and newest.operator != MONITOR:
            self._publish(newest.id)

    def _publish(self, rollout: UUID) -> None:
        """Publish a rollout's events. Never raises: a notification must not end a rollout."""
        try:
            publish(self.rollout(rollout), self.publisher, datetime.now(UTC))
        except RolloutError as error:
            log.error(error.sentence)


def publish(rollout: Rollout, publisher: Publisher, now: datetime) -> None:
    """Publish the recent events of a rollout."""
    for event in events_of(rollout):
        if now - event.at < FRESH:
            publisher.publish(event)


def events_of(rollout: Rollout) -> list[Event]:
    """Return the events of a rollout so far, in order. Pure."""
    if rollout.target is None:  # a backup, a migration by itself
        return []
    is_rollback = rollout.command == ROLLBACK
    events = [_begun(rollout, is_rollback)]
    if overridden := rollout.note(OVERRIDDEN):
        problems = overridden.data["problems"]
        failed = "; ".join(problems) if isinstance(problems, list) else str(problems)
        reason = f"{overridden.data['reason']} (failed: {failed})"
        events.append(_event(rollout, Kind.OVERRIDDEN, overridden.at, reason=reason))
    watched = rollout.last(WATCH)
    if watched is not None and not is_rollback:
        events.append(_watched(rollout, watched))
    taken_over = (
        is_rollback and rollout.outcome is RolloutOutcome.ROLLED_BACK
    )  # by another, with its own events
    good = accepted(rollout) or rollout.outcome is RolloutOutcome.COMPLETED
    if watched is not None and not is_rollback and good and (at := watched.ended_at or rollout.ended_at):
        events.append(_accepted(rollout, at))
    elif rollout.outcome is not None and rollout.ended_at is not None and not taken_over:
        events.append(_ended(rollout, rollout.outcome, rollout.ended_at, is_rollback))
    return events


def _begun(rollout: Rollout, is_rollback: bool) -> Event:
    kind = Kind.ROLLBACK_STARTED if is_rollback else Kind.DEPLOYMENT_STARTED
    serving = f"{rollout.source} serves until it is verified" if rollout.source else "nothing serves yet"
    return _event(rollout, kind, rollout.started_at, reason=rollout.why, done=serving)


def _watched(rollout: Rollout, step: StepRun) -> Event:
    at = step.started_at
    until = at + timedelta(seconds=float(str(step.plan.get("seconds", 0))))
    return _event(
        rollout,
        Kind.SERVING,
        at,
        f"It serves {_share(rollout)} of the traffic, and is watched until "
        f"{until.astimezone(UTC):%H:%M} UTC.",
        done=f"{rollout.source} is kept warm until the window closes",
        next_command=f"rollout monitor --env {rollout.environment}",
        **_evidence(rollout, at),
    )


def _share(rollout: Rollout) -> str:
    """The candidate's share of the traffic as it was given last."""
    shares = [note.data.get("percent") for note in rollout.notes if note.name == "share"]
    return "all" if not shares or shares[-1] == 100 else f"{shares[-1]} %"


def _doubted(rollout: Rollout) -> str:
    """What became of the rows that a release wrote which is not trusted, to add to a sentence; or nothing."""
    note = rollout.note(QUARANTINED)
    step = rollout.last(Quarantine.name)
    found = note.data if note is not None else (step.evidence if step is not None else None) or {}
    if not found.get("quarantined"):
        return ""
    again, left = int(str(found.get("again", 0))), int(str(found.get("left", 0)))
    words = f"; of what {found['quarantined']} wrote {again + left} rows were taken out of use"
    return f"{words}, and {again} of them made again"


def _accepted(rollout: Rollout, at: datetime) -> Event:
    """Its window was closed for good, whatever the release before is still answering."""
    return _event(
        rollout,
        Kind.DEPLOYMENT_SUCCEEDED,
        at,
        "It was accepted: its window is over.",
        done=f"{rollout.target} serves{_doubted(rollout)}",
        **_evidence(rollout, at),
    )


def _ended(rollout: Rollout, outcome: RolloutOutcome, at: datetime, is_rollback: bool) -> Event:
    evidence = _evidence(rollout, at)
    if outcome is RolloutOutcome.COMPLETED:
        kind = Kind.ROLLBACK_SUCCEEDED if is_rollback else Kind.DEPLOYMENT_SUCCEEDED
        return _event(rollout, kind, at, done=f"{rollout.target} serves{_doubted(rollout)}", **evidence)
    if is_rollback:
        command = f"rollout rollback --to {rollout.target} --env {rollout.environment} --force"
        return _event(
            rollout, Kind.ROLLBACK_FAILED, at, error=rollout.reason, manual_command=command, **evidence
        )
    taken_back = outcome is RolloutOutcome.ROLLED_BACK
    done = "nothing of it serves"
    if taken_back and rollout.source:
        source = rollout.source
        done = (
            f"{source} serves again{_doubted(rollout)}"
            if rollout.undoing
            else f"a rollback to {source} was begun"
        )
    return _event(
        rollout,
        Kind.DEPLOYMENT_FAILED,
        at,
        reason=rollout.reason,
        done=done,
        level=Level.ERROR if taken_back else Level.CRITICAL,
        **evidence,
    )


def _evidence(rollout: Rollout, at: datetime) -> dict[str, Any]:
    """Return the steps' findings as facts."""
    facts: dict[str, Any] = {"duration_seconds": (at - rollout.started_at).total_seconds()}
    for step in rollout.steps:
        found = step.evidence or {}
        if step.outcome is StepOutcome.DONE and "backup" in found:
            facts["backup_file"] = str(found["backup"])
        health, checks = found.get("health"), found.get("checks")
        if isinstance(health, dict):
            facts["health"] = f"{health.get('healthy_checks')} healthy checks in a row"
        if isinstance(checks, dict) and (passed := checks.get("passed")):
            facts["smoke"] = f"passed: {', '.join(passed)}"
    return facts


def _event(
    rollout: Rollout, kind: Kind, at: datetime, words: str = "", *, level: Level | None = None, **facts: Any
) -> Event:
    known = Facts(operator=rollout.operator, deployment=str(rollout.id), release=str(rollout.target))
    known.update({name: value for name, value in facts.items() if value})  # type: ignore[typeddict-item]
    return Event(
        kind=kind,
        environment=rollout.environment,
        at=at,
        level=level or LEVELS.get(kind, Level.INFO),
        message=words,
        facts=known,
        id=uuid5(rollout.id, f"{kind}:{words}").hex,
    )
