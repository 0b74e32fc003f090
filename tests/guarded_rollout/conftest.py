"""Shared by the tests of the guard."""

from collections.abc import Iterator

import pytest

from tests.guarded_rollout.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A project with the sample service, and everything that it starts stopped afterwards."""
    made = Sandbox()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def _project() -> Iterator[Sandbox]:
    made = Sandbox(None)
    made.open_metrics()
    try:
        made.deploy()
        yield made
    finally:
        made.close()


@pytest.fixture
def dhash(_project: Sandbox) -> Iterator[Sandbox]:
    """The real service, rolled out once; what a test does to its source is mended afterwards."""
    _project.configure()
    yield _project
    _project.restore_source()
