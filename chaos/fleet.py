"""`python -m chaos.fleet [--seed N] [--runs N]`: one of three hosts is cut off while a release goes round.

Hosts with a network and an sshd each, over one PostgreSQL, behind an edge at which the clients are. In the
middle of `rollout fleet up` a host is gone, for a while or until the command has ended; then an operator does
what the documentation says. Takes root. The fleet is made once, whatever the number of runs.
"""

import argparse
import json
import signal
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

from tests.guarded_rollout import fleetkit
from tests.guarded_rollout.fleetkit import NAMES, Fleet, Host, dead_on, reachable, until_line
from tests.guarded_rollout.sandbox import wait_until

from chaos.clients import Clients, Entry, read_ledger
from chaos.inspection import fingerprints
from chaos.model import ALL, NO_ANSWER, UNAVAILABLE
from chaos.operating import HURT
from chaos.report import Verdict, summary
from chaos.stack import slowness

FAMILY = "host of a fleet cut off"
COMMAND_SECONDS = 600.0
NOTICED = 6.0
"""Seconds after which the edge sends nobody to a host that is gone: it asks twice a second, and waits two."""

CLOSED, CLOSED_SECONDS = ("ConnectionResetError", "IncompleteReadError: 0 bytes"), 0.5
"""How it looks where a connection was closed before anything was answered on it (RFC 9112, 9.3.1)."""

CALM_SECONDS = 3.0
TRIES, SHOWN = 4, 5


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """`host` is cut off so many seconds after the fleet's command has told `line`, for `away` seconds.

    `away` 0: until the command has ended. `fails_on`: the host on which the release dies, if it is a bad one.
    """

    seed: int
    host: str
    line: str
    seconds: float
    away: float
    fails_on: str

    def __str__(self) -> str:
        lasting = f"for {self.away:.1f} s" if self.away else "until the command has ended"
        release = f"a release that dies on {self.fails_on}" if self.fails_on else "good"
        when = f"{self.seconds:.1f} s from {self.line!r}"
        return f"roll out over a fleet ({release}): {self.host} cut off {lasting}, {when}"


def draw(seed: int) -> FleetPlan:
    """The plan of a seed. Pure."""
    random = Random(f"fleet {seed}")
    return FleetPlan(
        seed,
        random.choice(NAMES),
        f"{random.choice(NAMES)}: {random.choice(['rolling out', 'serves'])}",
        round(random.choice([0.0, random.uniform(0, 8)]), 1),
        random.choice([0.0, round(random.uniform(2, 20), 1)]),
        random.choice(["", "", "h2"]),
    )


class FleetRun:
    """One seed on a fleet that serves one release."""

    def __init__(self, fleet: Fleet, plan: FleetPlan, first: str) -> None:
        self.fleet, self.plan, self.first = fleet, plan, first
        self.version = f"2.{plan.seed}.0"
        self.verdict = Verdict(plan.seed, str(plan), [FAMILY])
        self.cut: float | None = None

    @property
    def host(self) -> Host:
        return next(host for host in self.fleet.hosts if host.name == self.plan.host)

    def play(self) -> Verdict:
        began = time.monotonic()
        spoils = (dead_on(self.plan.fails_on),) if self.plan.fails_on else ()
        wheel = self.fleet.wheel(self.version, *spoils)
        ledger = self.fleet.folder / f"ledger-{self.plan.seed}.jsonl"
        with Clients(self.fleet.port, self.plan.seed, ledger, ledger.with_suffix(".erased")):
            self._roll_out(wheel)
            self._put_right()
            time.sleep(CALM_SECONDS)  # what is over must be over
        self._judge(list(read_ledger(ledger)))
        self.verdict.seconds = time.monotonic() - began
        return self.verdict

    def _roll_out(self, wheel: Path) -> None:
        running = self.fleet.start("up", "--from", str(wheel))
        try:
            try:
                until_line(running, lambda line: line.startswith(self.plan.line), COMMAND_SECONDS)
            except AssertionError as told:  # it ended before: the moment never came
                self._notice(str(told))
                return
            time.sleep(self.plan.seconds)
            self.cut = time.time()
            self.host.vanish()
            self.verdict.struck.append(FAMILY)
            try:
                if self.plan.away:
                    time.sleep(self.plan.away)
                    self.host.come_back()
                self._notice(running.communicate(timeout=COMMAND_SECONDS)[0])
            finally:
                if self.host.sshd is None:
                    self.host.come_back()
        finally:
            running.kill()
            running.wait(20)
            self.verdict.notes.append(f"up → {running.returncode}")

    def _put_right(self) -> None:
        """What an operator does once the host is back: look, and resume what is open."""
        wait_until(lambda: reachable(self.host.address, 22), 30, "the host is back")
        for _ in range(TRIES):
            told = self.fleet.rollout("status", code=None)
            if told.get("open") is None and told.get("mixed") is False:
                return
            told = self.fleet.rollout("resume", code=None)
            self.verdict.notes.append(f"resume → {told['code']} {told.get('message', '')}")
            self._notice(told["progress"])
        self.verdict.violations.append(f"it did not come to rest: {self.fleet.rollout('status', code=None)}")

    def _notice(self, output: str) -> None:
        self.verdict.notes.append(output[-2000:])
        if HURT.search(output):
            self.verdict.violations.append(f"a traceback: {output.strip().splitlines()[-1]}")

    # ---- judging

    def _judge(self, entries: list[Entry]) -> None:
        verdict, versions = self.verdict, self.fleet.versions()
        verdict.outcome = f"{versions[0]} serves"
        expected = {self.first} if self.plan.fails_on else {self.first, self.version}
        if len(set(versions)) != 1 or not expected.issuperset(versions):
            verdict.violations.append(f"{versions} serve; it was {self.first}, and {self.plan}")
        acknowledged = [entry for entry in entries if entry.acknowledged]
        kept = fingerprints(store_of(self.fleet.hosts[0]))
        wrong = [
            f"picture {entry.number}, acknowledged, is lost or wrong: {entry}"
            for entry in acknowledged
            if entry.hash != entry.expected or kept.get(UUID(entry.id)) != {int(entry.expected, 16)}
        ]
        failed = [entry for entry in entries if entry.failed]
        verdict.requests, verdict.failed = len(entries), len(failed)
        verdict.acknowledged = len(acknowledged)
        wrong += [
            f"a {entry.kind} failed and nothing explains it: {entry}"
            for entry in failed
            if not self._allowed(entry)
        ]
        verdict.violations += wrong[:SHOWN] + [f"{len(wrong)} of these in all"] * (len(wrong) > SHOWN)

    def _allowed(self, entry: Entry) -> bool:
        """What a host that is cut off has in hand has no answer, until the edge has noticed.

        With a host that comes or goes the edge closes idle connections; one of them may be in use by then.
        """
        if entry.problem.startswith(CLOSED) and entry.ended - entry.begun < CLOSED_SECONDS:
            return True
        if self.cut is None or entry.kind not in ALL or entry.status not in NO_ANSWER | UNAVAILABLE:
            return False
        slow = slowness()
        return self.cut - 2.0 * slow <= entry.begun <= self.cut + NOTICED * slow


def store_of(host: Host) -> str:
    """The URL of the one PostgreSQL."""
    settings = tomllib.loads((host.folder / "p/rollout.toml").read_text())
    return str(settings["environments"]["production"]["store"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.fleet", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the others follow [1]")
    parser.add_argument("--runs", type=int, default=1, help="how many, on one fleet [1]")
    parser.add_argument("--plan", action="store_true", help="print what would happen, and do nothing")
    chosen = parser.parse_args()
    plans = [draw(seed) for seed in range(chosen.seed, chosen.seed + chosen.runs)]
    if chosen.plan:
        print("\n".join(f"seed {plan.seed}: {plan}" for plan in plans))
        return 0
    if why := fleetkit.unable():
        print(f"no fleet here: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, verdicts = time.monotonic(), []
    with fleetkit.fleet() as made:
        wheel = made.wheel("1.0.1")
        made.rollout("up", "--from", str(wheel), "--set", 'fleet_serial=[1, "100%"]')
        for plan in plans:
            [first] = set(made.versions())
            verdicts.append(FleetRun(made, plan, first).play())
            print("\n".join(verdicts[-1].lines()), flush=True)
            if not verdicts[-1].held:
                print(json.dumps(verdicts[-1].notes, indent=1), flush=True)
                break  # what it left is no fleet to begin with
    print("\n".join(summary(verdicts, time.monotonic() - began)), flush=True)
    return 0 if all(verdict.held for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
