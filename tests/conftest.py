"""Shared by all tests."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.leftovers import end_leftovers

# A property says nothing of how fast this machine is: by itself an example that takes 0.2 s fails.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A shell without job control has what it runs in the background ignore Ctrl-C, and whatever the tests start
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
SYSTEM = {
    "guarded_rollout/test_backup_commands.py",
    "guarded_rollout/test_commands.py",
    "guarded_rollout/test_export_live.py",
    "guarded_rollout/test_faulty_releases.py",
    "guarded_rollout/test_monitor_rollout.py",
    "guarded_rollout/test_one_witness.py",
    "guarded_rollout/test_postgres_rollout.py",
    "guarded_rollout/test_real_service.py",
    "guarded_rollout/test_restore.py",
    "guarded_rollout/test_restore_by_hand.py",
    "guarded_rollout/test_rollback.py",
    "guarded_rollout/test_rollout.py",
    "guarded_rollout/test_under_load.py",
    "guarded_rollout/test_watching.py",
    "dhash_service/test_crash.py",
}
"""Files whose tests are the system lane's if they have a machine; elsewhere a test is marked by itself."""

WHOLLY_SYSTEM = ("browser/", "dhash_service/api/test_openapi_deeply.py")

PROCESSES = {"sandbox", "dhash", "page", "serving"}
MACHINES = PROCESSES | {"served", "stack", "watched", "store_url"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the fast lane the import of what it would leave out."""
    if config.option.markexpr != "not system" or not collection_path.is_relative_to(HERE):
        return None
    name = collection_path.relative_to(HERE).as_posix() + "/" * collection_path.is_dir()
    return name.startswith(WHOLLY_SYSTEM) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the system lane, and begin with what takes longest, so that no worker ends alone."""
    for item in items:
        name = item.path.relative_to(HERE).as_posix()
        fixtures = set(getattr(item, "fixturenames", ()))
        if (name in SYSTEM and MACHINES & fixtures) or name.startswith(WHOLLY_SYSTEM):
            item.add_marker("system")
    items.sort(key=_precedence)


def _precedence(item: pytest.Item) -> int:
    """Tests that set their own limit of time first, then those with processes of their own."""
    if item.get_closest_marker("timeout"):
        return 0
    return 1 if PROCESSES & set(getattr(item, "fixturenames", ())) else 2


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what a worker that was interrupted has left running; the one that started the workers does."""
    if not hasattr(config, "workerinput"):
        end_leftovers(os.getpid())
