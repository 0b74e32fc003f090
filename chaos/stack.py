"""One project with everything real: configuration, command line, processes, journal. Seen from outside."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from chaos.plan import Target
from chaos.variants import Shop

WINDOW_SECONDS = 8.0
DRAIN_SECONDS = 3
SLOWEST = 5.0
SLOTS = ("blue", "green")
ENDED = "SELECT 1 FROM event WHERE event.rollout = rollout.id AND kind = 'end'"

GATES: dict[str, Any] = {
    "health": {
        "enabled": True,
        "description": "answers",
        "threshold": {"consecutive_failures": 2, "check_interval_seconds": 0.4},
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 5, "actions": ["alert", "auto_rollback"]},
    },
    "extraction_failure_rate": {
        "enabled": True,
        "description": "pictures that failed",
        "threshold": {"max_failure_percentage": 5, "evaluation_window_minutes": 0.05, "min_sample_size": 20},
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 3, "actions": ["alert", "auto_rollback"]},
    },
    "client_error_rate": {
        "enabled": True,
        "description": "what clients saw",
        "source": "proxy",
        "decision": "guarded",
        "threshold": {"max_error_percentage": 10, "evaluation_window_minutes": 0.05, "min_sample_size": 20},
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 30, "actions": ["alert"]},
    },
    "cut_answers": {
        "kind": "ratio",
        "source": "edge",
        "numerator": ["cut_total"],
        "denominator": ["requests_total"],
        "threshold": {"max_percentage": 1, "evaluation_window_minutes": 0.05, "min_sample_size": 20},
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 30, "actions": ["alert"]},
    },
    "server_crashes": {
        "kind": "gauge",
        "source": "crashes",
        "metric": "crashes",
        "unit": "crashes",
        "threshold": {"max_value": 1, "alert_value": 0, "check_interval_seconds": 0.5},
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 30, "actions": ["alert"]},
    },
    "different_answers": {
        "kind": "ratio",
        "source": "answers",
        "numerator": ["differences_total"],
        "denominator": ["questions_total"],
        "threshold": {"max_percentage": 0.1, "evaluation_window_minutes": 1, "min_sample_size": 20},
        "full_window_confidence": 0.9999,
        "actions": ["alert", "auto_rollback"],
        "on_no_data": {"after_seconds": 30, "actions": ["alert"]},
    },
}


PASSWORD = "correct horse battery"
"""Of the copies, which restic encrypts."""

COMMAND_LINE = """
import sys
sys.executable = sys.argv.pop(1)
sys.argv[0] = "rollout"
from guarded_rollout.cli import main
main()
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal."""

    sequence: int
    rollout: str
    kind: str
    name: str
    at: float
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of the journal; `outcome` is empty while it is open."""

    id: str
    command: str
    source: str | None
    target: str | None
    outcome: str
    reason: str


class Stack:
    """`folder` holds the project, its temporary files, and beside them what the harness keeps."""

    def __init__(self, folder: Path, shop: Shop, *, store: str = "") -> None:
        self.folder, self.shop, self.store = folder, shop, store
        self.project, self.scratch = folder / "p", folder / "t"
        self.root = self.project / "e"
        self.backups, self.logs = self.project / "backups", self.project / "monitor_logs"
        self.port = free_port()
        self.slow = min(SLOWEST, slowness())
        self.variables: Mapping[str, str] = {}
        self.python = sys.executable
        self.servers = 1  # server processes of a release
        self.places: frozenset[Target] = frozenset()  # of copies and the stream, where there are such
        self.unread = threading.Lock()  # held while nobody may have the journal open
        for made in (self.project, self.scratch, self.root, self.backups):
            made.mkdir(parents=True)

    def configure(self, webhook: str, service: Mapping[str, str] | None = None) -> None:
        """Write rollout.toml, the gates and the notification settings."""
        variables = {"DHASH_LOG_LEVEL": "warning", **(service or {})}
        lines = [
            "[project]",
            f"releases = {json.dumps(str(self.shop.releases))}",
            "keep_releases = 1000",
            "minimum_free_mb = 1",
            "[backup]",
            "wheels = []",
            *self._places(),
            "[service.variables]",
            *(f"{name} = {json.dumps(value)}" for name, value in variables.items()),
            "[environments.production]",
            f"port = {self.port}",
            f"workers = {self.servers}",
            'root = "e"',
            *([f"store = {json.dumps(self.store)}"] if self.store else []),
            "traffic = [{ percent = 20, hold_seconds = 0.6 }, { percent = 50, hold_seconds = 0.8 },"
            " { percent = 100, hold_seconds = 0.0 }]",
            "[environments.production.checks]",
            "interval_seconds = 0.1",
            "validation_interval_seconds = 0.2",
            "timeout_seconds = 2.0",
            f"start_seconds = {12.0 * self.slow:.1f}",
            f"drain_seconds = {round(DRAIN_SECONDS * self.slow)}",
        ]
        (self.project / "rollout.toml").write_text("\n".join(lines) + "\n")
        gates = {
            "monitoring": {
                "window_minutes": WINDOW_SECONDS * self.slow / 60,
                "poll_intervals": {
                    "initial_minutes": 1,
                    "initial_interval_seconds": 0.5,
                    "normal_interval_seconds": 0.5,
                },
                "counter_interval_seconds": 0.5,
            },
            "quality_gates": GATES,
            "notifications": {"channels": ["slack"]},
            "auto_rollback": {"enabled": True, "rollback_timeout_minutes": 1},
        }
        settings = {"timeout_seconds": 2}
        (self.project / "quality-gates-config.json").write_text(
            json.dumps({"environments": {"production": gates}, "global_settings": settings}, indent=1)
        )
        notifications = self.project / ".env.notifications"
        notifications.write_text(f"SLACK_WEBHOOK_URL={webhook}\nNOTIFICATION_TIMEOUT=2\n")
        notifications.chmod(0o600)

    def place_of(self, target: Target) -> Path:
        """Where the copies of backups go, or the stream: away from this project."""
        return self.folder / "elsewhere" / target.name.lower()

    def _places(self) -> list[str]:
        copies, stream = self.place_of(Target.COPIES), self.place_of(Target.STREAM)
        for target in self.places:
            self.place_of(target).mkdir(parents=True)
        tables = {
            Target.COPIES: [
                "[backup.copies.disk]",
                f"repository = {json.dumps(str(copies / 'repository'))}",
                'password = "$COPIES_PASSWORD"',
            ],
            Target.STREAM: ["[backup.stream]", f'url = "file://{stream}"', "sync_seconds = 0.2"],
        }
        return [line for target, lines in tables.items() if target in self.places for line in lines]

    def preload(self, variables: Mapping[str, str]) -> None:
        """Give these variables to everything that is Python here, the supervisor's programs included.

        Those inherit no environment, so a script stands in for the interpreter; the service has a table of
        variables of its own (see `configure`).
        """
        self.variables = variables
        script = self.folder / "python"
        exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
        script.write_text(f'#!/bin/sh\n{exports}exec {sys.executable} "$@"\n')
        script.chmod(0o755)
        self.python = str(script)

    # ---- the command line

    def start(self, *words: str, output: IO[str]) -> subprocess.Popen[str]:
        """`rollout …` as an operator types it, in the project's folder."""
        return subprocess.Popen(
            [self.python, "-c", COMMAND_LINE, self.python, *words],
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        beside = Path(sys.executable).parent  # supervisord, caddy and uv, whatever stands in for Python
        kept["PATH"] = f"{beside}:{os.environ['PATH']}"
        return kept | {"TMPDIR": str(self.scratch), "COPIES_PASSWORD": PASSWORD, **self.variables}

    # ---- processes

    def pid_of(self, target: Target, engine: int | None = None) -> int | None:
        """The process that this name means now; None if there is none."""
        match target:
            case Target.ENGINE:
                return engine
            case Target.SUPERVISORD:
                return self.written("supervisord.pid")
            case Target.MONITOR:
                return self.written("watcher.lock")
            case Target.PROXY:
                return self.written("proxy.lock")
            case Target.CANDIDATE | Target.STABLE:
                slot = self.slot_of(target)
                return self.written(f"{slot}.lock") if slot else None
            case Target.REPLICA:
                return next(self._spawned(below=1), None)
            case Target.WORKER:
                return next(self._spawned(below=1 if self.servers == 1 else 2), None)
        return None

    def slot_of(self, target: Target) -> str | None:
        """The slot of the candidate, while there is one, or of what is to be returned to."""
        plan = self._plan()
        if plan is None:
            return self.serving_slot() if target is Target.STABLE else None
        candidate = str(plan["slot"])
        return candidate if target is Target.CANDIDATE else SLOTS[candidate == "blue"]

    def serving_slot(self) -> str:
        """The slot that has most of the traffic, by the file that the proxy reads."""
        written = self._share().rstrip("+-")
        return "green" if written == "g" or written > "8000" else "blue"

    def has_spare(self) -> bool:
        """Whether the proxy may ask the other slot when one does not answer."""
        return self._share().endswith("+")

    def _share(self) -> str:
        try:
            return (self.root / "run" / "green_share").read_text().strip()
        except OSError:
            return ""

    def _plan(self) -> dict[str, Any] | None:
        opened = self.open_rollout()
        if opened is None:
            return None
        notes = [event for event in self.events(rollout=opened.id) if event.name == "plan"]
        return notes[-1].data if notes else None

    def written(self, name: str) -> int | None:
        try:
            pid = int((self.root / "supervisor" / name).read_text())
        except (OSError, ValueError):
            return None
        return pid if runs(pid) else None

    def _spawned(self, *, below: int) -> Iterator[int]:
        """What a release has started, or what that has: those of whichever release serves first.

        Server processes, if there is more than one; each has processes that read PDFs.
        """
        for slot in (self.serving_slot(), *SLOTS):
            pid = self.written(f"{slot}.lock")
            with suppress(psutil.Error):
                found = [psutil.Process(pid)] if pid else []
                for _ in range(below):
                    found = [child for one in found for child in one.children()]
                    found = [one for one in found if any("spawn_main" in word for word in one.cmdline())]
                yield from (one.pid for one in found)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this project: started in it, or told of it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    about = [process.cwd(), *process.cmdline(), *process.environ().values()]
                    if any(str(self.project) in word for word in about):
                        found.append(process)
        return found

    def end_everything(self) -> None:
        """Kill whatever still runs for this project."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()

    # ---- the journal

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    def read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the journal; none while there is no journal yet, or it is on a file system that is full."""
        if not self.journal.exists():
            return []
        with (
            suppress(sqlite3.OperationalError),
            self.unread,
            closing(sqlite3.connect(self.journal, timeout=5)) as file,
        ):
            return file.execute(statement, values).fetchall()
        return []

    def journal_stamp(self) -> tuple[int, ...]:
        """Changes whenever somebody writes to the journal: cheap to ask a hundred times a second."""
        found = []
        for name in ("journal.db", "journal.db-wal"):
            with suppress(OSError):
                about = (self.root / name).stat()
                found += [about.st_ino, about.st_size, about.st_mtime_ns]
        return tuple(found)

    def events(self, *, after: int = 0, rollout: str | None = None) -> list[Event]:
        rows = self.read(
            "SELECT sequence, rollout, kind, name, at, data FROM event"
            " WHERE sequence > ?1 AND (?2 IS NULL OR rollout = ?2) ORDER BY sequence",
            after,
            rollout,
        )
        return [Event(a, b, c, d, e, json.loads(data)) for a, b, c, d, e, data in rows]

    def rollouts(self) -> list[Rollout]:
        """Every rollout of a release, the oldest first."""
        rows = self.read(
            "SELECT id, command, source, target,"
            " coalesce((SELECT name FROM event e WHERE e.rollout = rollout.id AND e.kind = 'end'), ''),"
            " coalesce((SELECT data FROM event e WHERE e.rollout = rollout.id AND e.kind = 'end'), '{}')"
            " FROM rollout WHERE target IS NOT NULL ORDER BY rowid"
        )
        return [Rollout(a, b, c, d, e, json.loads(end).get("reason", "")) for a, b, c, d, e, end in rows]

    def open_rollout(self) -> Rollout | None:
        return next((one for one in reversed(self.rollouts()) if not one.outcome), None)

    def window_is_open(self) -> bool:
        """Whether a monitor has something to do: the newest step of the open rollout is to be watched."""
        opened = self.open_rollout()
        steps = [] if opened is None else self.events(rollout=opened.id)
        steps = [event for event in steps if event.kind in ("intent", "outcome")]
        return bool(steps) and (steps[-1].kind, steps[-1].name) == ("intent", "watch")

    def last_sequence(self) -> int:
        rows = self.read("SELECT coalesce(max(sequence), 0) FROM event")
        return int(rows[0][0]) if rows else 0

    def at_work(self) -> bool:
        """Whether some command holds the environment's lock."""
        try:
            holder = json.loads((self.root / "lock").read_text() or "{}")
        except (OSError, ValueError):
            return False
        return runs(int(holder.get("pid", 0)))


def slowness() -> float:
    """How many times longer than on an idle machine things take: how many processes want each core."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Any, seconds: float) -> bool:
    """Whether this became true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
