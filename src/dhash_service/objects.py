"""Object stores (S3, Google, Azure), opened through obstore.

Credentials come from the environment of the process that asks, and are in no URL, task or message.
"""

import os
import re
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from dhash_service.errors import NotInstalledError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

S3_CODE, S3_MESSAGE = re.compile("<Code>([^<]+)</Code>"), re.compile("<Message>([^<]+)</Message>")

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "http", "https")

ENDPOINTS = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"),
    *("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"),
)
"""The variables that name a server of one's own. Where one says http, nothing is encrypted."""


def is_object_store(url: str) -> bool:
    """True of a URL that obstore opens."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


@cache
def object_store(root: str, *, retries: int = 6, seconds: float = 60) -> "ObjectStore":
    """The store at a bucket's URL. What fails is tried again so often, `seconds` long at most.

    Raises `NotInstalledError`.
    """
    try:
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise NotInstalledError(
            f"{root}: object stores need obstore, which is not installed.", "Install `mobius-dhash[scale]`."
        ) from None
    plain = any(each.startswith("http://") for each in (root, *map(os.environ.get, ENDPOINTS)) if each)
    options: Any = {"allow_http": True} if plain else {}
    again: Any = {
        "max_retries": retries,
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
        "retry_timeout": timedelta(seconds=seconds),
    }
    return from_url(root, client_options=options, retry_config=again)


def said_by(error: Exception) -> str:
    """What went wrong: the store's own words where there are some, or else the first line."""
    said = str(error).strip()
    if (code := S3_CODE.search(said)) and (message := S3_MESSAGE.search(said)):
        return f"{message[1].partition(chr(10))[0].strip().rstrip('.')} ({code[1]})"
    return said.splitlines()[0][:300].rstrip(".") if said else type(error).__name__
