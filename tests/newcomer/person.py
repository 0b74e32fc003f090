"""A user of this machine who has just been made: no groups, no settings, nobody's home but their own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

PASSED_ON = ("PIP_", "UV_", "SSL_", "NODE_EXTRA_")
"""How this machine reaches package indexes; nothing else of this shell reaches the newcomer."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 900


class UnexpectedError(Exception):
    """Something did not go as the documents say."""


class Person:
    """Types commands, one after the other, and reads what they print."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name

    def run(self, command: str, folder: Path, *, ends_with: int | None = 0) -> str:
        """Type a command; what it printed. Raises `UnexpectedError` for another exit code (None: any)."""
        print(f"    $ {command}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [*self._as_them(), "bash", "-c", f"cd {folder} && {command}"],
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        print(f"      {done.returncode} after {time.monotonic() - began:.1f} s", flush=True)
        if ends_with is not None and done.returncode != ends_with:
            raise UnexpectedError(
                f"{command}\nended with {done.returncode} instead of {ends_with}:\n{done.stdout}"
            )
        return done.stdout

    def write(self, path: Path, text: str) -> None:
        """Edit a file of theirs."""
        path.write_text(text)
        shutil.chown(path, self.name)

    def _as_them(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return [
            "setpriv",
            f"--reuid={self.name}",
            f"--regid={self.name}",
            "--clear-groups",
            "--inh-caps=-all",
        ]

    def _variables(self) -> dict[str, str]:
        network = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(PASSED_ON) or name.lower().endswith("_proxy")
        }
        who = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": PATH,
            "LANG": "C.UTF-8",
        }
        return network | who | {"COLUMNS": "160"}


@contextlib.contextmanager
def newcomer() -> Iterator[Person]:
    """A new user with an empty home, as root; otherwise whoever runs this. Nothing of either stays."""
    home = Path(tempfile.mkdtemp(prefix="nc-", dir="/tmp"))  # short: there are unix sockets below
    name = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        name = f"newcomer{os.getpid()}"
        made = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(home), name]
        subprocess.run(made, check=True)
        shutil.chown(home, name, name)
    try:
        yield Person(home, name)
    finally:
        _end_what_works_in(home)
        for inside, _, _ in os.walk(home):
            os.chmod(inside, 0o755)  # releases are read-only
        shutil.rmtree(home, ignore_errors=True)
        if os.geteuid() == 0:
            subprocess.run(["userdel", name], check=True, capture_output=True)


def _end_what_works_in(folder: Path) -> None:
    for _ in range(3):  # a supervisor may just have started another
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(folder) in word for word in (process.cwd(), *process.cmdline())):
                    process.send_signal(signal.SIGKILL)
