"""Every way in which a service hands a known picture out: walked over HTTP, by whoever has a client."""

import json
from collections.abc import Callable
from uuid import UUID

Ask = Callable[[str, str, bytes | None], tuple[int, bytes]]
"""Sends a request (method, path, body); the answer's status and body."""


def ways(id: UUID | str, hash: str, name: str) -> dict[str, tuple[str, str, bytes | None]]:
    """The requests that could show a picture of this id, fingerprint and file name."""
    many = json.dumps({"hashes": [hash], "radius": 4, "limit": 1000}).encode()
    api, pages = "/api/dhash", "/pictures"
    return {
        "by id": ("GET", f"{api}/{id}", None),
        "thumbnail": ("GET", f"{api}/{id}/thumbnail", None),
        "its sightings": ("GET", f"{api}/{id}/sightings", None),
        "where": ("GET", f"{api}/sightings?name={name}", None),
        "search": ("GET", f"{api}/search?hash={hash}&radius=4&limit=1000", None),
        "search of many": ("POST", f"{api}/search/batch", many),
        "duplicates": ("GET", f"{api}/duplicates", None),
        "queue": ("GET", f"{api}/queue?limit=200", None),
        "page": ("GET", f"{pages}/{id}", None),
        "page's thumbnail": ("GET", f"{pages}/{id}/thumbnail", None),
        "page's original": ("GET", f"{pages}/{id}/large", None),
        "search page": ("GET", f"/?hash={hash}&radius=4", None),
        "duplicates page": ("GET", "/duplicates", None),
        "review page": ("GET", "/review", None),
    }


def open_ways(ask: Ask, id: UUID | str, hash: str, name: str) -> set[str]:
    """The ways by which the picture comes: its file, or an answer that names it."""
    found = set()
    for way, request in ways(id, hash, name).items():
        status, body = ask(*request)
        assert status in (200, 404, 501), (way, status, body[:300])  # 501: no DuckDB in a release
        is_file = body[:4] in (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xdb", b"\x89PNG", b"RIFF")
        if status == 200 and (is_file or str(id).encode() in body or name.encode() in body):
            found.add(way)
    return found
