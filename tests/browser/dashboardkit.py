"""`rollout ui` as an operator starts it: on a sandbox with real releases, or on files alone."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.ui.command import Dashboard, dashboard

__all__ = ["Dashboard", "break_release", "dashboard", "picture", "sign_in", "write_gates"]

SERVICE = "src/sample_service/__init__.py"
FAST = {"initial_minutes": 1, "initial_interval_seconds": 0.5, "normal_interval_seconds": 0.5}


def write_gates(sandbox: Sandbox, *, minutes: float = 10, auto: bool = True, **more: Any) -> None:
    """Gates that look twice a second, over a window of some minutes."""
    both = ["alert", "auto_rollback"]
    rate = {"evaluation_window_minutes": 1, "min_sample_size": 20}
    gates = {
        "health": {"threshold": {"consecutive_failures": 2, "check_interval_seconds": 0.5}, "actions": both},
        "extraction_failure_rate": {"threshold": {**rate, "max_failure_percentage": 5}, "actions": both},
        # Alerts alone: of two that may roll back, either could be sure first.
        "client_error_rate": {"threshold": {**rate, "max_error_percentage": 10}, "actions": ["alert"]},
        **more,
    }
    environment = {
        "monitoring": {"window_minutes": minutes, "poll_intervals": FAST, "counter_interval_seconds": 0.5},
        "quality_gates": gates,
        "auto_rollback": {"enabled": auto},
    }
    document = {"environments": {"production": environment}, "global_settings": {"timeout_seconds": 2}}
    (sandbox.folder / "quality-gates-config.json").write_text(json.dumps(document))


def break_release(sandbox: Sandbox, release: str) -> None:
    """From now on this release fails three submits in ten."""
    (sandbox.folder / "broken").write_text(release)


@contextmanager
def monitor(sandbox: Sandbox) -> Iterator[subprocess.Popen[str]]:
    """`rollout monitor` in the foreground of somebody's terminal."""
    process = subprocess.Popen(
        sandbox.command("monitor", "--env", "production"),
        cwd=sandbox.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sign_in(page: Page, running: Dashboard) -> None:
    """By the address that the command printed."""
    page.goto(running.once)
    page.wait_for_url(f"{running.address}/")


def picture(page: Page, name: str) -> None:
    """A look for whoever works on the page: NAME.png in the folder DASHBOARD_PICTURES, if that is set."""
    if folder := os.environ.get("DASHBOARD_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
