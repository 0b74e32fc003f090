"""Review queues for tests: real pictures to compare, put into a store as an earlier submit would have."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

from PIL import Image as PILImage
from PIL import ImageEnhance

from dhash_service.facts import Match, Neighbour, Picture, Sha256, Source, Status
from dhash_service.pictures.fingerprint import ALGORITHMS, read_picture
from dhash_service.store.recorder import NewImage
from dhash_service.store.store import Store
from tests.pictures import encode, photo

FAST = ALGORITHMS["dhash-64-fast"]
NEW = Match(Status.NEW, 0.99, (), None, None, 0)
SCENES = 40


def altered(picture: PILImage.Image, seed: int) -> PILImage.Image:
    """The same scene as another camera might have taken it: cropped, lighter or darker."""
    width, height = picture.size
    left, top = width * (seed % 5) // 60, height * (seed % 3) // 50
    cut = picture.crop((left, top, width - left // 2, height - top // 2))
    return ImageEnhance.Brightness(cut).enhance(0.8 + seed % 7 * 0.07)


def pictures(number: int, first: int = 0) -> Iterator[tuple[Picture, Picture]]:
    """Known pictures, each with one to be compared with it. Beyond `SCENES`, only their bytes differ."""
    scenes = []
    for seed in range(first, first + min(number, SCENES)):
        width, height = ((480, 320), (320, 480), (400, 400))[seed % 3]
        scene = photo(width, height, seed)
        scenes.append(
            [read_picture(encode(each, "JPEG", quality=80), FAST) for each in (scene, altered(scene, seed))]
        )
    for index in range(number):
        known, submitted = scenes[index % len(scenes)]
        if index >= len(scenes):
            submitted = replace(submitted, sha256=renamed(submitted.sha256, index))
        yield known, submitted


def renamed(sha256: Sha256, index: int) -> Sha256:
    """Another file's digest."""
    return Sha256(f"{index:08x}{sha256[8:]}")


def fill(
    store: Store, number: int, *reasons: str, source: Source | None = None, first: int = 0
) -> list[UUID]:
    """Queue so many pairs, from a scene on; their lookups in the order they will be shown."""
    new: list[NewImage] = []
    for known, submitted in pictures(number, first):
        image = store.by_sha256(known.sha256) or store.add_image(known, NEW).result(30).image
        distance = (known.fingerprint.value ^ submitted.fingerprint.value).bit_count()
        match = Match(
            Status.REVIEW,
            0.42,
            reasons or ("small_margin",),
            Neighbour(image, distance),
            distance + 1,
            number,
        )
        new.append(NewImage(submitted, match, source))
    lookups = [future.result(60).lookup for future in store.add_images(new)]
    return sorted(lookup for lookup in lookups if lookup)
