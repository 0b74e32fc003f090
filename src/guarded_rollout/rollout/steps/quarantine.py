"""Take what an outgoing release wrote out of use, and have it made again of what is kept as submitted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from guarded_rollout.backup.originals import find
from guarded_rollout.errors import NoAnswerError, RolloutError
from guarded_rollout.files import write_atomic
from guarded_rollout.rollout.steps.base import Evidence, RolloutStep, Work

DOUBTED = "doubted"
"""The note that a gate puts what the candidate wrote in doubt; `QUARANTINED` says what became of it."""
QUARANTINED = "quarantined"


class Quarantine(RolloutStep):
    name: ClassVar[str] = "quarantine"

    def describe(self, work: Work) -> Iterator[str]:
        if work.options.quarantine and work.outgoing is not None:
            yield f"take what {work.outgoing.id} wrote out of use"
            yield f"send {work.incoming.id} again what is kept as it was submitted, and list the others"

    def do(self, work: Work, why: str = "") -> Evidence:
        bad = work.outgoing
        if not work.options.quarantine or bad is None or bad.id == work.incoming.id:
            return {"quarantined": None}
        if not work.site.has(work.incoming, "store_quarantine"):
            work.say(f"what {bad.id} wrote stays in use: {work.incoming.id} has no store_quarantine command")
            return {"quarantined": None}
        reason = why or work.journal.rollout(work.rollout).why or "rolled back"
        work.site.require(work.incoming, "store_quarantine", "--release", bad.id, "--reason", reason)
        gone = self._gone(work, bad.id)
        originals = find(work.site.environment.originals) if work.site.environment.service.resubmit else {}
        again = [digest for digest in gone if digest in originals and submit(work, originals[digest])]
        left = self._gone(work, bad.id)
        listed = self._list(work, left) if left else None
        work.say(f"quarantined what {bad.id} wrote: {len(again)} submitted again, {len(left)} left")
        if listed:
            work.say(f"send these again, by their SHA-256: {work.site.environment.shown(listed)}")
        return {"quarantined": bad.id, "again": len(again), "left": len(left), "list": str(listed or "")}

    def after_undoing(self, work: Work, cause: str) -> None:
        """Do it to a candidate that was taken back before its window, if a gate doubts what it wrote."""
        if work.outgoing is None or work.journal.rollout(work.rollout).note(DOUBTED) is None:
            return
        swapped = replace(
            work,
            incoming=work.outgoing,
            outgoing=work.incoming,
            slot=work.outgoing_slot,
            options=replace(work.options, quarantine=True),
        )
        try:
            work.note(QUARANTINED, **self.do(swapped, cause))
        except RolloutError as error:
            work.say(f"what {work.incoming.id} wrote could not be quarantined: {error.sentence} {error.hint}")

    def _gone(self, work: Work, release: str) -> list[str]:
        if not work.site.has(work.incoming, "store_gone"):
            return []
        lines = work.site.require(work.incoming, "store_gone", "--release", release).lines()
        return [str(line["sha256"]) for line in lines]

    def _list(self, work: Work, digests: list[str]) -> Path:
        work.site.environment.logs.mkdir(parents=True, exist_ok=True)
        path = work.site.environment.logs / f"resubmit_{work.site.environment.name}_{work.rollout}.txt"
        write_atomic(path, "".join(f"{digest}\n" for digest in digests))
        return path


def submit(work: Work, original: Path) -> bool:
    """Send a kept original to the release that is returned to. One that it refuses stays in the list."""
    token, path = work.site.token(), work.site.environment.service.resubmit
    headers = {"Content-Type": "application/octet-stream"} | (
        {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    )
    try:
        return work.site.private(work.slot).ask("POST", path, body=original.read_bytes(), headers=headers).ok
    except NoAnswerError:
        return False
