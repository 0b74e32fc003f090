"""Details of a snapshot below the headline: traffic shares, schema, channel problems. Pure."""

from dataclasses import dataclass

from guarded_rollout.journal.model import Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.notify.outbox import DeliveryLog, DeliveryResult
from guarded_rollout.status.rows import plain
from guarded_rollout.status.snapshot import Snapshot


def shares(rollout: Rollout) -> tuple[tuple[float, int], ...]:
    """Return the candidate's traffic share over time from the journal, as (unix time, percent)."""
    back = rollout.is_rollback
    moves: list[tuple[float, int]] = [(rollout.started_at.timestamp(), 100 if back else 0)]
    for note in rollout.notes:
        if note.name == "share" and "percent" in note.data:
            percent = int(str(note.data["percent"]))
            moves.append((note.at.timestamp(), 100 - percent if back else percent))
    moves += [
        (step.ended_at.timestamp(), 0)
        for step in rollout.steps
        if step.name == "shift" and step.outcome is StepOutcome.UNDONE and step.ended_at
    ]
    return tuple(sorted(moves))


def share(seen: Snapshot) -> int | None:
    """The candidate's traffic share now, in percent; None if it has none to have."""
    return next((one.percent for one in seen.slots if one.release and one.release == seen.candidate), None)


def serving_since(seen: Snapshot) -> float | None:
    """The time that the release that serves was accepted, or returned to; None where the journal has none."""
    done = (one for one in seen.history if one.outcome is RolloutOutcome.COMPLETED and one.ended_at)
    return next(
        (one.ended_at.timestamp() for one in done if one.ended_at and one.target == seen.serving), None
    )


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema's revision by the journal, the revisions that releases need, and those that were applied."""

    revision: str | None
    at: float | None
    needs: tuple[tuple[str, str, str], ...]  # (release, its role, the revision it needs)
    applied: tuple[tuple[float, str, str], ...]  # (unix time, revisions, by which command)

    @property
    def pending(self) -> tuple[str, ...]:
        """The candidate's revision, unless the journal records it."""
        return tuple(
            f"{release} needs {needed}"
            for release, role, needed in self.needs
            if role == "candidate" and self.revision is not None and needed != self.revision
        )


def schema(seen: Snapshot) -> Schema:
    """Read the schema's state from a snapshot."""
    known = seen.schema
    roles = {seen.stable: "stable", seen.candidate: "candidate"}
    built = ((seen.release(identity), role) for identity, role in roles.items() if identity)
    needs = tuple((one.id, role, one.schema) for one, role in built if one is not None and one.schema)
    applied = tuple(
        (step.ended_at.timestamp(), plain(moved), rollout.command)
        for rollout in seen.history
        for step in rollout.steps
        if step.name in ("migrate", "finish") and step.ended_at
        if (moved := (step.evidence or {}).get("applied") or (step.evidence or {}).get("contracted"))
    )
    return Schema(known[0] if known else None, known[1] if known else None, needs, applied)


def channel_problems(log: DeliveryLog) -> dict[str, str]:
    """Return the problem of each channel whose newest delivery failed."""
    newest: dict[str, DeliveryResult] = {}
    for logged in log.events:
        for channel, result in logged.results.items():
            newest.setdefault(channel, result)
    return {
        channel: one.problem for channel, one in newest.items() if one.problem and one.state != "delivered"
    }
