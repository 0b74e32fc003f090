"""The golden folder: files, and the fingerprints that were recorded of them for each algorithm."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dhash_service.errors import GoldenRecordError, UnsupportedFormatError
from dhash_service.facts import Algorithm
from dhash_service.pictures.fingerprint import ALGORITHMS

FOLDER = Path(__file__).parent / "files"
"""The folder that a release carries."""

RECORD = "values.json"

Values = tuple[str, ...]
"""The fingerprints of one file, 16 hex digits each: one of a picture, those of a document in its order."""

Read = Callable[[str, bytes, Algorithm], Values]
"""File name, bytes, algorithm → the fingerprints found. Raises `DhashError`."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden folder's record: the version of each algorithm, and for each file its values by algorithm."""

    folder: Path
    versions: Mapping[str, int]
    values: Mapping[str, Mapping[str, Values]]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> Self:
        """Raises `GoldenRecordError` where nothing was recorded, or the record cannot be read."""
        path = folder / RECORD
        try:
            record = json.loads(path.read_text())
            return cls(
                folder,
                {name: int(version) for name, version in record["algorithms"].items()},
                {
                    file: {name: tuple(found) for name, found in values.items()}
                    for file, values in record["files"].items()
                },
            )
        except FileNotFoundError:
            raise GoldenRecordError(f"{path} does not exist.") from None
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise GoldenRecordError(f"{path} cannot be read: {error}.") from error

    def of(self, file: str, algorithm: Algorithm) -> Values:
        """Raises `GoldenRecordError` where they were recorded for another version of the algorithm."""
        if self.versions.get(algorithm.name) != algorithm.version:
            recorded = self.versions.get(algorithm.name, "none")
            raise GoldenRecordError(
                f"{algorithm.name} has version {algorithm.version}; recorded is {recorded}."
            )
        return self.values[file][algorithm.name]

    def files(self, algorithm: Algorithm) -> list[str]:
        """The files that the algorithm has a value for: Lab colours have none by `dhash-64`."""
        return [file for file, values in self.values.items() if algorithm.name in values or not values]


def record(folder: Path, read: Read, *, accept: bool = False) -> Golden:
    """Take the fingerprints of every file in `folder` as they are now, for every algorithm.

    Raises `GoldenRecordError` where there is a record already and it is not accepted that it is replaced, and
    what `read` does.
    """
    path = folder / RECORD
    if path.exists() and not accept:
        raise GoldenRecordError(f"{path} exists.", "Run `dhash golden check`; to replace it, add --accept.")
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != RECORD)
    if not files:
        raise GoldenRecordError(f"{folder} holds no files.", "Draw them: `dhash golden draw FOLDER`.")
    golden = Golden(
        folder,
        {algorithm.name: algorithm.version for algorithm in ALGORITHMS.values()},
        {file.name: dict(_values(file, read)) for file in files},
    )
    _write(path, json.dumps({"algorithms": golden.versions, "files": golden.values}, indent=2) + "\n")
    return golden


def _values(file: Path, read: Read) -> Iterator[tuple[str, Values]]:
    for name, algorithm in ALGORITHMS.items():
        with suppress(UnsupportedFormatError):
            yield name, read(file.name, file.read_bytes(), algorithm)


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
