"""`rollout releases`: which serve, which can be returned to and how fast, which were bad and why."""

from dataclasses import asdict
from datetime import datetime

from rich.table import Table

from guarded_rollout.cli import tables
from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.clock import ago
from guarded_rollout.host.release import short, shorten
from guarded_rollout.rollout.releases import ReleaseStanding, standings


@app.command(epilog="Example: rollout releases --env production --json")
@with_session(read_only=True)
def releases(work: Session) -> None:
    """List the releases, the newest first: where each stands, and the way back to it.

    `previous` is where `rollout rollback --to previous` goes: the last good one before what serves.
    """
    found = list(standings(work.site, work.journal))
    if work.out.as_json:
        work.out.result(environment=work.env, releases=[to_json(one) for one in found])
    elif not found:
        work.out.say(f"There is no release yet: `rollout up --env {work.env}` builds one.")
    else:
        tables.show(table(found, work.site.clock.now(), verbose=work.out.verbose))


def table(found: list[ReleaseStanding], now: datetime, *, verbose: bool = False) -> Table:
    """Build a table with a row for each release. `verbose` has whole ids and times."""
    rows = Table(box=None, pad_edge=False)
    for column in (
        "release",
        "built (UTC)" if verbose else "built",
        "stands",
        "return",
        "size",
        "why it was left",
    ):
        rows.add_column(column, overflow="fold")
    for one in found:
        built = ""
        if one.built_at:
            built = f"{one.built_at:%F %T}" if verbose else ago((now - one.built_at).total_seconds())
        why = one.record.why if one.record.bad else ""
        rows.add_row(
            one.id if verbose else short(one.id),
            built,
            stands(one),
            way(one),
            f"{one.size_bytes / 1e6:,.0f} MB",
            why if verbose else shorten(why),
        )
    return rows


def stands(one: ReleaseStanding) -> str:
    """Say where a release stands."""
    if one.percent:
        return f"serves {one.percent} %" if one.runs else "stopped"
    if one.record.bad:
        return "bad"
    if one.percent == 0:
        return "warm"
    return "good" if one.record.good else "never accepted"


def way(one: ReleaseStanding) -> str:
    """Say whether it can be returned to, and how fast."""
    previous = "previous, " if one.is_previous else ""
    if one.percent == 100:
        return ""
    if one.problem:
        return f"{previous}by a backup alone: {one.problem}"
    if one.seconds is None:
        return f"{previous}after a start"
    return previous + ("at once" if one.seconds == 0 else f"in about {max(1, round(one.seconds))} s")


def to_json(one: ReleaseStanding) -> dict[str, object]:
    """A release for programs; times as ISO 8601, null where there is none."""
    record = one.record
    return {
        **{name: value for name, value in asdict(one).items() if name != "record"},
        "built_at": one.built_at and one.built_at.isoformat(),
        "good": record.good,
        "bad": record.bad,
        "why": record.why if record.bad else "",
        "accepted_at": record.accepted_at and record.accepted_at.isoformat(),
        "left_at": record.left_at and record.left_at.isoformat(),
    }
