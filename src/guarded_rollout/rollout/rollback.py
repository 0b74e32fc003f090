"""Plans a rollback: to the release before, to any release, or to a backup. Traffic first.

A rollback is a rollout of its own, with other steps and one difference: it is never taken back. When a step
fails, running the rollback again resumes there.
"""

from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.backup.manifest import Manifest
from guarded_rollout.errors import (
    NoPreviousError,
    OtherEnvironmentError,
    ReleaseDamagedError,
    UnknownReleaseError,
)
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot, other
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.record import records, returnable
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.steps.base import Options
from guarded_rollout.rollout.steps.restore_plan import exchanged_first, left_aside, require_possible


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The way of a rollback: to `release` in `slot`, away from `outgoing`, by these steps."""

    release: Release
    slot: Slot
    outgoing: Release | None
    steps: tuple[str, ...]
    closes: Rollout | None  # the open rollout that this ends


def rollback_steps(
    *,
    warm: bool,
    exchanged: bool,
    outgoing: bool,
    validated: bool,
    backup: bool,
    configuration: bool = False,
    reunites: bool = False,
    same_schema: bool = False,
) -> tuple[str, ...]:
    """Return the steps of a rollback, in order. Pure.

    With the release warm, traffic comes first of all; a cold one is started first, and what serves is copied
    afterwards unless a backup changes it. Where the store's own file is exchanged nobody may have it open, so
    everything stops before and starts after, but for the outgoing release, which gives up its slot.
    `configuration`: the backup's is wanted too. `reunites`: a store that an earlier rollback set aside is to
    be merged. `same_schema`: both releases need the same one, so the incoming one works with the store as it
    is, and migrations are looked at when it has the traffic.
    """
    if exchanged:
        order = "safety halt configuration data schema stage verify shift retire quarantine validate"
    elif warm:
        order = "shift safety retire configuration data schema stage quarantine validate"
    elif backup:
        order = "safety configuration schema stage verify shift retire data quarantine validate"
    else:
        moved = "stage verify shift safety schema" if same_schema else "schema stage verify shift safety"
        order = f"{moved} retire data quarantine validate"
    left_out = set() if validated else {"verify", "validate"}
    if not outgoing:
        left_out |= {"retire", "quarantine"}
    if not backup:
        left_out |= {"configuration", "data", "schema", "stage"} if warm else {"configuration", "data"}
        left_out -= {"data"} if reunites else set()
    if not configuration:
        left_out |= {"configuration"}
    return tuple(step for step in order.split() if step not in left_out)


def plan_rollback(
    site: Site, journal: Journal, release: Release, options: Options, *, validated: bool
) -> RollbackPlan:
    """Decide from what runs how to get back to this release. Changes nothing.

    Raises `ExactUnsupportedError`, `MergeUnsupportedError`, `NoDataError`.
    """
    require_possible(site, release, options)
    rollout = journal.open_rollout(site.environment.name)
    serving = site.slots.release(site.traffic.serving())  # one that cannot be read is left all the same
    slot = site.slots.find(release.id)
    tried = rollout.target if rollout is not None and rollout.target != release.id else None
    candidate = _standing(site, tried) if tried is not None else None
    if rollout is not None and rollout.source == rollout.target == release.id:
        slot = _slot_before_restart(rollout)
        outgoing = site.slots.release(other(slot))
    elif candidate is not None:
        outgoing = candidate
    elif serving is not None and serving.id == release.id:
        # An earlier rollback may have failed after it had moved the traffic: what it left still runs.
        slot = site.traffic.serving()
        outgoing = site.slots.release(other(slot))
    else:
        outgoing = serving
    if slot is None:  # it stands nowhere: what serves goes on until this one has been verified
        slot = other(site.traffic.serving()) if outgoing else site.traffic.serving()
    warm = site.slots.release(slot) == release and site.answers(slot)
    steps = rollback_steps(
        warm=warm,
        exchanged=exchanged_first(site, release, options.data, warm=warm),
        outgoing=outgoing is not None or site.slots.taken(other(slot)),
        validated=validated,
        backup=options.backup is not None,
        configuration=options.configuration,
        reunites=bool(left_aside(site, journal, release)),
        same_schema=outgoing is not None and release.schema is not None and release.schema == outgoing.schema,
    )
    return RollbackPlan(release, slot, outgoing, steps, rollout)


def _slot_before_restart(rollout: Rollout) -> Slot:
    """Return the slot of a release before its restart: it stands in both now, so its id tells nothing."""
    return rollout.slot if rollout.is_rollback else other(rollout.slot)


def _standing(site: Site, release: str) -> Release | None:
    """Return a release that stands in a slot."""
    slot = site.slots.find(release)
    return site.slots.release(slot) if slot else None


def previous(site: Site, journal: Journal) -> Release:
    """Return the last good release before the one that serves. Raises `NoPreviousError`."""
    rollouts = journal.deployments(site.environment.name)
    release = next(returnable(rollouts), None)
    if release is None:
        bad = "".join(
            f" {one.id} was left as bad ({one.why})." for one in records(rollouts).values() if one.bad
        )
        raise NoPreviousError(environment=site.environment.name, bad=bad)
    return site.release(release)


def release_of(site: Site, unpacked: Path, manifest: Manifest) -> Release:
    """Return the release of an unpacked backup: from its folder if intact, else rebuilt from the archive."""
    try:
        found = site.release(manifest.release)
        found.require_intact()
        hashes = (manifest.files[manifest.wheel].sha256, manifest.files[manifest.requirements].sha256)
        if (found.artifact_sha256, found.lock_sha256) == hashes:
            return found
    except (UnknownReleaseError, ReleaseDamagedError):
        pass
    return site.rebuild(unpacked / Path(manifest.release_json).parent)


def require_environment(manifest: Manifest, backup: Path, environment: str, *, allow_other: bool) -> None:
    """Raise `OtherEnvironmentError` for another environment's backup, unless that is meant."""
    if manifest.environment != environment and not allow_other:
        raise OtherEnvironmentError(path=backup, found=manifest.environment, environment=environment)
