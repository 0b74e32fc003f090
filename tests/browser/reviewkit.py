"""Queues for the review page's tests: pictures to compare, in the store of a real service."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from PIL import Image as PILImage
from PIL import ImageEnhance
from playwright.sync_api import Page

from dhash_service.facts import Match, Neighbour, Picture, Source, Status
from dhash_service.fingerprint import ALGORITHMS, read_picture
from dhash_service.store import NewImage, Store
from tests.dhash_service.serving import Server, free_port, serving
from tests.pictures import encode, photo

FAST = ALGORITHMS["dhash-64-fast"]


@dataclass
class Desk:
    """A running service, its store (to look into), and the lookups that wait, oldest first."""

    server: Server
    store: Store
    waiting: list[UUID]

    @property
    def url(self) -> str:
        return self.server.url

    def token(self, name: str, role: str = "reviewer") -> str:
        """A fresh token's secret."""
        return self.server.token(name, role)["Authorization"].removeprefix("Bearer ")

    def verdicts(self) -> dict[UUID, list[str]]:
        """What was decided of each lookup, the newest first."""
        decided = {id: [each.verdict.value for each in self.store.decisions(id)] for id in self.waiting}
        return {id: verdicts for id, verdicts in decided.items() if verdicts}


def altered(picture: PILImage.Image, seed: int) -> PILImage.Image:
    """The same scene as another camera might have taken it: cropped, lighter or darker."""
    width, height = picture.size
    left, top = width * (seed % 5) // 60, height * (seed % 3) // 50
    cut = picture.crop((left, top, width - left // 2, height - top // 2))
    return ImageEnhance.Brightness(cut).enhance(0.8 + seed % 7 * 0.07)


def pictures(number: int) -> Iterator[tuple[Picture, Picture]]:
    """Known pictures, each with one to be compared with it. Beyond forty scenes, only their bytes differ."""
    scenes = []
    for seed in range(min(number, 40)):
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


def renamed(sha256: str, index: int) -> str:
    return f"{index:08x}{sha256[8:]}"


def fill(store: Store, number: int, *reasons: str, source: Source | None = None) -> list[UUID]:
    """Queue so many pairs; their lookups in the order they will be shown."""
    new: list[NewImage] = []
    for known, submitted in pictures(number):
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


NEW = Match(Status.NEW, 0.99, (), None, None, 0)


@contextmanager
def desk(folder: Path, number: int, **settings: object) -> Iterator[Desk]:
    """A service with so many pairs waiting."""
    url = f"sqlite:///{folder}/dhash.db"
    with (
        Store.open(url, release="test-1", algorithm=FAST, migrate=True) as store,
        serving(folder, store=url, **settings) as server,
    ):
        yield Desk(server, store, fill(store, number))


def sign_in(page: Page, desk: Desk, token: str, then: str = "/review") -> None:
    """As a reviewer does it."""
    page.goto(f"{desk.url}/sign-in?next={then}")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(re.escape(desk.url + then.partition("?")[0])))


def lookup_shown(page: Page) -> str:
    """Which pair is on the screen."""
    page.wait_for_selector("#pair:not([hidden])")
    return str(page.get_attribute("#pair", "data-lookup"))


__all__ = ["Desk", "desk", "fill", "free_port", "io", "lookup_shown", "sign_in"]
