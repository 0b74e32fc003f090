"""`dhash queue`: the review queue, from the terminal."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from dhash_service.cli.app import AsJson, app, open_store, user
from dhash_service.facts import Verdict

queue = typer.Typer(no_args_is_help=True, help="The review queue: status, list, decide.")
app.add_typer(queue, name="queue")


@queue.command(epilog="Example: dhash queue status --json")
def status(as_json: AsJson = False) -> None:
    """Show how many lookups wait, why, and since when."""
    from dhash_service.api.models import QueueStatus

    with open_store() as store:
        now = QueueStatus.of(store.queue.status(), datetime.now(UTC))
    if as_json:
        typer.echo(now.model_dump_json())
        return
    typer.echo(f"{now.length:,} waiting")
    for reason, number in now.by_reason.items():
        typer.echo(f"  {reason:20} {number:,}")
    if now.oldest_age_seconds is not None:
        typer.echo(f"  oldest: {now.oldest_age_seconds / 3600:.1f} hours")


@queue.command("list", epilog="Example: dhash queue list --limit 20 --reason small_margin")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most lines.")] = 20,
    after: Annotated[UUID | None, typer.Option(help="Begin after this lookup.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only lookups with this reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the lookups that wait, oldest first."""
    from dhash_service.api.models import QueuePage
    from dhash_service.store.review import Filter

    with open_store() as store:
        found = store.queue.page(Filter(reason), after, limit)
        page = QueuePage.of(*store.pictured(found.lookups), found.after)
    for item in page.items:
        if as_json:
            typer.echo(item.model_dump_json())
        else:
            near = f"{item.match.distance} bits from {item.match.id}" if item.match else "nothing near"
            typer.echo(f"{item.lookup}  {item.confidence:.2f}  {near}  ({', '.join(item.reasons)})")


@queue.command(epilog='Example: dhash queue decide 0199… same --note "same print, other scanner"')
def decide(
    lookup: Annotated[UUID, typer.Argument(help="The lookup's id, as `queue list` prints it.")],
    verdict: Annotated[Verdict, typer.Argument(help="Is it the same picture?")],
    reviewer: Annotated[str | None, typer.Option(help="Who decides.", show_default="your user name")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Record a decision. The newest decision on a lookup holds; none is ever removed."""
    from dhash_service.errors import NotFoundError
    from dhash_service.facts import Decision, new_id
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    with Store.open_from(settings) as store:
        if store.lookup(lookup) is None:
            raise NotFoundError(f"There is no lookup {lookup}.", "`dhash queue list` shows those that wait.")
        name = reviewer or user()
        decision = Decision(new_id(), lookup, verdict, name, note, settings.release, datetime.now(UTC))
        store.verdicts.record(decision).result()
    typer.echo(f"{lookup}: {verdict.value}, decided by {name}")
