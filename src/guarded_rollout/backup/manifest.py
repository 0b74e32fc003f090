"""`manifest.json`, an archive's description of itself: its last file, written once all hashes are known."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from guarded_rollout.errors import BackupFormatError

NAME = "manifest.json"
FORMAT: Final = 1
BYTES_MOST = 4 * 1024**2

# The release's id becomes the name of a folder: nothing that could lead elsewhere.
FolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Content(_Value):
    """A file of the archive: its size in bytes, and its SHA-256."""

    size: int = Field(ge=0)
    sha256: Hex64


class Originals(_Value):
    """Kept originals stand beside the archives, each once for all of them; the file `list` names these."""

    list: str
    count: int = Field(ge=0)


class Manifest(_Value):
    """Version, origin and contents of an archive."""

    format: Literal[1]
    environment: str = Field(min_length=1)
    created_at: AwareDatetime = Field(strict=False)
    release: FolderName
    schema_revision: str | None
    wheel: str  # the path of each in the archive
    requirements: str
    release_json: str
    snapshot: str | None  # a file, or a folder of several; None where there is no data
    configuration: tuple[str, ...] = Field(strict=False)
    originals: Originals | None = None
    files: dict[str, Content]

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes, archive: Path) -> Self:
        """Raises `BackupFormatError` saying what does not fit."""
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise BackupFormatError(path=archive, problem=f"{NAME}: {where}: {first['msg']}") from None
        for name in manifest.named():
            if name not in manifest.files and not any(file.startswith(f"{name}/") for file in manifest.files):
                raise BackupFormatError(path=archive, problem=f"{NAME}: {name!r} is not among its files")
        return manifest

    def named(self) -> tuple[str, ...]:
        """The files with a meaning."""
        listed = (self.originals.list,) if self.originals else ()
        data = (self.snapshot,) if self.snapshot else ()
        return self.wheel, self.requirements, self.release_json, *data, *self.configuration, *listed
