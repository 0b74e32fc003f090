"""A rollout over three real hosts, each with a network, a name and an sshd of its own, behind an edge."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guarded_rollout.journal.model import Rollout, RolloutOutcome
from guarded_rollout.journal.store import Journal
from tests.guarded_rollout import fleetkit
from tests.guarded_rollout.fleetkit import Clients, Fleet, Host, dead_on, until_line, unwell_if
from tests.guarded_rollout.sandbox import wait_until
from tests.guarded_rollout.servicekit import migration

UNABLE = fleetkit.unable()
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(UNABLE), reason=UNABLE),
]

MIGRATIONS = (
    migration("expand", '    op.create_table("more", sa.Column("id", sa.Text, primary_key=True))'),
    migration("contract", '    op.drop_index("ix_lookups_document_id", "lookups")'),
)
"""What every release after the first one brings."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet that serves one release; each test leaves it so."""
    with fleetkit.fleet() as made:
        told = made.rollout("up", "--from", str(made.wheel("1.0.1")), "--set", 'fleet_serial=[1, "100%"]')
        assert made.versions() == ["1.0.1"] * 3, told
        yield made


def rollouts(host: Host) -> list[Rollout]:
    """What a host has done to itself, the newest first."""
    with Journal.look(host.folder / "p/environments/production/journal.db") as journal:
        return journal.deployments("production")


def watched(host: Host) -> bool:
    newest = rollouts(host)[0]
    return newest.open and newest.last("watch") is not None


def record(fleet: Fleet) -> Rollout:
    with Journal.look(fleet.folder / "hosts.fleet/journal.db") as journal:
        return journal.history("production", limit=1)[0]


def plays(fleet: Fleet) -> str:
    """The plays over this inventory that run."""
    asked = ["pgrep", "-af", f"ansible-playbook -i {fleet.inventory}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def test_a_good_release_goes_from_host_to_host_without_a_failed_request(fleet: Fleet) -> None:
    wheel = fleet.wheel("1.0.2", *MIGRATIONS)
    with Clients(fleet.port) as clients:
        running = fleet.start("up", "--from", str(wheel), "--why", "a table more")
        until_line(running, lambda line: line.startswith("h1: rolling out"))
        refused = fleet.rollout("up", "--from", str(wheel), code=1, ROLLOUT_OPERATOR="berta")
        output = running.communicate(timeout=600)[0]
    assert running.returncode == 0, output
    assert refused["error"] == "fleet-busy"
    assert "anna" in refused["message"]
    assert "since 20" in refused["message"]
    assert clients.failed == []
    assert clients.answered > 100
    print(f"{clients.answered} requests answered")
    assert fleet.versions() == ["1.0.2"] * 3
    assert json.loads(output.splitlines()[-1])["release"].startswith("1.0.2-")
    first, second, third = (rollouts(host)[0] for host in fleet.hosts)
    assert first.ended_at < second.started_at < second.ended_at < third.started_at
    assert first.done("watch")
    assert len(first.last("migrate").evidence["applied"]) == 1  # before the first, once
    assert [one.last("finish").evidence["contracted"] for one in (first, second, third)] == [[], [], []]
    assert len(record(fleet).note("contracted").data["revisions"]) == 1  # after the last, once
    assert fleet.rollout("status")["mixed"] is False


def test_a_release_that_gets_unwell_in_its_window_on_the_first_host_reaches_no_other(fleet: Fleet) -> None:
    before = fleet.versions()
    untouched = [len(rollouts(host)) for host in fleet.hosts[1:]]
    sick = fleet.folder / "sick"
    wheel = fleet.wheel("1.0.3", *MIGRATIONS, unwell_if(f'__import__("os").path.exists("{sick}")'))
    running = fleet.start("up", "--from", str(wheel))
    wait_until(lambda: watched(fleet.hosts[0]), 240, "the first host is watched")
    sick.touch()
    output = running.communicate(timeout=240)[0]
    assert running.returncode == 2, output
    assert "health" in output
    assert fleet.versions() == before
    assert [len(rollouts(host)) for host in fleet.hosts[1:]] == untouched
    taken_back = next(one for one in rollouts(fleet.hosts[0]) if one.target.startswith("1.0.3-"))
    assert taken_back.outcome is RolloutOutcome.ROLLED_BACK
    assert taken_back.last("watch") is not None  # not before its window
    assert record(fleet).outcome is RolloutOutcome.ROLLED_BACK


def test_a_release_that_fails_on_the_second_host_leaves_the_first_as_well(fleet: Fleet) -> None:
    before = fleet.versions()
    untouched = len(rollouts(fleet.hosts[2]))
    wheel = fleet.wheel("1.0.4", *MIGRATIONS, dead_on("h2"))
    with Clients(fleet.port) as clients:
        told = fleet.rollout("up", "--from", str(wheel), code=2)
    assert clients.failed == []
    assert "h2" in told["message"]
    assert fleet.versions() == before
    assert len(rollouts(fleet.hosts[2])) == untouched
    undone = [step.name for step in record(fleet).steps if step.outcome == "undone"]
    assert undone == ["h2", "h1"]  # the newest first


def test_a_killed_driver_and_a_lost_host_leave_a_mixed_fleet_that_is_named_and_healed(fleet: Fleet) -> None:
    before = fleet.versions()
    wheel, lost = fleet.wheel("1.0.5", *MIGRATIONS), fleet.hosts[2]
    running = fleet.start("up", "--from", str(wheel))
    try:
        until_line(running, lambda line: line.startswith("h1: serves"), 400)
    finally:
        running.kill()
        running.wait(20)
    wait_until(lambda: not plays(fleet), 20, "the play has ended with its driver")
    told = fleet.rollout("status", code=3)
    assert [host["serving"].split("-")[0] for host in told["hosts"]] == ["1.0.5", *before[1:]]
    assert told["open"]["target"].startswith("mobius_dhash-1.0.5")
    assert fleet.rollout("up", "--from", str(wheel), code=1)["error"] == "fleet-open"

    resuming = fleet.start("resume")
    until_line(resuming, lambda line: line.startswith("h3: rolling out"), 400)
    lost.vanish()
    try:
        output = resuming.communicate(timeout=400)[0]
        assert resuming.returncode == 3, output
        told = fleet.rollout("status", code=3)
        assert [bool(host["problem"]) for host in told["hosts"]] == [False, False, True]
        assert [host["serving"].split("-")[0] for host in told["hosts"][:2]] == ["1.0.5", "1.0.5"]
    finally:
        lost.come_back()
    wait_until(lambda: fleetkit.reachable(lost.address, 22), 30, "it is back")
    fleet.rollout("resume")
    assert fleet.versions() == ["1.0.5"] * 3
    assert record(fleet).outcome is RolloutOutcome.COMPLETED
    assert fleet.rollout("status")["open"] is None


def test_what_a_killed_driver_left_half_done_is_taken_back(fleet: Fleet) -> None:
    before, wheel = fleet.versions(), fleet.wheel("1.0.7", *MIGRATIONS)
    running = fleet.start("up", "--from", str(wheel))
    try:
        until_line(running, lambda line: line.startswith("h1: rolling out"), 120)
        wait_until(lambda: rollouts(fleet.hosts[0])[0].open, 120, "the first host is at work")
    finally:
        running.kill()
        running.wait(20)
    fleet.rollout("abort", "--why", "another time")
    assert fleet.versions() == before
    assert record(fleet).reason == "another time"
    assert fleet.rollout("history", "--limit", "1")["rollouts"][0]["outcome"] == "rolled_back"


def test_the_record_lies_beside_the_inventory(fleet: Fleet) -> None:
    with closing(sqlite3.connect(fleet.folder / "hosts.fleet/journal.db")) as journal:
        (count,) = journal.execute("SELECT count(*) FROM rollout").fetchone()
    assert count >= 1
    assert json.loads(fleet.inventory.read_text())["fleet"]
    assert not list(Path(fleet.folder / "hosts.fleet").glob("*.json"))
    assert os.listdir(fleet.folder / "hosts.fleet/artifacts")
