"""A few pictures under many keys."""

import pytest

from tests.pictures import jpeg


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """Twenty different pictures."""
    return [jpeg(320, 240, seed) for seed in range(20)]
