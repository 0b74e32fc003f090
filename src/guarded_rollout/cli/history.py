"""`rollout history`: who did what, when, how long it took, why, and how it ended."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.clock import duration
from guarded_rollout.journal.model import Rollout


@app.command(epilog="Example: rollout history --env production --limit 5 --verbose")
@with_session(read_only=True)
def history(
    work: Session,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
) -> None:
    """List what was done to an environment; --verbose lists each step."""
    found = work.journal.history(work.env, limit=limit)
    if work.out.as_json:
        work.out.result(environment=work.env, rollouts=[to_json(rollout) for rollout in found])
    elif not found:
        work.out.say(f"Nothing was done to {work.env} yet.")
    else:
        Console().print(table(found, verbose=work.out.verbose))


def table(rollouts: list[Rollout], *, verbose: bool) -> Table:
    """Build a table with a row for each rollout, and for each step under it."""
    rows = Table(box=None, pad_edge=False)
    for column in ("when (UTC)", "what", "from → to", "took", "outcome", "who", "why"):
        rows.add_column(column, overflow="fold")
    for rollout in rollouts:
        releases = f"{rollout.source or 'nothing'} → {rollout.target}" if rollout.target else ""
        outcome = rollout.outcome or "open"
        rows.add_row(
            f"{rollout.started_at:%F %T}",
            rollout.command,
            releases,
            took(rollout),
            outcome,
            rollout.operator,
            "; ".join(part for part in (rollout.why, rollout.reason) if part),
        )
        for step in rollout.steps if verbose else ():
            rows.add_row(
                "", f"  {step.name}", "", took(step), step.outcome or "unfinished", "", error_of(step)
            )
    return rows


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
