"""systemd units of a project: written from the shipped templates, so that a reboot brings everything back."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from guarded_rollout.config.environments import SETTINGS_FILE
from guarded_rollout.errors import SystemdError, UnitTakenError
from guarded_rollout.files import write_atomic

FOLDER, USER, PROGRAM = "/srv/service", "service", "/srv/service/.venv/bin/rollout"
"""What the templates name, for this project's own values to take the place of."""
NEEDS_ROOT = (
    "User=", "ProtectSystem=", "Private", "ProtectClock=", "ProtectHostname=", "ProtectKernel",
    "ProtectControlGroups=", "CapabilityBoundingSet=",
)  # fmt: skip
"""Directives that a user's own manager cannot follow."""
PRIVILEGED = 1024  # ports below need a capability
SERVICES = ("rollout", "rollout-notify")
TIMERS = ("rollout-backup", "rollout-logs", "rollout-weekly", "rollout-monthly")


@dataclass(frozen=True, slots=True)
class Installation:
    """The units of one project: for the system, to run as `user`, or for this user's own manager."""

    project: Path
    program: Path
    user: str
    system: bool
    port: int = 0
    name: str = "the service"
    settings: str = SETTINGS_FILE  # the name of rollout.toml, in the project's folder

    @property
    def folder(self) -> Path:
        """The folder that systemd reads units from."""
        if self.system:
            return Path("/etc/systemd/system")
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"

    def units(self) -> dict[str, str]:
        """Return each unit's text by its name. Pure but for reading the templates."""
        shipped = files("guarded_rollout.operations") / "units"
        return {unit.name: self._filled(unit.read_text()) for unit in shipped.iterdir() if "@." in unit.name}

    def write(self, *, replace: bool = False) -> list[Path]:
        """Write the units that are missing or older; returns them.

        Raises `UnitTakenError` for one that is another project's, unless it is to be replaced.
        """
        written = []
        for name, text in sorted(self.units().items()):
            path = self.folder / name
            known = path.read_text() if path.exists() else ""
            ours = f"WorkingDirectory={_plain(self.project)}\n" in known or not name.endswith(".service")
            if known and not ours and not replace:
                raise UnitTakenError(path=path)
            if known != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, text)
                written.append(path)
        return written

    def commands(self, environment: str, *, serves: bool) -> Iterator[list[str]]:
        """Yield what makes systemd know the units, start the timers now and the services at boot."""
        systemctl = ["systemctl", *([] if self.system else ["--user"])]
        yield [*systemctl, "daemon-reload"]
        yield [*systemctl, "enable", "--now", *(f"{name}@{environment}.timer" for name in TIMERS)]
        now = ["--now"] if serves else []
        yield [*systemctl, "enable", *now, *(f"{name}@{environment}.service" for name in SERVICES)]
        if not self.system:
            yield ["loginctl", "enable-linger", self.user]  # or it starts when this user logs in

    def _filled(self, text: str) -> str:
        text = text.replace("the service (%i)", f"{self.name} (%i)")
        text = text.replace(PROGRAM, _word(self.program)).replace(f"file://{FOLDER}", _uri(self.project))
        lines = text.replace(FOLDER, _plain(self.project)).splitlines()
        if not self.system:
            lines = [line for line in lines if not line.startswith(NEEDS_ROOT)]
        changed = {f"User={USER}": f"User={self.user}"}
        if self.settings != SETTINGS_FILE:
            here = f"WorkingDirectory={_plain(self.project)}"
            changed[here] = f'{here}\nEnvironment="ROLLOUT_TOML={_plain(self.project / self.settings)}"'
        if not self.system:
            changed["WantedBy=multi-user.target"] = "WantedBy=default.target"
        elif 0 < self.port < PRIVILEGED:
            capability = "CAP_NET_BIND_SERVICE"
            changed["CapabilityBoundingSet="] = (
                f"CapabilityBoundingSet={capability}\nAmbientCapabilities={capability}"
            )
        return "\n".join(changed.get(line, line) for line in lines) + "\n"


def _plain(path: Path) -> str:
    """A path as a setting has it that takes one: systemd fills in `%`."""
    return str(path).replace("%", "%%")


def _word(path: Path) -> str:
    """A path as one word of a command (systemd.service(5)); systemd takes none that has quotes itself."""
    text = _plain(path)
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else f'"{text}"'


def _uri(path: Path) -> str:
    return path.as_uri().replace("%", "%%")


def owner_of(project: Path) -> str:
    """Return the name of the user that a project's folder belongs to, its number where it has none."""
    number = project.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def run(command: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Run one of systemd's commands. Raises `SystemdError` with its own words."""
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise SystemdError(command=" ".join(command), problem=f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
        raise SystemdError(command=" ".join(command), problem=said)
