"""Keep a copy of the state that a rollback leaves, before its data is changed."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.errors import RolloutError
from guarded_rollout.host.stores import store_of
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work


class SafetyBackup(RolloutStep):
    name: ClassVar[str] = "safety"

    def describe(self, work: Work) -> Iterator[str]:
        release = work.outgoing or work.incoming
        if store_of(work.site) is None:
            return
        yield f"keep a safety copy of {work.site.environment.name} as {release.id} leaves it"

    def do(self, work: Work) -> Evidence:
        return keep_copy(work)


def keep_copy(work: Work) -> Evidence:
    """Take a safety copy. A store that cannot be copied is kept aside by the step that replaces it."""
    store = store_of(work.site)
    if store is None:
        return {"safety_copy": None, "error": "the service keeps no data"}
    if store.file is not None and not store.file.path.exists():
        return {"safety_copy": None, "error": f"there is no {store.file.path}"}
    try:
        taken = take_backup(work.site, release=work.outgoing or work.incoming, safety=True)
    except RolloutError as error:
        work.say(f"no safety copy: {error.sentence}")
        return {"safety_copy": None, "error": str(error)}
    work.say(f"safety copy: {work.site.environment.shown(taken.entry.path)}")
    return {"safety_copy": str(taken.entry.path), "sha256": taken.sha256}
