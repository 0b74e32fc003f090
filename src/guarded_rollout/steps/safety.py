"""Keep a copy of the state that a rollback leaves, before anything in it is changed."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.errors import RolloutError
from guarded_rollout.steps.backup import shown, take_backup
from guarded_rollout.steps.base import Data, Evidence, ForwardStep, Work


class Safety(ForwardStep):
    name: ClassVar[str] = "safety"

    def describe(self, work: Work) -> Iterator[str]:
        if work.stable is not None:
            yield f"keep a safety copy of {work.site.environment.name} as {work.stable.id} leaves it"

    def do(self, work: Work) -> Evidence:
        """A store that cannot be copied is kept aside as it is by the step that replaces it."""
        if work.stable is None:
            return {"safety_copy": None}
        try:
            taken = take_backup(work.site, release=work.stable, safety=True)
        except RolloutError as error:
            if work.options.data is Data.EXACT:
                raise
            work.say(f"no safety copy: {error.sentence}")
            return {"safety_copy": None, "error": str(error)}
        work.say(f"safety copy: {shown(taken.entry.path, work.site)}")
        return {"safety_copy": str(taken.entry.path), "sha256": taken.sha256}
