"""Fingerprints of collections that no machine holds: sources, a task, sinks, and engines that exist."""

from collections.abc import Iterator
from contextlib import contextmanager

from dhash_service.errors import NotInstalledError


@contextmanager
def installed() -> Iterator[None]:
    """Around imports: what is missing is named with its extra. Raises `NotInstalledError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            f"Collections need {(error.name or '').partition('.')[0]}, which is not installed.",
            "Install `mobius-dhash[scale]`.",
        ) from None
