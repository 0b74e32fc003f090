"""The releases of an environment: where each stands, the way back to it, and which are kept."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import ReleaseDamagedError, RolloutError
from guarded_rollout.host.release import Release, releases, size
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import Rollout, RolloutOutcome, StepOutcome
from guarded_rollout.journal.record import ReleaseRecord, records, returnable
from guarded_rollout.journal.store import Journal

COLD_START = ("safety", "stage", "verify")
"""The steps of a rollback before a release that does not run has the traffic."""


@dataclass(frozen=True, slots=True)
class ReleaseStanding:
    """One release in an environment. `percent` of the traffic; None if it stands in no slot; `runs` now.

    `seconds` is how long a return to it takes, as such returns took before: 0 if it runs, None if nobody
    knows. `problem` says why it cannot be returned to; empty if it can. `own_bytes` is what removing frees.
    """

    id: str
    built_at: datetime | None
    percent: int | None
    runs: bool
    is_previous: bool
    record: ReleaseRecord
    seconds: float | None
    problem: str
    size_bytes: int
    own_bytes: int


def standings(site: Site, journal: Journal) -> Iterator[ReleaseStanding]:
    """Yield every release that is there, the newest first, and then the bad ones that are not any more."""
    rollouts = journal.deployments(site.environment.name)
    known, previous = records(rollouts), next(returnable(rollouts), None)
    built = releases(site.environment.releases)
    for release in reversed(built):
        slot = site.slots.find(release.id)
        running = slot is not None and site.answers(slot)
        whole, own = size(release)
        yield ReleaseStanding(
            id=release.id,
            built_at=release.built_at,
            percent=site.traffic.share()[slot] if slot else None,
            runs=running,
            is_previous=release.id == previous,
            record=known.get(release.id, ReleaseRecord(release.id)),
            seconds=0.0 if running else seconds_to_start(rollouts, release.id),
            problem=_problem(release),
            size_bytes=whole,
            own_bytes=own,
        )
    there = {release.id for release in built}
    for record in known.values():
        if record.bad and record.id not in there:
            yield ReleaseStanding(record.id, None, None, False, False, record, None, "it was removed", 0, 0)


def _problem(release: Release) -> str:
    try:
        release.require_intact()
    except ReleaseDamagedError as error:
        return str(error.data["problem"])
    return ""


def seconds_to_start(rollouts: Sequence[Rollout], release: str) -> float | None:
    """Return how long its start and checks took the last time, or else another's; None if none did."""
    for own in (True, False):
        for rollout in rollouts:
            runs = [step for name in COLD_START if (step := rollout.last(name))]
            took = {
                step.name: (step.ended_at - step.started_at).total_seconds()
                for step in runs
                if step.ended_at and step.outcome is StepOutcome.DONE
            }
            if {"stage", "verify"} <= took.keys() and (rollout.target == release or not own):
                return sum(took.values())
    return None


def surplus(environment: Environment, journal: Journal) -> list[Release]:
    """The releases that no environment needs: see `needed`. The newest built ones stay as well.

    Where another environment's journal cannot be read, nobody knows what that one would return to, so
    nothing is surplus.
    """
    built = releases(environment.releases)
    kept = {release.id for release in built[-environment.keep_releases :]}
    roots = (environment.root, *environment.other_roots)
    links = (link for root in roots for link in root.glob("slots/*") if link.is_symlink())
    kept |= {Path(os.readlink(link)).name for link in links}
    kept |= needed(journal.deployments(environment.name), environment.keep_releases)
    try:
        for root in environment.other_roots:
            with Journal.look(root / "journal.db") as other:
                kept |= needed(other.deployments(), environment.keep_releases)
    except RolloutError:
        return []
    return [release for release in built if release.id not in kept]


def needed(rollouts: Sequence[Rollout], keep: int) -> set[str]:
    """The releases that an environment needs: in its open rollout, to return to, and the last good ones."""
    kept = {one for rollout in rollouts if rollout.open for one in (rollout.source, rollout.target) if one}
    serving = (one.target for one in rollouts if one.outcome is RolloutOutcome.COMPLETED and one.target)
    kept |= set(islice(serving, 1))
    return kept | set(islice(returnable(rollouts), max(1, keep - 1)))
