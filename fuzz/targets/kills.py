"""`rollout backup` killed at any moment: never a file that looks like a backup and is none."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st
from tests.guarded_rollout.sandbox import Sandbox

from dhash_service.checks.drawing import picture as draw
from fuzz.engine import Check, Target, require
from guarded_rollout.backup.catalog import find
from guarded_rollout.backup.verify import verify

PICTURES = 300  # submitted beforehand, so that there is something to copy


@contextmanager
def opened() -> Iterator[Check]:
    sandbox = Sandbox()
    try:
        sandbox.deploy()
        public = sandbox.site.public()
        for number in range(PICTURES):
            require(public.ask("POST", "/api/dhash", body=draw(f"{number}")).ok, "a picture is refused")
        begin = time.monotonic()
        require(start(sandbox).wait() == 0, "a backup that nobody disturbs fails")
        seconds = time.monotonic() - begin
        yield lambda moment: check(sandbox, moment / 1000 * seconds)
        require(start(sandbox).wait() == 0, "after all that there can be no backup")
        left = [path.name for path in sandbox.environment.backups.iterdir() if path.name.startswith(".")]
        require(left == [], f"left over: {left}")
    finally:
        sandbox.close()


def start(sandbox: Sandbox) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(sandbox.command("backup"), cwd=sandbox.folder, stdout=quiet, stderr=quiet)


def check(sandbox: Sandbox, seconds: float) -> None:
    """Kill it after so long; whatever has a backup's name then is a whole one."""
    process = start(sandbox)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    require(code in (0, -signal.SIGKILL), f"it ended by itself with {code}")
    folder = sandbox.environment.backups
    named = {path.name for path in folder.glob("dhash_*.zip")}
    for entry in find(folder, "production"):
        verify(entry.path)
        named.discard(entry.path.name)
    require(named == set(), f"archives that are none: {named}")


TARGET = Target("kills", st.integers(0, 1100), opened, (500,))
