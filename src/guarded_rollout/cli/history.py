"""`rollout history`: who did what, when, how long it took, why, and how it ended."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from guarded_rollout.cli.app import Newest, app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.clock import ago, duration
from guarded_rollout.display import fit
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import OVERRIDDEN, Rollout, RolloutOutcome


@app.command(epilog="Example: rollout history --env production --limit 5 --verbose")
@with_session(read_only=True)
def history(
    work: Session,
    limit: Newest = 20,
) -> None:
    """List what was done to an environment, one line each; --verbose has whole ids and each step."""
    found = work.journal.history(work.env, limit=limit)
    if work.out.as_json:
        work.out.result(environment=work.env, rollouts=[to_json(rollout) for rollout in found])
    elif not found:
        work.out.say(f"Nothing was done to {work.env} yet.")
    else:
        for line in lines(found, work.site.clock.now(), verbose=work.out.verbose):
            work.out.say(fit(line) if not work.out.verbose else line)


MARKS = {
    RolloutOutcome.COMPLETED: "✓",
    RolloutOutcome.ROLLED_BACK: "↶",
    RolloutOutcome.FAILED: "✕",
    None: "●",
}


def lines(rollouts: list[Rollout], now: datetime, *, verbose: bool) -> Iterator[str]:
    """Yield a line for each rollout: when, what, of which releases, how it ended and why.

    With `verbose` times and the ids of releases are whole, and each step has a line.
    """
    name = str if verbose else short
    for rollout in rollouts:
        releases = f"{name(rollout.source or 'nothing')} → {name(rollout.target)}" if rollout.target else ""
        why = "; ".join(part for part in (rollout.why, overridden(rollout), rollout.reason) if part)
        mark, since = MARKS[rollout.outcome], (now - rollout.started_at).total_seconds()
        when = f"{rollout.started_at:%F %T} UTC" if verbose else f"{ago(since):<11}"
        parts = (
            f"{when} {mark} {rollout.command:<8} {releases}".rstrip(),
            rollout.outcome or "open",
            took(rollout),
            rollout.operator,
            why,
        )
        yield "  ".join(part for part in parts if part)
        for step in rollout.steps if verbose else ():
            words = (step.name, step.outcome or "unfinished", took(step), error_of(step))
            yield "    " + "  ".join(part for part in words if part)


def overridden(rollout: Rollout) -> str:
    """Say who overrode what preflight failed, and why; empty if nobody did."""
    note = rollout.note(OVERRIDDEN)
    return f"preflight overridden by {note.data['operator']}: {note.data['reason']}" if note else ""


def took(what: Any) -> str:
    """Format how long a rollout or step took; `…` while it runs."""
    if what.ended_at is None:
        return "…"
    return duration((what.ended_at - what.started_at).total_seconds())


def error_of(step: Any) -> str:
    """Return a step's error, or its evidence."""
    evidence = step.evidence or {}
    return str(evidence.get("error") or ", ".join(f"{name} {value}" for name, value in evidence.items()))


def to_json(rollout: Rollout) -> dict[str, object]:
    """A rollout for programs; times as ISO 8601."""
    return {
        **asdict(rollout),
        "id": str(rollout.id),
        "started_at": rollout.started_at.isoformat(),
        "ended_at": rollout.ended_at and rollout.ended_at.isoformat(),
    }
