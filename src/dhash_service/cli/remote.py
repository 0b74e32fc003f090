"""A running service asked over HTTP, for the commands that have `--url`."""

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dhash_client import Client, Extracted
    from dhash_service.bulk import Step
    from dhash_service.errors import DhashError
    from dhash_service.settings import Settings

AT_ONCE = 8
"""Files on their way to a service."""

Url = Annotated[
    str | None, typer.Option(help="Ask the service at this address, with the token in DHASH_TOKEN.")
]


@contextmanager
def asking(url: str) -> "Iterator[Client]":
    """A client of the service.

    Raises `NotInstalledError`, `SettingError`, and `ServiceAnswerError` for what goes wrong.
    """
    from dhash_service.errors import NotInstalledError, ServiceAnswerError, SettingError

    try:
        import httpx

        from dhash_client import Client, ProblemError
    except ModuleNotFoundError:
        raise NotInstalledError("--url needs httpx.", "Install `mobius-dhash[client]`.") from None
    token = os.environ.get("DHASH_TOKEN")
    if token and not (token.isascii() and token.isprintable()):
        raise SettingError("DHASH_TOKEN is no token.", "Set what `dhash token create` printed.")
    try:
        with Client(url, token=token) as client:
            yield client
    except ProblemError as error:  # the service answered, and says itself what to do next
        raise ServiceAnswerError(f"{url}: {error.title}: {error.detail}".strip(": "), error.advice) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceAnswerError(f"{url}: {error}") from None


def send_files(
    files: Sequence[Path], client: "Client", settings: "Settings", root: Path | None
) -> "Generator[Step, None, None]":
    """Send every file's pictures to a service; yields once per file, in order, when the service has them."""
    from collections import Counter

    from dhash_client import Extracted, ProblemError
    from dhash_service.bulk import Progress, Step
    from dhash_service.errors import DhashError, ServiceAnswerError
    from dhash_service.files import read_file
    from dhash_service.store.sightings import path_label

    def send(path: Path) -> "Extracted | DhashError":
        label = path_label(path, root)
        try:
            data = read_file(path, settings.max_body_bytes)
            return client.extract(data, name=label.name, source=label.source)
        except ProblemError as error:
            return ServiceAnswerError(str(error), " ")
        except DhashError as error:
            return error

    progress = Progress(len(files))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for path, sent in zip(files, threads.map(send, files), strict=True):
                answer = sent if isinstance(sent, Extracted) else None
                new = sum(each.reasons[:1] != ["known"] for each in answer.pictures) if answer else 0
                progress = replace(
                    progress,
                    done=progress.done + 1,
                    pictures=progress.pictures + new,
                    known=progress.known + bool(answer and answer.pictures and not new),
                    failed=progress.failed + (answer is None),
                    empty=progress.empty + bool(answer and not answer.pictures),
                    skipped=dict(Counter(progress.skipped) + Counter(answer.skipped if answer else {})),
                )
                yield Step(path, progress, None if isinstance(sent, Extracted) else sent)
        finally:
            threads.shutdown(cancel_futures=True)
