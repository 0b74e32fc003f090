"""One real service for the tests of its API; those that need other settings start their own."""

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.dhash_service.serving import Server, serving
from tests.leftovers import owned_folder


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    folder = owned_folder("ap")
    try:
        with serving(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def client(server: Server) -> httpx.Client:
    return server.client


@pytest.fixture(scope="session")
def reviewer(server: Server) -> dict[str, str]:
    """Headers of a reviewer."""
    return server.token("rita", "reviewer")


@pytest.fixture(scope="session")
def admin(server: Server) -> dict[str, str]:
    """Headers of an admin."""
    return server.token("ada", "admin")
