"""Originals in an object store (`s3://bucket/prefix`), which every replica of a service reads and writes.

An object appears whole or not at all, and is durable once its writing is answered. Nothing is asked before it
is written: whoever sends the same file again writes the same bytes.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dhash_service.errors import StoreUnreachableError
from dhash_service.facts import Sha256
from dhash_service.objects import is_object_store, object_store, said_by
from dhash_service.pictures.originals import FolderOriginals, Originals, place_of, require_same

REMEMBERED = 16_384
"""Most files that are remembered to be there: pages ask that about every picture they show."""

RETRIES, PATIENCE = 3, 8.0
"""How often what fails is tried again, and for how many seconds: somebody waits for the answer."""


class BucketOriginals:
    """Originals below an object store's URL; see `Originals`."""

    at_once = 16
    folder: Path | None = None

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        scheme, _, rest = self.url.partition("://")
        bucket, _, self._prefix = rest.partition("/")
        self._store = object_store(f"{scheme}://{bucket}", retries=RETRIES, seconds=PATIENCE)
        self._there: OrderedDict[Sha256, None] = OrderedDict()  # what is there stays, until it is erased
        self._remembering = threading.Lock()

    def path(self, sha256: Sha256) -> str:
        """The key of the file with this digest, kept or not."""
        return f"{self._prefix}/{place_of(sha256)}".lstrip("/")

    def put(self, content: bytes, sha256: Sha256) -> None:
        require_same(content, sha256, f"The bytes to be kept as {sha256} are not those.")
        with self._told("kept"):
            self._store.put(self.path(sha256), content, use_multipart=False)
        self._remember(sha256)

    def get(self, sha256: Sha256) -> bytes | None:
        try:
            with self._told("read"):
                content = bytes(self._store.get(self.path(sha256)).bytes())
        except FileNotFoundError:
            return None
        require_same(content, sha256, f"The original {sha256} has changed in {self.url}.")
        return content

    def has(self, sha256: Sha256) -> bool:
        with self._remembering:
            if sha256 in self._there:
                return True
        try:
            with self._told("looked for"):
                self._store.head(self.path(sha256))
        except FileNotFoundError:
            return False
        self._remember(sha256)
        return True

    def remove(self, sha256: Sha256) -> None:
        with self._remembering:
            self._there.pop(sha256, None)
        with self._told("removed"):
            try:
                self._store.delete(self.path(sha256))
            except FileNotFoundError:
                return  # some stores say so, S3 does not

    def digests(self) -> Iterator[Sha256]:
        with self._told("listed"):
            for some in self._store.list(self._prefix or None):
                names = (each["path"].rpartition("/")[2] for each in some)
                yield from (Sha256(name) for name in names if len(name) == 64)

    def require_usable(self) -> None:
        """Raise `StoreUnreachableError` where the bucket is not there, or not for these credentials."""
        with self._told("listed"):
            for _ in self._store.list(self.path(Sha256("0" * 64))):
                break

    def _remember(self, sha256: Sha256) -> None:
        with self._remembering:
            self._there[sha256] = None
            if len(self._there) > REMEMBERED:
                self._there.popitem(last=False)

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Tell an object store's errors as ours; that a file is not there passes."""
        try:
            yield
        except Exception as error:
            said = said_by(error)
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                raise
            raise StoreUnreachableError(
                f"Originals in {self.url} cannot be {done}: {said}.",
                "Look at DHASH_ORIGINALS, at the object store, and at the credentials in the service's"
                " environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …).",
            ) from error


def originals_at(where: str | Path) -> Originals:
    """The originals in a folder, or at an object store's URL. Raises `NotInstalledError`."""
    if is_object_store(str(where)):
        return BucketOriginals(str(where))
    return FolderOriginals(Path(where))
