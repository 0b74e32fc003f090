"""A whole project in a folder of its own: rollout.toml, gates, a service to guard, and the real programs."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from guarded_rollout.config.environments import Environment, load
from guarded_rollout.host import launcher
from guarded_rollout.host.release import MANIFEST, Release, releases
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.runner import DeployResult
from tests.forked import run
from tests.leftovers import owned_folder
from tests.waiting import wait_until as wait_until

SAMPLE = Path(__file__).with_name("sample")
COMMANDS = {
    "serve": "serve",
    "schema_current": "db current",
    "schema_plan": "db plan",
    "schema_upgrade": "db upgrade",
    "schema_downgrade": "db downgrade",
    "store_check": "db check",
    "store_snapshot": "db snapshot",
    "store_merge": "db merge",
    "store_salvage": "db merge",
    "store_quarantine": "db quarantine",
}
CHECKS = """
[service.checks.submit]
path = "/api/dhash"
method = "POST"
body = "{seed}"
valid_status_codes = [200, 201]
capture = { hash = "/hash" }

[service.checks.find]
path = "/api/dhash/search?hash={hash}"
json = { "/results/0/distance" = 0 }

[service.checks.golden]
command = ["{bin}/sample", "golden", "check"]
when = ["verify"]
by_stable = true
"""
"""A round trip as requests, and a command: both kinds of check."""
ROOT = Path(__file__).parents[2]
SOURCE = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "src/dhash_service",
    "src/guarded_rollout",
    "src/web_assets",
    "src/dhash_client",
    "locks/service.txt",
)
OURS = (
    (ROOT / "rollout.toml")
    .read_text()
    .partition("\n[environments")[0]
    .replace("[service]\n", '[service]\nsource = "src"\n', 1)
)
"""The project's own service, as its rollout.toml describes it."""
SERVICE = "src/sample_service/__init__.py"
NO_HOLDS = ((50, 0.0), (100, 0.0))
GIVEN: set[int] = set()
BUILT: Path | None = None
"""Where the releases of a session of tests are kept by what they were built from."""


class Sandbox:
    """One project. `source` is what its releases are built from; tests change it as an editor would."""

    def __init__(self, source: Path | None = SAMPLE) -> None:
        """Without a source the project's own service is guarded."""
        self.folder = owned_folder("gr")
        self.source = self.folder / "src"
        self.port = free_port()
        self.metrics_port = 0
        self._sample = source is not None
        self._pristine = source or self.folder / "pristine"
        if source is None:
            for name in SOURCE:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                (self._pristine / name).parent.mkdir(parents=True, exist_ok=True)
                copy(ROOT / name, self._pristine / name)
        self.restore_source()
        self.configure()

    def restore_source(self) -> None:
        """What a release of the project's own service is built from, as it stood when this was made."""
        shutil.rmtree(self.source, ignore_errors=True)
        shutil.copytree(self._pristine, self.source)

    def configure(
        self,
        *,
        window_seconds: float = 60,
        steps: tuple[tuple[int, float], ...] = NO_HOLDS,
        start_seconds: float = 15,
        confirm: bool = False,
        control_percent: int = 0,
        more: str = "",
    ) -> None:
        """Write rollout.toml and the gates; checks are quick, so that tests are."""
        lines = [OURS]
        if self._sample:
            lines = ["[service]", 'source = "src"', 'lock = "requirements.txt"', "[service.commands]"]
            lines += [
                f"{name} = {json.dumps(['{bin}/sample', *words.split()])}" for name, words in COMMANDS.items()
            ]
            lines.append('store_forget = ["true"]')  # it erases nothing
            lines.append(CHECKS)
        lines.append("[backup]\nwheels = []")  # downloading them takes seconds; the tests of that ask for it
        traffic = ", ".join(f"{{ percent = {share}, hold_seconds = {hold} }}" for share, hold in steps)
        lines += [
            "[environments.production]",
            f"port = {self.port}",
            f"metrics_port = {self.metrics_port}",
            f"confirm = {json.dumps(confirm)}",
            f"traffic = [{traffic}]",
            f"control_percent = {control_percent}",
            more,
            "[environments.production.checks]",
            "interval_seconds = 0.05",
            "validation_interval_seconds = 0.05",
            f"start_seconds = {start_seconds}",
            "drain_seconds = 3",
        ]
        (self.folder / "rollout.toml").write_text("\n".join(lines) + "\n")
        (self.folder / "quality-gates-config.json").write_text(health_gate_alone(window_seconds))

    def open_metrics(self, port: int = 0) -> int:
        """Have the proxy answer scrapers of metrics on this port, or on a free one, from its start on."""
        self.metrics_port = port or free_port()
        self.configure()
        return self.metrics_port

    # ---- in this process

    @property
    def environment(self) -> Environment:
        return load(self.folder / "rollout.toml").environment("production")

    @property
    def site(self) -> Site:
        site = Site(self.environment)
        site.prepare()
        return site

    @contextmanager
    def engine(self, **more: object) -> Iterator[Engine]:
        with Journal.open(self.environment.journal) as journal:
            yield Engine(self.site, journal, lambda line: None, **more)  # type: ignore[arg-type]

    def deploy(self, version: str | None = None, **asked: object) -> DeployResult:
        """Build what the source holds now and roll it out, without the command line."""
        if version:
            self.version(version)
        with self.engine() as engine:
            release = self.build()
            return engine.deploy(release, Request(command="deploy", operator="test", **asked))  # type: ignore[arg-type]

    def build(self) -> Release:
        """Build what the source holds now; what this session has built before is only linked.

        The product still makes the wheel, and takes the release for its own only if it is that wheel's.
        """
        if BUILT is None:
            return self.site.build(None)
        known = BUILT / _digest(self.source)
        known.mkdir(parents=True, exist_ok=True)
        with (BUILT / f"{known.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for release in releases(known):
                _link_release(release.folder, self.environment.releases / release.id)
            release = self.site.build(None)
            if not releases(known):
                _link_release(release.folder, known / release.id)
        return release

    # ---- as an operator

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "guarded_rollout.cli", *words]

    def rollout(
        self, *words: str, given: str = "", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `rollout …` in the project's folder."""
        return run("rollout", *words, env=variables, folder=self.folder, given=given)

    def version(self, version: str) -> None:
        self.edit("pyproject.toml", lambda text: _with_version(text, version))

    def add_revision(self, kind: str, sql: str, *, revision: str = "0002") -> None:
        """Give the sample service another migration."""
        entry = {"revision": revision, "kind": kind, "message": "", "sql": sql}
        self.edit(SERVICE, lambda text: text.replace("\n]\nRELEASE", f"\n    {entry!r},\n]\nRELEASE"))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.source / name
        before = path.read_text()
        after = change(before)
        assert after != before, f"nothing to change in {name}"
        path.write_text(after)

    def take_back(self) -> None:
        """Abort a rollout that a test left open, or every one after it would be refused."""
        with self.engine() as engine:
            if engine.journal.open_rollout(self.environment.name) is not None:
                engine.abort("left open by a test")

    # ---- what it sees

    def pids(self) -> dict[str, int]:
        """The processes that hold each program's lock: what really runs."""
        found = {}
        for path in (self.environment.root / "supervisor").glob("*.lock"):
            written = path.read_text().strip()
            if written.isdigit() and launcher.alive(int(written)):
                found[path.stem] = int(written)
        return found

    def supervisor_pid(self) -> int:
        return int((self.environment.root / "supervisor" / "supervisord.pid").read_text())

    def served_by(self) -> str:
        """The release that answers on the public port."""
        answer = self.site.public().ask("GET", "/health").json()
        assert isinstance(answer, dict)
        return str(answer["release"])

    def slot_of(self, release: str) -> Slot | None:
        return self.site.slots.find(release)

    def close(self) -> None:
        """Kill by pid all that was started here, and remove the folder."""
        doomed = list(self.pids().values())
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            supervisor = psutil.Process(self.supervisor_pid())
            supervisor.suspend()  # it would start again what dies
            doomed += [child.pid for child in supervisor.children()]  # one may not hold its lock yet
            doomed.append(supervisor.pid)
        for pid in doomed:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        for folder, _, _ in os.walk(self.folder):
            os.chmod(folder, 0o755)
        shutil.rmtree(self.folder, ignore_errors=True)


def health_gate_alone(window_seconds: float) -> str:
    """A gates file of production in which health alone is judged, and rolls back."""
    health = {
        "enabled": True,
        "description": "answers",
        "threshold": {"consecutive_failures": 2, "check_interval_seconds": 0.2},
        "actions": ["auto_rollback"],
    }
    gates = {
        "monitoring": {"window_minutes": window_seconds / 60},
        "quality_gates": {"health": health},
        "auto_rollback": {"enabled": True},
    }
    return json.dumps({"environments": {"production": gates}})


def free_port() -> int:
    """A port that nobody uses, and that was not given out before: it may not be in use yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in GIVEN:
            GIVEN.add(port)
            return port


def _with_version(text: str, version: str) -> str:
    head, _, rest = text.partition('\nversion = "')
    return f'{head}\nversion = "{version}"{rest.partition(chr(34))[2]}'


def _digest(folder: Path) -> str:
    """The SHA-256 of a folder's files and their names."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content.update(
                f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(path.read_bytes()).digest()
            )
    return content.hexdigest()


def _link_release(release: Path, target: Path) -> None:
    """A copy that shares the installed packages, built now: releases are told apart by their age."""
    if target.exists():
        return
    partial = target.with_name(f".partial-{target.name}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(release, partial, symlinks=True, copy_function=_link)
    partial.chmod(0o755)
    manifest = partial / MANIFEST
    told = json.loads(manifest.read_text()) | {"built_at": datetime.now(UTC).isoformat()}
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(told, indent=2) + "\n")
    partial.rename(target)
    target.chmod(0o555)


def _link(source: str, target: str) -> None:
    if "site-packages" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
