"""Compare recorded fingerprints with those that this code, or a running service, finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from dhash_service.errors import DhashError, GoldenMovedError, GoldenRecordError
from dhash_service.facts import Algorithm
from dhash_service.golden.record import Golden, Read


@dataclass(frozen=True, slots=True)
class Moved:
    """A picture whose fingerprint is not the recorded one.

    `distance` is the number of bits between them; None where one of them is missing, and `reason` says why.
    """

    picture: str  # file name; `pages.pdf#2` is the second picture of a document
    algorithm: str
    recorded: str | None
    found: str | None
    distance: int | None
    reason: str

    def __str__(self) -> str:
        if self.distance is None:
            return f"{self.picture}: {self.reason}"
        bits = "1 bit" if self.distance == 1 else f"{self.distance} bits"
        return f"{self.picture} moved by {bits} ({self.recorded} → {self.found}, {self.algorithm})"


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome: how many pictures were compared, and those that moved."""

    pictures: int
    moved: tuple[Moved, ...]

    @property
    def ok(self) -> bool:
        return not self.moved

    def require(self) -> None:
        """Raises `GoldenMovedError` naming each picture that moved, by how many bits."""
        if self.moved:
            raise GoldenMovedError("; ".join(map(str, self.moved)) + ".")

    def __add__(self, other: "Checked") -> "Checked":
        return Checked(self.pictures + other.pictures, self.moved + other.moved)


def check(golden: Golden, algorithm: Algorithm, read: Read) -> Checked:
    """Compare every file of the golden folder, by one algorithm.

    A file that cannot be read has moved. Raises `GoldenRecordError` for a record of another version.
    """
    pictures, moved = 0, []
    for file in golden.files(algorithm):
        recorded = golden.of(file, algorithm)
        pictures += len(recorded)
        try:
            found = read(file, (golden.folder / file).read_bytes(), algorithm)
        except GoldenRecordError:
            raise
        except (DhashError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            moved.append(Moved(file, algorithm.name, None, None, None, reason))
        else:
            moved += _differences(file, algorithm, recorded, found)
    return Checked(pictures, tuple(moved))


def _differences(
    file: str, algorithm: Algorithm, recorded: tuple[str, ...], found: tuple[str, ...]
) -> Iterator[Moved]:
    several = len(recorded) > 1 or len(found) > 1
    for number, (old, new) in enumerate(zip_longest(recorded, found), 1):
        picture = f"{file}#{number}" if several else file
        if new is None:
            yield Moved(picture, algorithm.name, old, None, None, "is not found any more")
        elif old is None:
            yield Moved(picture, algorithm.name, None, new, None, "was not there when they were recorded")
        elif old != new:
            distance = (int(old, 16) ^ int(new, 16)).bit_count()
            yield Moved(picture, algorithm.name, old, new, distance, "moved")
