"""Runs one of the collection's playbooks, and yields what it reports. Ansible is a program, no library."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from guarded_rollout.errors import NoFleetEngineError

COLLECTION = Path(__file__).with_name("collection")
PR_SET_PDEATHSIG = 1
Event = dict[str, Any]
"""What the callback plugin tells: `event`, mostly `host`, and what belongs to it."""
LITERAL = "__ansible_unsafe"
"""Ansible's mark, in JSON, of text that is no template."""


def literal(value: Any) -> Any:
    """Return a variable of a play with every text in it marked as one: hosts' words and operators' reasons
    would run as templates on the controller."""
    match value:
        case str():
            return {LITERAL: value}
        case Mapping():
            return {name: literal(one) for name, one in value.items()}
        case list() | tuple():
            return [literal(one) for one in value]
        case _:
            return value


def ansible() -> str:
    """Return the path of ansible-playbook, of this environment first. Raises `NoFleetEngineError`."""
    own = Path(sys.executable).with_name("ansible-playbook")
    found = str(own) if own.exists() else shutil.which("ansible-playbook")
    if found is None:
        raise NoFleetEngineError()
    return found


def variables_of_ansible(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a play: the operator's, with what makes Ansible report to us."""
    ours = {
        "ANSIBLE_STDOUT_CALLBACK": "rollout_events",
        "ANSIBLE_CALLBACK_PLUGINS": str(COLLECTION / "plugins" / "callback"),
        "ANSIBLE_ROLES_PATH": str(COLLECTION / "roles"),
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",  # a group without hosts: we say so in words of our own
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "PYTHONUNBUFFERED": "1",
    }
    usual = {"ANSIBLE_PIPELINING": "true", "ANSIBLE_FORKS": "25"}
    return {**usual, **given, **ours}


def run(playbook: str, inventory: Path, variables: Mapping[str, object], log: IO[str]) -> Iterator[Event]:
    """Yield a play's events, and at last `{"event": "end", "code": …, "words": …}`.

    The play ends when this process does, however that dies: nobody would write down what it does. What runs
    on a host by then runs on, and is met there by whoever comes next.
    """
    with _written(variables) as file, tempfile.TemporaryFile("w+") as errors:
        words = [ansible(), "-i", str(inventory), "-e", f"@{file}", str(COLLECTION / "playbooks" / playbook)]
        process = subprocess.Popen(
            words,
            env=variables_of_ansible(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=_die_with_parent,
        )
        try:
            yield from _events(process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait()
        errors.seek(0)
        said = errors.read()
        log.write(said)
        yield {"event": "end", "code": process.returncode, "words": said.strip()[-2000:]}


def _events(process: "subprocess.Popen[str]", log: IO[str]) -> Iterator[Event]:
    assert process.stdout is not None
    for line in process.stdout:
        log.write(line)
        log.flush()
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "event" in found:
                yield found


@contextmanager
def _written(variables: Mapping[str, object]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:  # readable by this user alone
        path = Path(folder) / "variables.json"
        path.write_text(json.dumps(variables))
        yield path


def _die_with_parent() -> None:
    """Have the kernel end the play with this process, also after kill -9 (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
