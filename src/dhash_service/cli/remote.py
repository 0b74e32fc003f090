"""A running service asked over HTTP, for the commands that have `--url`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dhash_client import Client

Url = Annotated[
    str | None, typer.Option(help="Ask the service at this address, with the token in DHASH_TOKEN.")
]


@contextmanager
def asking(url: str) -> "Iterator[Client]":
    """A client of the service. Raises `NotInstalledError`, and `ServiceAnswerError` for what goes wrong."""
    from dhash_service.errors import NotInstalledError, ServiceAnswerError

    try:
        import httpx

        from dhash_client import Client, ProblemError
    except ModuleNotFoundError:
        raise NotInstalledError("--url needs httpx.", "Install `mobius-dhash[client]`.") from None
    try:
        with Client(url, token=os.environ.get("DHASH_TOKEN")) as client:
            yield client
    except (ProblemError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceAnswerError(f"{url}: {error}") from None
