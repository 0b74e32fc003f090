"""The record of each release: whether it was accepted, or left as bad and why. Pure, a fold over rollouts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from guarded_rollout.journal.model import INTERRUPTED, SUPERSEDED, Rollout, RolloutOutcome


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """What the journal says of one release in one environment. `why` it was left as bad, the last time."""

    id: str
    accepted_at: datetime | None = None  # the last time
    left_at: datetime | None = None
    why: str = ""

    @property
    def good(self) -> bool:
        """True if it was accepted, and not left as bad since."""
        return self.accepted_at is not None and not self.bad

    @property
    def bad(self) -> bool:
        """True if it was left as bad, and not accepted since."""
        return self.left_at is not None and (self.accepted_at is None or self.left_at >= self.accepted_at)


def records(rollouts: Sequence[Rollout]) -> dict[str, ReleaseRecord]:
    """Return the record of every release that was rolled out; `rollouts` of one environment, newest first."""
    found: dict[str, ReleaseRecord] = {}

    def known(release: str) -> ReleaseRecord:
        return found.setdefault(release, ReleaseRecord(release))

    for rollout in reversed(rollouts):
        if rollout.target is None:
            continue
        at = rollout.ended_at or rollout.started_at
        if rollout.source and not rollout.is_rollback and not known(rollout.source).accepted_at:
            # it served before the journal tells how it came
            found[rollout.source] = replace(known(rollout.source), accepted_at=rollout.started_at)
        if rollout.outcome is RolloutOutcome.COMPLETED:
            found[rollout.target] = replace(known(rollout.target), accepted_at=at)
        if left := _left(rollout):
            found[left] = replace(known(left), left_at=at, why=_why(rollout))
    return found


def _why(rollout: Rollout) -> str:
    """Return what was said against the release that was left."""
    return (rollout.why or f"rolled back to {rollout.target}") if rollout.is_rollback else rollout.reason


def _left(rollout: Rollout) -> str | None:
    """Return the release that this rollout left as bad: not one that never ran, or only gave way."""
    if rollout.source == rollout.target:
        return None  # a restart, or a backup's data under the same release
    if rollout.is_rollback:
        return rollout.source
    if rollout.outcome in (None, RolloutOutcome.COMPLETED) or rollout.last("stage") is None:
        return None
    return None if rollout.reason.startswith((SUPERSEDED, INTERRUPTED)) else rollout.target


def returnable(rollouts: Sequence[Rollout]) -> Iterator[str]:
    """Yield the releases that `previous` goes to, the best first; `rollouts` as for `records`.

    A rollback that has not ended is resumed, and an open rollout is left for the release it replaces. Else it
    is the one accepted last before what serves, of those that are good.
    """
    wanted = [rollout for rollout in rollouts if rollout.target]
    if not wanted:
        return
    newest, known = wanted[0], records(wanted)
    done = [rollout for rollout in wanted if rollout.outcome is RolloutOutcome.COMPLETED]
    seen: set[str | None] = {None, done[0].target if done else None}
    if newest.is_rollback and newest.outcome in (None, RolloutOutcome.FAILED):
        seen = {None, newest.source}
        first = [newest.target]
    elif newest.open:
        seen = {None} if newest.source == newest.target else {None, newest.target}
        first = [newest.source]
    else:
        first = []
    accepted = [one for rollout in done for one in (rollout.target, rollout.source)]
    for release in [*first, *accepted]:
        if release not in seen and (release in first or known[str(release)].good):
            seen.add(release)
            yield str(release)
