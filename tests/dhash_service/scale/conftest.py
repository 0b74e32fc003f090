"""A real object store for collections, and a few pictures under many keys."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarded_rollout.storage import KEY, SECRET, s3_server
from tests.pictures import jpeg


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The environment of whoever asks an object store that is empty at first; this process has it too."""
    with tempfile.TemporaryDirectory(prefix="dhash-s3-") as folder, s3_server(Path(folder, "s3")) as place:
        env = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": place.endpoint,
            "AWS_REGION": "us-east-1",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            yield env


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """Twenty different pictures."""
    return [jpeg(320, 240, seed) for seed in range(20)]


@pytest.fixture
def bucket(s3: dict[str, str]) -> str:
    """The URL of a folder of the test's own. One bucket for all: each takes volumes of the server's."""
    return f"s3://pictures/{uuid.uuid4()}"
