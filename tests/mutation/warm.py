"""`python -m tests.mutation.warm SOCKET MODULE ARGUMENT…`: runs pytest with these whenever somebody connects.

In a fork of a process that has imported whatever does without the module that is changed, and the quickest
tests first: a mutant then costs some tests, and not the start of pytest. Answers with one byte, the exit
code; a run that never ends is killed.
"""

import contextlib
import gc
import importlib
import json
import math
import os
import signal
import socket
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30.0  # for the tests of one mutant, at least
SLOWER = 4  # so many times as long as without a change: what lives runs them all, and must not be ended
POLL_SECONDS = 0.005
TOO_LONG = 124

ASK = """\
import socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(sys.argv[1])
sys.exit((asked.recv(1) or b"\\1")[0])
"""
"""A program that asks at a socket for one run, and ends with its exit code."""


@dataclass
class Times:
    """Of each test, as pytest's plugin: those that took less come first."""

    seconds: dict[str, float] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))


def serve(address: str, changed: str, arguments: list[str]) -> None:
    """Run the tests to see what they import, and then how long each takes; then once for each connection."""
    learned, asker = Path(f"{address}.json"), os.getppid()
    _run(arguments, Times(), learned)
    _import(json.loads(learned.read_text())["modules"], changed)
    began = time.monotonic()
    if (code := _run(arguments, Times(), learned)) != 0:
        raise SystemExit(code)
    seconds = max(SECONDS, SLOWER * (time.monotonic() - began))
    times = Times(json.loads(learned.read_text())["seconds"])
    sys.dont_write_bytecode = True  # a mutant may be as old and as long as the one before
    gc.freeze()  # pytest collects garbage twice a run
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(1)
        while os.getppid() == asker:  # whoever started this may have been killed
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.send(bytes([_run(arguments, times, seconds=seconds)]))


def _run(
    arguments: list[str], times: Times, learned: Path | None = None, *, seconds: float = math.inf
) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 1
        try:
            code = int(pytest.main(arguments, plugins=[times]))
            if learned is not None:
                learned.write_text(json.dumps({"modules": _imported(), "seconds": times.seconds}))
        finally:
            sys.stdout.flush()
            os._exit(code)
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return abs(os.waitstatus_to_exitcode(status))
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TOO_LONG
        time.sleep(POLL_SECONDS)


def _imported() -> list[str]:
    """The modules that were imported, but for the tests, of which pytest rewrites what they assert."""
    tests, found = os.path.join(os.getcwd(), "tests", ""), []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not file.startswith(tests) and getattr(module, "__spec__", None) and name in sys.modules:
            found.append(name)
    return found


def _import(names: list[str], changed: str) -> None:
    """Import all of these that do without the module that is changed: none can be imported meanwhile."""
    modules: dict[str, Any] = sys.modules
    modules[changed] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    del modules[changed]


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:])
