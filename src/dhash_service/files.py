"""A user's files: regular ones read in one bounded piece, and named in UTF-8 whatever their bytes."""

import base64
import errno
import os
import stat
import unicodedata
from pathlib import Path

from dhash_service.errors import BodyTooLargeError, UnreadableFileError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk says."""

_PIPES = ("/dev/fd/", "/proc/self/fd/")  # a shell's <(command)


def printable(words: str) -> str:
    """The words with U+FFFD in place of control characters and halves of characters."""
    if words.isprintable():
        return words
    return "".join("\ufffd" if unicodedata.category(each) in ("Cc", "Cs") else each for each in words)


def read_file(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises `UnreadableFileError`, and `BodyTooLargeError` beyond `limit` bytes.

    A FIFO, a device or a folder is refused: reading them may wait forever, or never end.
    """
    piped = str(path).startswith(_PIPES)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if piped else os.O_NONBLOCK))
        try:
            status = os.fstat(descriptor)
            mode = status.st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not (stat.S_ISREG(mode) or (piped and stat.S_ISFIFO(mode))):
                raise UnreadableFileError("It is not a regular file.", "Give one, or - for standard input.")
            with open(descriptor, "rb", closefd=False) as file:
                # Asked for all that may come, Python sets that much memory aside, and gives it back.
                data = file.read(min(status.st_size, limit) + 1)
                if len(data) > status.st_size:  # a pipe, or a file that grows
                    data += file.read(limit + 1 - len(data))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableFileError(f"{error.strerror or error}.") from error
    except ValueError as error:  # a NUL in the name
        raise UnreadableFileError(f"{error}.") from error
    if len(data) > limit:
        raise BodyTooLargeError(f"The file has more than {limit:,} bytes.")
    return data


def is_missing(path: str | Path) -> bool:
    """True if there is nothing at a path. One that cannot be looked at may be there: reading says why.

    `Path.exists` raises for a folder that is closed to us, and for a name that is too long.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def path_fields(path: str | Path) -> dict[str, str]:
    """`path` for JSON; with `path_bytes` in base64 beside its escaped form where the name is not UTF-8."""
    name = os.fsencode(path)
    try:
        return {"path": name.decode()}
    except UnicodeDecodeError:
        escaped = name.decode(errors="backslashreplace")
        return {"path": escaped, "path_bytes": base64.b64encode(name).decode("ascii")}
