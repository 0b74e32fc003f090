"""`python -m bench.fill URL ROWS`: a store with that many images of random fingerprints, for measuring."""

import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dhash_service.facts import Algorithm, Sha256, image_id
from dhash_service.store.engine import writing
from dhash_service.store.store import Store
from dhash_service.store.tables import fingerprints, images

CHUNK = 20_000

Row = dict[str, Any]


def rows(count: int, algorithm: Algorithm, seed: int = 0) -> Iterator[tuple[list[Row], list[Row]]]:
    """Rows of images and of their fingerprints, in chunks. The same seed gives the same rows."""
    random = np.random.default_rng(seed)
    stamp = {"release": "fill", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    for start in range(0, count, CHUNK):
        values = random.integers(0, 2**64, min(CHUNK, count - start), dtype=np.uint64).tolist()
        digests = [
            Sha256(hashlib.sha256(f"{seed}/{start + n}".encode()).hexdigest()) for n in range(len(values))
        ]
        ids = [image_id(digest) for digest in digests]
        shape = {"format": "JPEG", "size": 500_000, "width": 1632, "height": 1224}
        yield (
            [{"id": id, "sha256": digest} | shape | stamp for id, digest in zip(ids, digests, strict=True)],
            [
                {
                    "image_id": id,
                    "algorithm": algorithm.name,
                    "algorithm_version": algorithm.version,
                    "value": value,
                    "quality": 1.0,
                    "reasons": (),
                    "repeats": False,
                }
                | stamp
                for id, value in zip(ids, values, strict=True)
            ],
        )


def fill(url: str, count: int) -> None:
    """Make the store at `url` and add the rows, passing by what makes single writes safe and slow."""
    with Store.open(url, release="fill", algorithm=None, migrate=True) as store:
        for image_rows, fingerprint_rows in rows(count, store.algorithm):
            with writing(store.engine) as connection:
                connection.execute(images.insert(), image_rows)
                connection.execute(fingerprints.insert(), fingerprint_rows)


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]))
