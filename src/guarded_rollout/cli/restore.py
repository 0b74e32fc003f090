"""`rollout restore`: the store as it was at a time, from its stream."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.errors import UsageError


@app.command(epilog="Example: rollout restore --at 2026-06-01T12:30:00 --into before-the-accident.db")
@with_session()
def restore(
    work: Session,
    into: Annotated[Path, typer.Option(help="The file to make; nothing is written over.")],
    at: Annotated[
        str,
        typer.Option(help="The time, ISO 8601, UTC if no zone is given.", show_default="the newest there is"),
    ] = "",
) -> None:
    """Bring the store back from its stream into a new file, checked by SQLite; what serves is left alone.

    The service's own merge, `store_merge` in rollout.toml, adds from it what the store lacks.
    """
    moment = moment_of(at)
    when = f"{moment:%F %T %Z}" if moment else "the newest that the stream has"
    if work.dry_run:
        work.out.rehearse(f"bring the store of {work.env} back as of {when} into {into}")
        return
    begin = work.site.clock.monotonic()
    work.site.stream.restore(into.absolute(), moment)
    seconds = work.site.clock.monotonic() - begin
    size = into.stat().st_size
    work.out.say(
        f"{into}: the store of {work.env} as of {when}, {size / 1e6:.1f} MB in {seconds:.1f} s, sound"
    )
    work.out.result(
        environment=work.env,
        file=str(into),
        at=moment.isoformat() if moment else None,
        size=size,
        seconds=round(seconds, 3),
    )


def moment_of(text: str) -> datetime | None:
    """A time as an operator types it; None for none. Raises `UsageError`."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(detail=f"{text!r} is no time such as 2026-06-01T12:30:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
