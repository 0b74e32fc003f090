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
