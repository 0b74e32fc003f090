"""Every pair of fingerprints within a radius, exactly, by joins that spill to disk (DuckDB).

Cut into radius + m bands, two fingerprints within the radius agree in m bands at least. So each choice of m
bands is a join on those bits, and what the joins find is compared bit by bit. `m` is chosen for the number of
fingerprints: more bands make more joins with fewer chance meetings in each.
"""

import tempfile
from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dhash_service.errors import NotInstalledError, UnreadableFileError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BITS = 64
WIDEST = 8
"""The largest radius: beyond, most of what the joins would find is chance."""

MEMORY_BYTES = 512 * 1024**2
"""Memory that DuckDB takes before it spills to disk."""

JOIN_ROW, MEETING = 230.0, 57.0
"""Nanoseconds that a join takes per row, and to compare two rows that meet (measured at 1M rows)."""

ROUNDED = {"FLOAT", "DOUBLE"}
"""DuckDB's types that hold not every hash: an engine without unsigned numbers may have made these of them."""

Places = NDArray[np.int64]
Values = NDArray[np.uint64]


def near_pairs(
    values: Values, radius: int, *, memory: int = MEMORY_BYTES, folder: Path | None = None
) -> tuple[Places, Places]:
    """The places i < j of all pairs of distinct values (uint64[N], ascending) within `radius` bits (0 to 8).

    Spills to `folder` (by default the system's for temporary files). Raises `NotInstalledError`.
    """
    if radius == 0 or len(values) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    with tempfile.TemporaryDirectory(prefix="dhash-pairs-", dir=folder) as spill:
        connection = connect(memory, Path(spill))
        try:
            given = {"place": np.arange(len(values), dtype=np.uint32), "value": values}
            connection.execute("CREATE TABLE known AS SELECT * FROM given")
            del given
            connection.execute("CREATE TABLE pairs (a UINTEGER, b UINTEGER)")
            for mask in join_masks(radius, len(values)):
                connection.execute(
                    "INSERT INTO pairs SELECT a.place, b.place FROM known a JOIN known b"
                    f" ON (a.value & {mask}::UBIGINT) = (b.value & {mask}::UBIGINT) AND a.place < b.place"
                    f" WHERE bit_count(xor(a.value, b.value)) <= {radius}"
                )
            found = connection.execute("SELECT DISTINCT a, b FROM pairs ORDER BY a, b").fetchnumpy()
        finally:
            connection.close()
    return np.asarray(found["a"], np.int64), np.asarray(found["b"], np.int64)


def connect(memory: int, spill: Path) -> "DuckDBPyConnection":
    """A database in memory, with a limit. Raises `NotInstalledError`."""
    try:
        import duckdb
    except ModuleNotFoundError:
        raise NotInstalledError("Duplicates need DuckDB.", "Install `mobius-dhash[duplicates]`.") from None
    connection = duckdb.connect(
        config={"memory_limit": f"{memory // 1024**2}MiB", "temp_directory": str(spill)}
    )
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_progress_bar = false")  # it would go to standard output
    return connection


def read_parquet(path: Path) -> tuple[list[str], Values]:
    """The ids and fingerprints in a file, or all files below a folder, with the columns `id` (or `name`) and
    `hash` (16 hex digits, or a number); rows without a hash are passed over.

    Raises `NotInstalledError`, `UnreadableFileError`.
    """
    with tempfile.TemporaryDirectory(prefix="dhash-pairs-") as spill:
        connection = connect(MEMORY_BYTES, Path(spill))
        try:
            files = str(path / "**" / "*.parquet") if path.is_dir() else str(path)
            known = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [files]).description or ()
            types = {column[0]: str(column[1]) for column in known}
            if types.get("hash") in ROUNDED:
                raise ValueError(f"its hashes are of the type {types['hash']}, which rounds them")
            name = "id" if "id" in types else "name"
            found = connection.execute(
                f"SELECT {name}::VARCHAR AS id, CASE WHEN typeof(hash) = 'VARCHAR'"
                " THEN ('0x' || hash::VARCHAR)::UBIGINT ELSE hash::VARCHAR::UBIGINT END AS value"
                " FROM read_parquet(?) WHERE hash IS NOT NULL",
                [files],
            ).fetchnumpy()
        except Exception as error:  # whatever DuckDB finds wrong with the file
            raise UnreadableFileError(
                f"{path}: {str(error).splitlines()[0]}.", "Give a Parquet file with hashes as whole numbers."
            ) from None
        finally:
            connection.close()
    return [str(id) for id in found["id"]], np.asarray(found["value"], np.uint64)


def join_masks(radius: int, count: int) -> Iterator[int]:
    """For each join, the bits that it joins on."""
    shared = min(range(1, 5), key=lambda shared: cost(radius, shared, count))
    bands = radius + shared
    edges = [BITS * number // bands for number in range(bands + 1)]
    masks = [(1 << end) - (1 << start) for start, end in pairwise(edges)]
    return (sum(chosen) for chosen in combinations(masks, shared))


def cost(radius: int, shared: int, count: int) -> float:
    """Nanoseconds that the joins take among random values, of which each join needs `shared` bands equal."""
    bands = radius + shared
    meetings = count**2 / 2.0 ** (1 + BITS * shared // bands)
    return float(comb(bands, shared)) * (count * JOIN_ROW + meetings * MEETING)


def components(count: int, one: Places, other: Places) -> Places:
    """For each of `count` places, the least place that pairs connect it with, over any number of steps."""
    least = np.arange(count)
    while len(one):
        low = np.minimum(least[one], least[other])
        before = least.copy()
        np.minimum.at(least, least[one], low)
        np.minimum.at(least, least[other], low)
        least = least[least]
        if np.array_equal(before, least):
            break
    return least
