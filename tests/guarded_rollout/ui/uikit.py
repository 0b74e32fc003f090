"""An environment's files and the dashboard over them, without any process of a rollout."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import Project, load
from guarded_rollout.files import write_atomic
from guarded_rollout.gates.panel import Panel
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.journal.store import Journal
from guarded_rollout.logs import path_for
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.log import MonitorLog
from guarded_rollout.ui.access import Access
from guarded_rollout.ui.app import Dashboard
from guarded_rollout.ui.jobs import Jobs
from tests.guarded_rollout.gatekit import edge, probe, proxy, service, times
from tests.guarded_rollout.manual_clock import ManualClock

OLD, NEW = "1.0.0-wheel-aaaaaaaa", "1.1.0-wheel-bbbbbbbb"
TOKEN = "t" * 43
PORT = 3010
HOST = f"127.0.0.1:{PORT}"
GATES = {
    "environments": {
        "production": {
            "monitoring": {"window_minutes": 60},
            "quality_gates": {
                "health": {
                    "threshold": {"consecutive_failures": 2, "check_interval_seconds": 30},
                    "actions": ["alert", "auto_rollback"],
                },
                "extraction_failure_rate": {
                    "threshold": {
                        "max_failure_percentage": 5,
                        "evaluation_window_minutes": 10,
                        "min_sample_size": 20,
                    },
                    "actions": ["alert", "auto_rollback"],
                },
                "memory_usage": {
                    "threshold": {"max_usage_percentage": 85, "check_interval_seconds": 120},
                    "actions": ["alert"],
                },
            },
            "auto_rollback": {"enabled": True},
        }
    }
}


@dataclass
class Place:
    """A project's folder. What is written into it is written by the real writers."""

    folder: Path
    clock: Any = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        (self.folder / "rollout.toml").write_text('[environments.production]\nport = 3999\nroot = "p"\n')
        (self.folder / "quality-gates-config.json").write_text(json.dumps(GATES))
        self.project: Project = load(self.folder / "rollout.toml")
        self.environment = self.project.environment("production")
        self.environment.run.mkdir(parents=True, exist_ok=True)
        (self.environment.root / "slots").mkdir()
        self.journal = Journal.open(self.environment.journal, clock=self.clock)

    def release(self, identity: str, slot: str = "") -> None:
        """A release's folder, as far as it is looked at."""
        folder = self.environment.releases / identity
        folder.mkdir(parents=True)
        told = {
            "id": identity,
            "version": identity.partition("-")[0],
            "commit": None,
            "dirty": False,
            "built_at": "2026-01-01T00:00:00+00:00",
            "wheel": {"name": "x.whl", "sha256": "0" * 64},
            "lock": {"name": "requirements.txt", "sha256": "0" * 64},
            "schema": "0001",
        }
        write_atomic(folder / "RELEASE.json", json.dumps(told))
        if slot:
            (self.environment.root / "slots" / slot).symlink_to(folder)

    def running(self, *names: str) -> None:
        """These programs run: each is named by the file that a real one writes, with a pid that is alive."""
        folder = self.environment.root / "supervisor"
        folder.mkdir(exist_ok=True)
        for name in names or ("blue", "green", "proxy", "watcher"):
            (folder / f"{name}.lock").write_text(str(os.getpid()))
        (folder / "supervisord.pid").write_text(str(os.getpid()))

    def watched(self, *, operator: str = "me@here", why: str = "", target: str = NEW) -> Any:
        """A rollout with its window open, the candidate on green with all of the traffic; all of it runs."""
        self.running()
        self.release(OLD, "blue")
        self.release(target, "green")
        write_atomic(self.environment.run / "green_share", "g")
        rollout = self.journal.begin(
            "production", "up", operator=operator, source=OLD, target=target, why=why
        )
        steps = ["preflight", "shift", "watch", "finish"]
        self.journal.note(rollout, "plan", slot="green", steps=steps, back=False, options={})
        with self.journal.step(rollout, "preflight") as evidence:
            evidence["disk"] = "ok"
        with self.journal.step(rollout, "shift"):
            self.journal.note(rollout, "share", release=target, percent=100)
        self.journal.intend(rollout, "watch", seconds=3600.0)
        return rollout

    def log(self, rollout: Any, began_at: float | None = None) -> MonitorLog:
        """The monitoring log of a rollout, begun."""
        at = self.clock.now().timestamp()
        began_at = at if began_at is None else began_at
        log = MonitorLog.open(
            path_for(self.environment.logs, "dhash", "production", self.clock.now()), "production"
        )
        log.write(began_at, "info", "Monitoring", rollout=str(rollout), release=NEW, began_at=began_at)
        heartbeat.beat(self.environment, self.clock.instant(), str(rollout), began_at, log.path)
        return log

    def watch(
        self, log: MonitorLog, began_at: float, seconds: float, failing: Callable[[float], float]
    ) -> None:
        """What a monitor logs of a service that fails this share of its pictures, every five seconds."""
        gates = self.gates.quality_gates.enabled()
        panel = Panel(gates, self.gates.monitoring.poll_intervals, began_at)
        done = failed = 0.0
        age = 0.0
        while age <= seconds:
            done += 100
            failed += 100 * failing(age)
            for sample in samples(began_at + age, done, failed):
                log.sample(sample)
                for change in panel.take(sample):
                    log.change(change)
            age += 5.0

    @property
    def gates(self) -> Any:
        from guarded_rollout.config.gates import load as load_gates

        return load_gates(self.environment.gates).environment("production")

    def close(self) -> None:
        self.journal.close()


def samples(at: float, done: float, failed: float) -> list[Sample]:
    """What both releases and the proxy say at a moment; stable fails one in a hundred."""
    found = [probe(at)]
    for side, bad, memory in ((Side.CANDIDATE, failed, 40), (Side.STABLE, done * 0.01, 35)):
        said = service(
            at,
            side=side,
            images_ok=done - bad,
            images_failed=bad,
            requests=done,
            errors=bad / 10,
            histogram=times([0.05, 0.2, 0.3]),
            memory_usage_percentage=memory,
            low_confidence_queue_length=12,
        )
        found += [said, proxy(at, bad / 10, done, side), edge(at, side, requests=done, failed=bad / 10)]
    return found


class Site:
    """The dashboard of a place, asked over HTTP."""

    def __init__(self, place: Place, *, loopback: bool = True) -> None:
        self.place = place
        self.access = Access(TOKEN, PORT, loopback=loopback, names=frozenset(), clock=SystemClock())
        self.jobs = Jobs(place.folder / ".rollout-ui" / "jobs", place.folder, {})
        self.dashboard = Dashboard(place.project, self.access, self.jobs)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.dashboard.app), base_url=f"http://{HOST}"
        )

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self.client.get(path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        """As the dashboard's own page does it, unless the headers say otherwise."""
        headers = {"origin": f"http://{HOST}", **more.pop("headers", {})}
        return asyncio.run(self.client.post(path, headers=headers, **more))

    def sign_in(self) -> str:
        """Sign in, and return what a form must carry."""
        answer = self.post("/login", data={"token": TOKEN})
        assert answer.status_code == 303
        visitor = self.access.by_cookie(self.client.cookies)
        assert visitor is not None
        return visitor.csrf
