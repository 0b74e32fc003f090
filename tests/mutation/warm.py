"""`python -m tests.mutation.warm SOCKET ARGUMENT…`: runs pytest with these whenever somebody connects.

In a fork of a process that has imported everything that is not ours: a mutant then costs its tests, and not
the start of pytest. Answers with one byte, the exit code; a run that never ends is killed.
"""

import importlib
import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

SECONDS = 30.0  # for the tests of one mutant
POLL_SECONDS = 0.005
TOO_LONG = 124

ASK = """\
import socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(sys.argv[1])
sys.exit((asked.recv(1) or b"\\1")[0])
"""
"""A program that asks at a socket for one run, and ends with its exit code."""


def serve(address: str, arguments: list[str]) -> None:
    """Run the tests once to see what they import; then, imported, once for each connection."""
    names, asker = Path(f"{address}.modules"), os.getppid()
    if (code := _run(arguments, names)) != 0:
        raise SystemExit(code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names.read_text().split():
            importlib.import_module(name)
    sys.dont_write_bytecode = True  # a mutant may be as old and as long as the one before
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
                connection.send(bytes([_run(arguments)]))


def _run(arguments: list[str], names: Path | None = None) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 1
        try:
            import pytest

            code = int(pytest.main(arguments))
            if names is not None:
                names.write_text("\n".join(_foreign()))
        finally:
            sys.stdout.flush()
            os._exit(code)
    until = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return abs(os.waitstatus_to_exitcode(status))
        if time.monotonic() > until and names is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TOO_LONG
        time.sleep(POLL_SECONDS)


def _foreign() -> list[str]:
    """The modules that were imported from elsewhere than the working directory."""
    here, found = os.getcwd() + os.sep, []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not file.startswith(here) and getattr(module, "__spec__", None) and name in sys.modules:
            found.append(name)
    return found


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
