"""Take what a bad release wrote out of search; nothing is deleted."""

from collections.abc import Iterator
from typing import ClassVar

from guarded_rollout.steps.base import Evidence, ForwardStep, Work


class Quarantine(ForwardStep):
    name: ClassVar[str] = "quarantine"

    def describe(self, work: Work) -> Iterator[str]:
        if work.options.quarantine and work.stable is not None:
            yield f"take the fingerprints that {work.stable.id} computed out of search, and compute them anew"

    def do(self, work: Work) -> Evidence:
        if not work.options.quarantine or work.stable is None or work.stable.id == work.release.id:
            return {"quarantined": None}
        reason = work.journal.rollout(work.rollout).why or "rolled back"
        answer = work.site.require(
            work.release, "store_quarantine", "--release", work.stable.id, "--reason", reason
        ).json()
        work.say(f"quarantined what {work.stable.id} wrote: {answer}")
        return {"quarantined": work.stable.id, **answer}
