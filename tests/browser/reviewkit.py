"""Queues for the review page's tests: pictures to compare, in the store of a real service."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Page

from dhash_service.store.store import Store
from tests.dhash_service.queues import FAST, fill
from tests.dhash_service.serving import Server, serving


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
        about = {id: self.store.verdicts.about(id) for id in self.waiting}
        decided = {id: [each.decision.verdict.value for each in judged] for id, judged in about.items()}
        return {id: verdicts for id, verdicts in decided.items() if verdicts}


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
