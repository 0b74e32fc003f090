"""Places where files are: folders of this machine, object stores, and whatever fsspec knows.

Object stores are asked through obstore, which takes less processor time than fsspec's own ways.
Credentials come from the environment of the process that asks, and are in no URL, task or message.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from dhash_service.errors import BodyTooLargeError, DhashError, PlaceError
from dhash_service.files import is_missing, read_file
from dhash_service.objects import is_object_store, object_store, said_by
from dhash_service.scale.items import Item, is_path

if TYPE_CHECKING:
    from obstore.store import ObjectStore

ODD_KEY = "object with invalid path"
"""What obstore says of a key with an empty part, `..` or a control character."""


class Place(Protocol):
    """Files by their URLs."""

    def find(self, url: str) -> Iterator[Item]:
        """The files at or below a URL, always in the same order. Raises `PlaceError`."""
        ...

    def read(self, url: str, limit: int) -> bytes:
        """A file's bytes. Raises `PlaceError`, `MissingError`, `BodyTooLargeError` beyond `limit` bytes."""
        ...

    def write(self, url: str, data: bytes) -> None:
        """Write a file: all of it is there, or nothing, where the place can. Raises `PlaceError`."""
        ...

    def remove(self, url: str) -> None:
        """Remove a file. Raises `PlaceError`."""
        ...


class MissingError(PlaceError):
    """There is no such file."""

    title = "There is no such file"


def place_of(url: str) -> Place:
    """The place that a URL or path is in."""
    scheme = "file" if is_path(url) else url.partition("://")[0].lower()
    if scheme == "file":
        return Folder()
    if is_object_store(url):
        return Objects()
    return Elsewhere()


def below(url: str, name: str) -> str:
    """The URL of a file in a folder."""
    return f"{url.rstrip('/')}/{name}"


class Folder:
    """This machine's files. A tag is made of a file's time."""

    def find(self, url: str) -> Iterator[Item]:
        top = _path(url)
        if not os.path.isdir(top):
            yield self._item(url, top)
            return
        for folder, folders, names in os.walk(top, onerror=_unreadable):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if os.path.isfile(path):
                    yield self._item(str(path), path)

    def read(self, url: str, limit: int) -> bytes:
        if is_missing(_path(url)):
            raise MissingError(f"{url}: there is no such file.")
        return read_file(_path(url), limit)

    def write(self, url: str, data: bytes) -> None:
        path = _path(url)
        beside = path.with_name(f".{path.name}.{uuid4().hex}")  # a shared folder has writers on many machines
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise PlaceError(f"{url}: {error.strerror or error}.") from error
        finally:
            beside.unlink(missing_ok=True)

    def remove(self, url: str) -> None:
        try:
            _path(url).unlink(missing_ok=True)
        except OSError as error:
            raise PlaceError(f"{url}: {error.strerror or error}.") from error

    def _item(self, url: str, path: Path) -> Item:
        try:
            status = path.stat()
        except OSError as error:
            raise PlaceError(f"{url}: {error.strerror or error}.") from error
        return Item(url, status.st_size, str(status.st_mtime_ns))


class Objects:
    """An object store. A tag is the store's own (ETag). Empty objects that stand for folders are no files."""

    def find(self, url: str) -> Iterator[Item]:
        root, store, prefix = _opened(url)
        found = False
        try:
            for chunk in store.list(prefix or None):
                for each in chunk:
                    found = True
                    if _is_folder(each):
                        continue
                    yield Item(
                        f"{root}/{each['path']}", each["size"], each["e_tag"] or str(each["last_modified"])
                    )
            if not found and prefix:
                one = store.head(prefix)
                yield Item(f"{root}/{one['path']}", one["size"], one["e_tag"] or str(one["last_modified"]))
        except Exception as error:
            raise _refused(url, error) from error

    def read(self, url: str, limit: int) -> bytes:
        _, store, path = _opened(url)
        try:
            answer = store.get(path)
            if answer.meta["size"] > limit:
                raise BodyTooLargeError(f"The file has more than {limit:,} bytes.")
            return bytes(answer.bytes())
        except Exception as error:
            raise _refused(url, error) from error

    def write(self, url: str, data: bytes) -> None:
        _, store, path = _opened(url)
        try:
            store.put(path, data)
        except Exception as error:
            raise _refused(url, error) from error

    def remove(self, url: str) -> None:
        _, store, path = _opened(url)
        try:
            store.delete(path)
        except Exception as error:
            raise _refused(url, error) from error


def opened_object(url: str) -> io.BufferedReader:
    """An object as a file, of which only what is asked for is read. Raises `PlaceError`."""
    _, store, path = _opened(url)
    try:
        return io.BufferedReader(_Ranges(store, path), buffer_size=1024**2)
    except Exception as error:
        raise _refused(url, error) from error


class _Ranges(io.RawIOBase):
    """An object's bytes by ranges: obstore's own reader is no file for Arrow."""

    def __init__(self, store: "ObjectStore", path: str) -> None:
        self._store, self._path = store, path
        self._size: int = store.head(path)["size"]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            buffer[:length] = self._store.get_range(self._path, start=self._at, length=length)
            self._at += length
        return length


class Elsewhere:
    """Whatever fsspec knows: `memory://`, `sftp://`, `hdfs://`, …, with the packages that it names."""

    def find(self, url: str) -> Iterator[Item]:
        system, path = _system(url)
        try:
            single = system.isfile(path)
            found = {path: system.info(path)} if single else system.find(path, detail=True)
            for name in sorted(found):
                told = found[name]
                tag = next(
                    (str(told[key]) for key in ("ETag", "checksum", "mtime", "created") if told.get(key)), ""
                )
                yield Item(system.unstrip_protocol(name), told.get("size"), tag)
        except Exception as error:
            raise _refused(url, error) from error

    def read(self, url: str, limit: int) -> bytes:
        system, path = _system(url)
        try:
            data: bytes = system.cat_file(path, end=limit + 1)
        except Exception as error:
            raise _refused(url, error) from error
        if len(data) > limit:
            raise BodyTooLargeError(f"The file has more than {limit:,} bytes.")
        return data

    def write(self, url: str, data: bytes) -> None:
        system, path = _system(url)
        try:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, data)
        except Exception as error:
            raise _refused(url, error) from error

    def remove(self, url: str) -> None:
        system, path = _system(url)
        try:
            system.rm_file(path)
        except Exception as error:
            raise _refused(url, error) from error


def _path(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def _unreadable(error: OSError) -> None:
    raise PlaceError(f"{error.filename}: {error.strerror or error}.") from error


def _is_folder(each: Mapping[str, Any]) -> bool:
    """True of the empty object `2026/` by which consoles and some tools stand for a folder.

    It is listed without its slash, so under this name there is nothing to be read.
    """
    return not each["size"] and "." not in each["path"].rpartition("/")[2]


def _opened(url: str) -> "tuple[str, ObjectStore, str]":
    """The bucket's URL, its store, and the path below it."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    root = f"{scheme}://{bucket}"
    return root, object_store(root), path.rstrip("/")


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise PlaceError(f"{url}: {error}.", "Give a URL of a kind that fsspec knows.") from error
    return system, str(path)


def _refused(url: str, error: Exception) -> DhashError:
    if isinstance(error, DhashError):
        return error
    if isinstance(error, FileNotFoundError):
        return MissingError(f"{url}: there is no such file.")
    if ODD_KEY in str(error):
        return PlaceError(f"{url}: {said_by(error)}.", "Rename that object; no key like it can be asked for.")
    return PlaceError(f"{url}: {said_by(error)}.")
