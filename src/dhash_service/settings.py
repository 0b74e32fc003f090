"""Settings, from `DHASH_…` environment variables: one field each, with its default and what it does."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dhash_service.errors import SettingError
from dhash_service.pictures.formats import BY_PILLOW, FURTHER, Opening, allowed

STORE_URL = re.compile(r"(sqlite|postgres(ql)?)(\+\w+)?://", re.ASCII)
PASSWORD = re.compile(r"(://[^:@/]*:)[^@/]*(?=@)|([?&]password=)[^&]*")

SOCKET_PATH_BYTES = 107  # sun_path of Linux's sockaddr_un, less the NUL; macOS has 103

REASONS = frozenset({"far_from_certain", "low_quality", "small_margin", "crowded"})
"""The reasons that matching may have to ask a person (see `search.confidence.Reason`)."""

Bytes = Annotated[int, Field(gt=0, le=1 << 40)]
LONGEST = 86_400  # seconds; clocks and timers take no number whatever


def split(names: str) -> list[str]:
    """The names in a list with commas; none for `none`."""
    return [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]


class Settings(BaseSettings):
    """Everything the service can be told. Immutable; `Settings.load()` reads the environment."""

    model_config = SettingsConfigDict(env_prefix="DHASH_", frozen=True, extra="ignore", env_ignore_empty=True)

    release: str = Field("development", description="id of the running release; written into every row")
    store: SecretStr = Field(
        SecretStr("sqlite:///data/dhash.db"), description="URL of the store: sqlite:///PATH or postgresql://…"
    )
    store_direct: SecretStr | None = Field(
        None,
        description="URL of the same PostgreSQL past a pooler in transaction mode, to hear of other replicas'"
        " writes at once; unset: `DHASH_STORE`",
    )
    require_synchronous: bool = Field(
        False, description="start only where a synchronous PostgreSQL standby has what is acknowledged"
    )
    index: Literal["memory", "store"] = Field(
        "memory",
        description="where searches look: in this process's memory, or in PostgreSQL, by the indexes that"
        " `dhash db search-index` makes",
    )
    algorithm: Literal["dhash-64-visual-fast", "dhash-64-visual", "dhash-64-fast", "dhash-64"] | None = Field(
        None,
        description="fingerprint algorithm; a store holds one. Unset: the store's own,"
        " `dhash-64-visual-fast` for a new one",
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(3000, ge=0, le=65535, description="port to listen on")
    uds: Path | None = Field(None, description="unix socket to listen on instead of host and port")
    processes: int = Field(1, ge=1, le=64, description="server processes")
    threads: int = Field(
        0, ge=0, le=1024, description="hashing threads per process; 0: as many as cores, at least 2"
    )
    drain_seconds: int = Field(
        30, ge=0, le=LONGEST, description="after SIGTERM: time for requests in flight to finish"
    )

    keep_originals: bool = Field(False, description="keep every submitted file, content-addressed")
    originals: str = Field(
        "data/originals",
        description="folder for kept originals; or, for several replicas, an object store: `s3://bucket/prefix`",
    )
    samples: Path | None = Field(
        None,
        description="folder that some of the newest submitted files are put into while it exists; "
        "unset: `samples` beside the unix socket",
    )

    keep_thumbnails: bool = Field(True, description="keep a small copy of each picture for its pages")
    backup_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="how long backups are kept: an erasure says until when they hold the picture",
    )
    backup_count: int = Field(0, ge=0, description="newest backups that are kept however old they are")

    max_body_bytes: Bytes = Field(64 * 1024**2, description="largest request body")
    max_bodies_bytes: Bytes = Field(512 * 1024**2, description="memory for all bodies being received")
    body_seconds: int = Field(120, gt=0, le=LONGEST, description="longest time for a body to arrive")
    max_pixels: int = Field(
        100_000_000,
        gt=0,
        le=178_956_970,
        description="largest picture, width × height; Pillow opens no larger",
    )
    formats: str = Field(
        BY_PILLOW,
        description="formats read besides JPEG, PNG, WebP, GIF, BMP and TIFF, with commas between them: also"
        " `heic`, `jxl` and `raw` where their extras are installed; `none`; `all` that are installed",
    )
    take_cut: bool = Field(
        False, description="take a JPEG whose end is missing, with less quality, where half of it is there"
    )
    max_pages: int = Field(1000, gt=0, description="longest PDF")
    max_pictures: int = Field(2000, gt=0, description="most pictures taken from one PDF")
    max_batch: int = Field(100, gt=0, description="most items in one batch")
    max_in_flight: int = Field(
        256, gt=0, description="most requests a server process works on; more answer 503"
    )
    max_in_flight_per_caller: int = Field(64, gt=0, description="the same for one caller; more answer 429")
    document_workers: int = Field(
        2, gt=0, le=1024, description="processes that read PDFs and further formats"
    )
    document_seconds: float = Field(30, gt=0, le=LONGEST, description="longest time for one file in them")
    document_memory_bytes: Bytes = Field(1024**3, description="most memory of one of them")

    match_radius: int = Field(10, ge=0, le=32, description="how many differing bits still make a candidate")
    review_below: float = Field(0.9, ge=0, le=1, description="lookups less confident than this go to review")
    review_reasons: str = Field(
        "far_from_certain,low_quality,small_margin,crowded",
        description="reasons that send a lookup to review, with commas between them; `none`: no reason does",
    )
    lease_seconds: int = Field(
        300, ge=5, le=86_400, description="how long a reviewer has a pair to themselves, unless they go on"
    )
    session_hours: float = Field(12, gt=0, le=720, description="how long a browser stays signed in")
    locked: bool = Field(False, description="reading and submitting need a token too")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    @field_validator("uds")
    @classmethod
    def _short_enough(cls, path: Path | None) -> Path | None:
        if path and len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise ValueError(f"a unix socket's path has at most {SOCKET_PATH_BYTES} bytes")
        return path

    @field_validator("originals", mode="before")
    @classmethod
    def _as_text(cls, where: object) -> object:
        return str(where) if isinstance(where, Path) else where

    @field_validator("review_reasons")
    @classmethod
    def _known_reasons(cls, reasons: str) -> str:
        if unknown := set(split(reasons)) - REASONS:
            raise ValueError(f"{min(unknown)} is none of {', '.join(sorted(REASONS))}")
        return reasons

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, formats: str) -> str:
        for name in split(formats):
            if name == "all":
                continue
            if name not in FURTHER:
                raise ValueError(f"{name} is none of {', '.join(FURTHER)}")
            if not FURTHER[name].installed:
                raise ValueError(
                    f"{name} needs `mobius-dhash[{FURTHER[name].extra}]`, which is not installed"
                )
        return formats

    @property
    def opening(self) -> Opening:
        """The rules for opening a picture."""
        names = split(self.formats)
        wanted = allowed(FURTHER) if "all" in names else allowed(names)
        return Opening(self.max_pixels, wanted, self.take_cut)

    @property
    def queueing(self) -> frozenset[str]:
        """The reasons that send a lookup to review."""
        return frozenset(split(self.review_reasons))

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the environment; `overrides` win. Raises `SettingError` naming the variable."""
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            settings = cls(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            variable = "DHASH_" + "_".join(str(part) for part in first["loc"]).upper()
            raise SettingError(f"{variable}={first['input']!r}: {first['msg']}.") from None
        if not STORE_URL.match(settings.store.get_secret_value()):
            raise SettingError("DHASH_STORE is not a database URL.", "Use sqlite:///PATH or postgresql://…")
        return settings

    @classmethod
    def defaults(cls) -> dict[str, object]:
        """The value of every setting where nothing is set."""
        unset: dict[str, object] = {name: field.get_default() for name, field in cls.model_fields.items()}
        return cls.model_construct(None, **unset).public()

    def public(self) -> dict[str, object]:
        """All settings as JSON values, secrets as `***`."""
        values: dict[str, object] = self.model_dump(mode="json")
        for name in ("store", "store_direct"):
            url: SecretStr | None = getattr(self, name)
            values[name] = PASSWORD.sub(r"\1\2***", url.get_secret_value()) if url else None
        return values
