"""`dhash erase`: removes known pictures for good."""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from dhash_service.cli.app import app, user

if TYPE_CHECKING:
    from dhash_service.store.store import Store


@app.command(epilog='Example: dhash erase holiday.jpg --reason "asked for by the person shown"')
def erase(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures: files, ids, SHA-256s, or fingerprints of 16 hex digits."),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why; kept, and told to whoever sends it again.")
    ] = "on request",
    again: Annotated[
        bool, typer.Option("--again", help="Remove what was erased and came back with a restored file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Remove pictures for good: original, thumbnail, fingerprint, names, lookups and decisions.

    What stays is a keyed digest that recognises the same file: it is refused, and no merge or restored backup
    brings it back. A file that nobody has sent yet can be erased beforehand.
    """
    from datetime import UTC, datetime

    from dhash_service.errors import BadRequestError
    from dhash_service.service import backups_until
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    if not what and not again:
        raise BadRequestError("Nothing is to be erased.", "Give pictures, or --again.")
    settings, now = Settings.load(), datetime.now(UTC)
    with Store.open_from(settings) as store:
        wanted = [id for each in what or () for id in ids_of(each, store)]
        count = store.erase(wanted, reason, user(), now) if wanted else 0
        count += store.erase_again() if again else 0
    if as_json:
        said = {
            "erased": [str(id) for id in wanted],
            "removed": count,
            "backups": backups_until(settings, now),
        }
        typer.echo(json.dumps(said))
    else:
        held = f" {backups_until(settings, now)}" if wanted or count else ""
        typer.echo(f"{count:,} {'picture' if count == 1 else 'pictures'} removed.{held}")
    if what and not wanted:
        typer.echo("Not known.", err=True)
        raise typer.Exit(1)


def ids_of(what: str, store: "Store") -> list[UUID]:
    """The id of a file, a SHA-256 or an id, in search or not; of a fingerprint those of its known images.

    Raises `BadRequestError`.
    """
    from dhash_service.errors import BadRequestError
    from dhash_service.facts import Sha256, image_id
    from dhash_service.files import is_missing, read_file

    if re.fullmatch(r"[0-9a-fA-F]{16}", what):
        return [image.id for image in store.with_fingerprint(int(what, 16))]
    if re.fullmatch(r"[0-9a-fA-F]{64}", what):
        return [image_id(Sha256(what.lower()))]
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", what):
        return [UUID(what)]
    if is_missing(what):
        raise BadRequestError(
            f"{what} is no file, id, SHA-256 or fingerprint.", "Give a picture's path, or its id."
        )
    return [image_id(Sha256(hashlib.sha256(read_file(Path(what), sys.maxsize)).hexdigest()))]
