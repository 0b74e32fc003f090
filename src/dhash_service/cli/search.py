"""`dhash search`: known pictures near a picture or a fingerprint."""

import json
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from dhash_service.cli.app import app


@app.command(epilog="Example: dhash search 8f0f0f1f3f7fff00 --radius 8; or: dhash search holiday.jpg --json")
def search(
    what: Annotated[str, typer.Argument(help="A picture's file, or a fingerprint of 16 hex digits.")],
    radius: Annotated[int, typer.Option(min=0, max=64, help="Most differing bits.")] = 10,
    limit: Annotated[int, typer.Option(min=1, help="Most results.")] = 20,
    url: Annotated[
        str | None, typer.Option(help="Ask the service at this address, with the token in DHASH_TOKEN.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Find the nearest known pictures in the store that DHASH_STORE names, nearest first."""
    if url is not None:
        search_service(what, radius, limit, url, as_json=as_json)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dhash_service.errors import BadRequestError
    from dhash_service.facts import Neighbour
    from dhash_service.pictures.fingerprint import fingerprint
    from dhash_service.search.index import HammingIndex
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    data = None
    if re.fullmatch(r"[0-9a-fA-F]{16}", what):
        value = int(what, 16)
    elif (path := Path(what)).is_file():
        data = path.read_bytes()
    else:
        raise BadRequestError(
            f"{what} is neither a file nor 16 hex digits.", "Give a picture's path, or a fingerprint."
        )

    with Store.open_from(settings) as store:
        if data is not None:
            value = fingerprint(data, store.algorithm, max_pixels=settings.max_pixels).value
        everything = store.feed.changes(None)
        index = HammingIndex()
        index.append(everything.keys, everything.values)
        hits = index.search(value, radius, limit).hits
        images = store.images_by_key([hit.key for hit in hits])
        near = [Neighbour(images[hit.key], hit.distance) for hit in hits if hit.key in images]
        near = store.sightings.named_neighbours(near)

    found = [(each.distance, each.image) for each in near]
    if as_json:
        for distance, image in found:
            line = {"id": str(image.id), "sha256": image.sha256, "hash": image.fingerprint.hex}
            words = {"names": image.names, "tags": image.tags}
            typer.echo(json.dumps({"distance": distance, **line, **words}))
        return
    if not found:
        typer.echo(f"Nothing within {radius} bits among {len(index):,} known fingerprints.")
        return
    table = Table("distance", "hash", "size", "id", "names")
    for distance, image in found:
        shape = f"{image.fingerprint.width}×{image.fingerprint.height}"
        table.add_row(
            str(distance), image.fingerprint.hex, shape, str(image.id), escape(", ".join(image.names))
        )
    Console().print(table)


def search_service(what: str, radius: int, limit: int, url: str, *, as_json: bool) -> None:
    """Print what a running service finds. Raises `ServiceAnswerError`, `NotInstalledError`."""
    from dhash_service.errors import BadRequestError, NotInstalledError, ServiceAnswerError

    try:
        import httpx

        from dhash_client import Client, ProblemError
    except ModuleNotFoundError:
        raise NotInstalledError("--url needs httpx.", "Install `mobius-dhash[client]`.") from None

    try:
        with Client(url, token=os.environ.get("DHASH_TOKEN")) as client:
            if re.fullmatch(r"[0-9a-fA-F]{16}", what):
                found = client.search(what, radius=radius, limit=limit)
            elif (path := Path(what)).is_file():
                found = client.search_picture(path.read_bytes(), radius=radius, limit=limit)
            else:
                raise BadRequestError(f"{what} is neither a file nor 16 hex digits.", "Give one of them.")
    except (ProblemError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceAnswerError(f"{url}: {error}") from None
    for near in found:
        if as_json:
            line = {"id": near.id, "sha256": near.sha256, "hash": near.hash, "names": near.names}
            typer.echo(json.dumps({"distance": near.distance, **line, "tags": near.tags}))
        else:
            typer.echo(f"{near.distance:>2}  {near.hash}  {near.id}  {', '.join(near.names)}")
