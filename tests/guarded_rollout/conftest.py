"""Shared by the tests of the guard."""

from collections.abc import Iterator

import pytest

from tests.guarded_rollout import sandbox as sandboxes
from tests.guarded_rollout.sandbox import Sandbox


@pytest.fixture(scope="session", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """What one test has built no other builds again, whichever worker it runs on."""
    folder = tmp_path_factory.getbasetemp()
    sandboxes.BUILT = (folder if worker_id == "master" else folder.parent) / "built"


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
    _project.take_back()
