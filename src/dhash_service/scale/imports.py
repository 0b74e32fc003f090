"""Parquet that `dhash index --out` wrote, into a store: in bulk, a file's rows at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as arrow

from dhash_service.banks import SHA256, BankMatcher, require_admitted
from dhash_service.errors import PlaceError, RefusedByBankError, StoreAlgorithmError
from dhash_service.facts import Algorithm, Fingerprint, Picture, Sha256, Source
from dhash_service.files import printable
from dhash_service.pictures.fingerprint import ALGORITHMS
from dhash_service.scale.items import Item
from dhash_service.scale.parts import SCHEMA, batches
from dhash_service.store.loading import Load, Loaded
from dhash_service.store.sightings import LONGEST_SOURCE
from dhash_service.store.store import Store

MADE = "Give what `dhash index --out` wrote."
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
NEEDED = ("name", "sha256", "hash", "quality", "reasons", "format", "width", "height", "size", "algorithm")


@dataclass(frozen=True, slots=True)
class Imports:
    """An import so far, in rows: `bad` are those of files that could not be read."""

    rows: int = 0
    bad: int = 0
    load: Load = field(default_factory=Load)


def algorithm_at(url: str) -> Algorithm | None:
    """The algorithm of the fingerprints at a URL; None where there is none among the first rows.

    Raises `PlaceError`, `StoreAlgorithmError`.
    """
    for batch in islice(batches(url), 1):
        for row in rows_of(url, batch):
            return algorithm_of(row["algorithm"])
    return None


def algorithm_of(said: str) -> Algorithm:
    """The algorithm that a row names. Raises `StoreAlgorithmError` for one that this release has not."""
    name, _, version = said.rpartition("/")
    algorithm = ALGORITHMS.get(name)
    if algorithm is None or str(algorithm.version) != version:
        raise StoreAlgorithmError(
            f"The fingerprints are of {said!r}, which this release does not make.",
            "Make them with this release.",
        )
    return algorithm


def import_all(url: str, store: Store) -> Iterator[Imports]:
    """Load all rows at or below a URL; yields when a batch of them is in the store for good.

    Rows of pictures that a bank refuses are left out.
    Raises `PlaceError`, `StoreAlgorithmError`, `StoreError`.
    """
    so_far = Imports()
    banks = BankMatcher(store.banks, store.algorithm.name)
    for batch in batches(url):
        rows = list(rows_of(url, batch))
        wanted = [loaded(row, store.algorithm) for row in rows]
        admitted = [each for each in wanted if _is_admitted(each.picture, banks)]
        load = store.loader.load(admitted).result() + Load(refused=len(wanted) - len(admitted))
        so_far = Imports(so_far.rows + len(batch), so_far.bad + len(batch) - len(rows), so_far.load + load)
        yield so_far


def rows_of(url: str, batch: Any) -> list[dict[str, Any]]:
    """The rows that have a fingerprint. Raises `PlaceError` for those of another making."""
    rows = [row for row in conformed(url, batch).to_pylist() if row["hash"] is not None]
    for row in rows:
        if problem := problem_of(row):
            raise PlaceError(f"{url}: {row['name']} {problem}.", MADE)
    return rows


def conformed(url: str, batch: Any) -> Any:
    """The batch with our types. Raises `PlaceError` where it has others that do not hold the same.

    A hash has to be unsigned already: an engine that has no such type rounds it, or gives it a sign.
    """
    if missing := [name for name in NEEDED if name not in batch.schema.names]:
        raise PlaceError(f"{url}: there is no column {missing[0]}.", MADE)
    if twice := [name for name in SCHEMA.names if batch.schema.names.count(name) > 1]:
        raise PlaceError(f"{url}: there are several columns {twice[0]}.", MADE)
    given, wanted = (schema.field("hash").type for schema in (batch.schema, SCHEMA))
    if given != wanted:
        raise PlaceError(f"{url}: its hashes are of the type {given}, not {wanted}.", MADE)
    known = [name for name in SCHEMA.names if name in batch.schema.names]
    try:
        cast = batch.select(known).cast(arrow.schema([SCHEMA.field(name) for name in known]))
        cast.validate(full=True)  # whatever a file says is a text is taken for UTF-8
        return cast
    except arrow.ArrowException as error:
        raise PlaceError(f"{url}: {str(error).rstrip('.')}.", MADE) from None


def problem_of(row: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a row that has a fingerprint; None if nothing is."""
    if not DIGEST.fullmatch(row["sha256"] or ""):
        return "has no SHA-256"
    if lacking := [name for name in ("name", "quality", "format", "algorithm") if row[name] is None]:
        return f"has no {lacking[0]}"
    if any(text is None or not text.isprintable() for text in (row["format"], *(row["reasons"] or ()))):
        return "has a format or a reason that is not plain text"
    if not 0 <= row["quality"] <= 1:
        return f"has a quality of {row['quality']:g}, which is from 0 to 1"
    if low := [name for name in ("width", "height", "size") if (row[name] or 0) < 1]:
        return f"has no {low[0]}"
    if row.get("document") is not None and not (DIGEST.fullmatch(row["document"]) and (row["page"] or 0) > 0):
        return "does not say on which page of which document it is"
    return None


def loaded(row: dict[str, Any], algorithm: Algorithm) -> Loaded:
    """What a row says. Raises `StoreAlgorithmError` where it is of another algorithm."""
    if algorithm_of(row["algorithm"]) != algorithm:
        raise StoreAlgorithmError(
            f"{row['name']} is of {row['algorithm']}; the store holds {algorithm.name}/{algorithm.version}."
        )
    value, quality, reasons = int(row["hash"]), float(row["quality"]), tuple(row["reasons"] or ())
    fingerprint = Fingerprint(value, algorithm, quality, reasons, row["width"], row["height"])
    picture = Picture(Sha256(row["sha256"]), row["format"], row["size"], fingerprint, None)
    document = row.get("document")
    source = Source(Sha256(document), row["page"], (0.0, 0.0, 0.0, 0.0)) if document else None
    words = printable(row["name"])[-LONGEST_SOURCE:]
    return Loaded(picture, replace(Item(words).label(), source=words), source)


def _is_admitted(picture: Picture, banks: BankMatcher) -> bool:
    found = banks.matches(picture.fingerprint.value, {SHA256: str(picture.sha256)}, datetime.now(UTC))
    try:
        require_admitted(found)
    except RefusedByBankError:
        return False
    return True
