"""A monitor that the supervisor keeps running while a window is open."""

import os
import sys
from pathlib import Path

from guarded_rollout.host.processes import WATCHER, Spec
from guarded_rollout.host.site import Site
from guarded_rollout.host.variables import base_variables

SUPERVISED = "ROLLOUT_SUPERVISED"


def start_watching(site: Site, settings: Path, *, stand_by: bool = False) -> None:
    """Leave a monitor with the supervisor, or one that only alerts when nobody else watches."""
    site.processes.stop(WATCHER)
    words = ["monitor", "--env", site.environment.name, *(["--stand-by"] if stand_by else [])]
    site.processes.start(
        WATCHER,
        Spec(
            command=[sys.executable, "-m", "guarded_rollout.cli", *words],
            environment=base_variables() | {"ROLLOUT_TOML": str(settings), SUPERVISED: "1"},
            folder=str(site.environment.project),
            drain_seconds=60,
        ),
    )


def stop_watching(site: Site) -> None:
    """Take the monitor away, before something is done to what it watches."""
    site.processes.stop(WATCHER)


def supervised() -> bool:
    """Return True if the supervisor started this process: it takes any code but 0 for a crash."""
    return SUPERVISED in os.environ
