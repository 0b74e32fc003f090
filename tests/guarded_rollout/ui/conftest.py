"""A place and its dashboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded_rollout.clock import SystemClock
from tests.guarded_rollout.ui.uikit import Place, Site


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty project whose time is the machine's."""
    made = Place(tmp_path, SystemClock())
    yield made
    made.close()


@pytest.fixture
def site(place: Place) -> Site:
    return Site(place)
