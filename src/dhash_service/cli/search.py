"""`dhash search`: known pictures near a picture or a fingerprint."""

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import AsJson, app
from dhash_service.cli.remote import Url, asking

if TYPE_CHECKING:
    from dhash_service.facts import Neighbour
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

HASH = re.compile(r"[0-9a-fA-F]{16}", re.ASCII)
TURNLESS = "A fingerprint alone cannot be turned."


@app.command(epilog="Example: dhash search 8f0f0f1f3f7fff00 --radius 8; or: dhash search holiday.jpg --json")
def search(
    what: Annotated[str, typer.Argument(help="A picture's file, or a fingerprint of 16 hex digits.")],
    radius: Annotated[int, typer.Option(min=0, max=64, help="Most differing bits.")] = 10,
    limit: Annotated[int, typer.Option(min=1, help="Most results.")] = 20,
    variants: Annotated[
        bool, typer.Option("--variants", help="Turned and mirrored copies of the picture, too.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest known pictures in the store that DHASH_STORE names, nearest first."""
    from dhash_service.errors import BadRequestError
    from dhash_service.files import is_missing, read_file
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    data = None
    if not HASH.fullmatch(what):
        if is_missing(what):
            raise BadRequestError(
                f"{what} is neither a file nor 16 hex digits.", "Give a picture's path, or a fingerprint."
            )
        data = read_file(Path(what), settings.max_body_bytes)
    elif variants:
        raise BadRequestError(TURNLESS, "Give the picture's file.")
    if url is not None:
        search_service(url, what, data, radius, limit, variants=variants, as_json=as_json)
        return
    with Store.open_from(settings) as store:
        values = fingerprints_of(data, store, settings) if data is not None else [("same", int(what, 16))]
        found, known = near(store, values if variants else values[:1], radius, limit)
    tell(found if variants else [replace(each, turn=None) for each in found], as_json=as_json)
    if not found and not as_json:
        typer.echo(f"Nothing within {radius} bits among {known:,} known fingerprints.")


def fingerprints_of(data: bytes, store: "Store", settings: "Settings") -> list[tuple[str, int]]:
    """The fingerprints of a picture's eight orientations, its own first."""
    from dhash_service.documents import DocumentReader

    with closing(DocumentReader(settings)) as reader:
        return [(each.turn, each.fingerprint.value) for each in reader.variants(data, store.algorithm)]


def near(
    store: "Store", values: Sequence[tuple[str, int]], radius: int, limit: int
) -> "tuple[list[Neighbour], int]":
    """The known pictures near any of these fingerprints, nearest first, and how many are known."""
    from dhash_service.facts import Neighbour
    from dhash_service.matcher import nearest_turn
    from dhash_service.search.index import HammingIndex

    everything = store.feed.changes(None)
    index = HammingIndex()
    index.append(everything.keys, everything.values)
    hits = {turn: index.search(value, radius, limit).hits for turn, value in values}
    images = store.images_by_key([hit.key for each in hits.values() for hit in each])
    found = nearest_turn(
        (turn, [Neighbour(images[hit.key], hit.distance) for hit in each if hit.key in images])
        for turn, each in hits.items()
    )
    return store.sightings.named_neighbours(found[:limit]), len(index)


def tell(found: "Sequence[Neighbour]", *, as_json: bool) -> None:
    """Print neighbours a line each, with the turn that each was found by, if any."""
    for each in found:
        image = each.image
        turn = {"turn": each.turn} if each.turn else {}
        if as_json:
            line = {"id": str(image.id), "sha256": image.sha256, "hash": image.fingerprint.hex}
            told = {"names": image.names, "tags": image.tags, **turn}
            typer.echo(json.dumps({"distance": each.distance, **line, **told}))
        else:
            shape = f"{image.fingerprint.width}×{image.fingerprint.height}"
            words = (shape, ", ".join(image.names), *turn.values())
            typer.echo(as_text(each.distance, image.fingerprint.hex, str(image.id), *words))


def as_text(distance: int, hash: str, id: str, *words: str) -> str:
    """A known picture as a line, which is never cut: its id is there to be copied."""
    return f"{distance:>2}  {hash}  {id}  {'  '.join(words)}"


def search_service(
    url: str, hash: str, data: bytes | None, radius: int, limit: int, *, variants: bool, as_json: bool
) -> None:
    """Print what a running service finds. Raises as `asking`."""
    with asking(url) as client:
        if data is None:
            found = client.search(hash, radius=radius, limit=limit)
        else:
            found = client.search_picture(data, radius=radius, limit=limit, variants=variants)
    for near in found:
        turn = {"turn": near.turn} if near.turn else {}
        if as_json:
            line = {"id": near.id, "sha256": near.sha256, "hash": near.hash, "names": near.names}
            typer.echo(json.dumps({"distance": near.distance, **line, "tags": near.tags, **turn}))
        else:
            typer.echo(as_text(near.distance, near.hash, near.id, ", ".join(near.names), *turn.values()))
