"""`dhash where`: the files that a known picture was seen as."""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from dhash_service.cli.app import AsJson, app
from dhash_service.cli.remote import Url, asking

if TYPE_CHECKING:
    from dhash_service.facts import Image, Sighting
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store


HASH, DIGEST = re.compile(r"[0-9a-fA-F]{16}", re.ASCII), re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
MOST = 2**31 - 1
"""The largest limit: enough for everything, and a number that every database knows."""
ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


@app.command(epilog="Example: dhash where holiday.jpg; or: dhash where --name 2019/ --tag logo --json")
def where(
    what: Annotated[
        str | None,
        typer.Argument(help="A picture's file, its id or SHA-256, or a fingerprint of 16 hex digits."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only where name or source has this part.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only pictures with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Most lines.")] = 100,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show where known pictures were seen: names, paths and documents. Exit code 1 where there is nothing."""
    from dhash_service.errors import BadRequestError
    from dhash_service.settings import Settings
    from dhash_service.store.sightings import SightingFilter
    from dhash_service.store.store import Store

    if what is name is tag is None:
        raise BadRequestError("Nothing is asked for.", "Give a picture, or --name or --tag.")
    settings = Settings.load()
    if url is not None:
        where_service(url, what, name, tag, limit, settings, as_json=as_json)
        return
    with Store.open_from(settings) as store:
        if what is None:
            seen = store.sightings.page(SightingFilter(name, tag), limit=limit).sightings
            images = store.images(list({each.image for each in seen}))
        else:
            images = {image.id: image for image in known_as(what, store, settings)}
            pages = [store.sightings.page(SightingFilter(name, tag, id), limit=limit) for id in images]
            seen = [each for page in pages for each in page.sightings][:limit]
    tell(seen, images, as_json=as_json)
    if not seen:
        if not as_json:
            typer.echo("Known, but never under a name." if images else "Not known.", err=True)
        raise typer.Exit(1)


def known_as(what: str, store: "Store", settings: "Settings") -> "list[Image]":
    """The known images of a file, an id, a SHA-256 or a fingerprint. Raises `BadRequestError`."""
    from dhash_service.documents import DocumentReader
    from dhash_service.errors import BadRequestError
    from dhash_service.facts import Sha256
    from dhash_service.files import is_missing, read_file

    if HASH.fullmatch(what):
        return store.with_fingerprint(int(what, 16))
    if DIGEST.fullmatch(what):
        found = store.by_sha256(Sha256(what.lower()))
        return [found] if found else []
    if ID.fullmatch(what):
        found = store.image(UUID(what))
        return [found] if found else []
    if is_missing(what):
        raise BadRequestError(
            f"{what} is no file, id, SHA-256 or fingerprint.", "Give a picture's path, or 16 hex digits."
        )
    data = read_file(Path(what), settings.max_body_bytes)
    if found := store.by_sha256(Sha256(hashlib.sha256(data).hexdigest())):
        return [found]
    with closing(DocumentReader(settings)) as reader:
        return store.with_fingerprint(reader.fingerprint(data, store.algorithm).value)


def where_service(
    url: str,
    what: str | None,
    name: str | None,
    tag: str | None,
    limit: int,
    settings: "Settings",
    *,
    as_json: bool,
) -> None:
    """Print where a running service's pictures were seen. Raises as `asking`."""
    from itertools import islice

    from dhash_service.facts import Sha256, image_id
    from dhash_service.files import read_file

    with asking(url) as client:
        images: list[str | None] = [None]
        if what is not None and HASH.fullmatch(what):
            images = [near.id for near in client.search(what, radius=0, limit=1000)]
        elif what is not None and DIGEST.fullmatch(what):
            images = [str(image_id(Sha256(what.lower())))]
        elif what is not None and ID.fullmatch(what):
            images = [what]
        elif what is not None:
            data = read_file(Path(what), settings.max_body_bytes)
            images = [near.id for near in client.search_picture(data, radius=0, limit=1000)]
        places = (place for image in images for place in client.sightings(image=image, name=name, tag=tag))
        seen = list(islice(places, limit))
        hashes = {id: client.fingerprint(id) for id in {each.image for each in seen}} if as_json else {}
    for each in seen:
        place = {"document": each.document, "page": each.page, "created_at": each.created_at}
        if as_json:
            line = {"image": each.image, "hash": hashes[each.image], "name": each.name, "source": each.source}
            typer.echo(json.dumps(line | place))
            continue
        page = f", page {each.page}" if each.page else ""
        shown = each.source or each.name or f"PDF {each.document}"
        typer.echo(f"{each.image}  {each.created_at[:16].replace('T', ' ')}  {shown}{page}")
    if not seen:
        raise typer.Exit(1)


def tell(seen: "Sequence[Sighting]", images: "dict[UUID, Image]", *, as_json: bool) -> None:
    """Print sightings, a line each."""
    for each in seen:
        image = images.get(each.image)
        fingerprint = image.fingerprint.hex if image else ""
        if as_json:
            line = {"image": str(each.image), "hash": fingerprint, "name": each.name, "source": each.source}
            place = {"document": each.document, "page": each.page, "created_at": each.created_at.isoformat()}
            typer.echo(json.dumps(line | place))
            continue
        page = f", page {each.page}" if each.page else ""
        shown = each.source or each.name or f"PDF {each.document}"
        typer.echo(f"{fingerprint}  {each.created_at:%Y-%m-%d %H:%M}  {shown}{page}")
